"""Open-set noise: a sample keeps its target, and has a picture of another split, of no class that is known here."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastpt.data.hashes import Texts, xxh3_128
from fastpt.data.plan import Changed, NoisePlan, check_rate
from fastpt.errors import FastptError
from fastpt.noise.kinds import Made, NoiseKind
from fastpt.noise.ranking import balanced_order, keyed_order, rate_problems

if TYPE_CHECKING:
    from fastpt.data.dataset import Dataset

FROM = "from"


def open_set(order: np.ndarray, others: np.ndarray, rate: float) -> np.ndarray:
    """The first round(rate * N) samples of an order have the first pictures of another, each one that no other has.

    order: int64 [N], all rows by who is wrong first; others: int64 [M], rows of the other split. Both are prefixes, so
    what is wrong at a low rate is wrong in the same way at a higher one. Returns int64 [N], the row of the picture, -1
    for a sample's own. Raises FastptError if there are too few pictures.
    """
    wanted = round(check_rate(rate) * len(order))
    if wanted > len(others):
        raise FastptError(
            f"open-set noise of {rate:g} cannot be reached: it needs {wanted:,} pictures, and the other split has "
            f"{len(others):,} of other classes. The maximum here is {len(others) / len(order):.4g}."
        )
    shown = np.full(len(order), -1, np.int64)
    shown[order[:wanted]] = others[:wanted]
    return shown


def order_of(keys: Texts, labels: np.ndarray | None, classes: list[str], seed: int) -> np.ndarray:
    """All rows by who is wrong first, int64 [N]: of each class its share, in the order of `symmetric` noise."""
    ranks, draws = xxh3_128(keys, seed)
    return keyed_order(ranks, draws) if labels is None else balanced_order(ranks, draws, labels, classes, seed)


def strangers(dataset: "Dataset", other: "Dataset", seed: int) -> np.ndarray:
    """The rows of another split whose pictures are of no class of this one, in a keyed order: int64 [M].

    A class is known if it has the folder name or the readable name of one of this split, whatever their case. Where
    either split has no labels, that nobody can say, and all are taken.
    """
    order = keyed_order(*xxh3_128(other.stored_keys, seed))
    if not (dataset.has_labels and other.has_labels):
        return order
    known = {name.casefold() for name in (*dataset.classes, *dataset.class_names)}
    pairs = zip(other.classes, other.class_names, strict=True)
    strange = np.array([known.isdisjoint({one.casefold(), name.casefold()}) for one, name in pairs])
    return order[strange[other.clean_labels[order]]]


def _sums(dataset: "Dataset") -> np.ndarray:
    """uint64 [N], the xxh3 of the stored pictures; 0 where it is not known."""
    return dataset.table(["xxh3"])["xxh3"].to_numpy()


def _own(dataset: "Dataset", other: "Dataset", made: np.ndarray) -> np.ndarray:
    """Which of the samples that are lent a picture have it already, by its bytes or its caption: bool."""
    rows = np.flatnonzero(made >= 0)
    mine, lent = _sums(dataset)[rows], _sums(other)[made[rows]]
    same = (mine == lent) & (mine != 0)
    if dataset.has_captions and other.has_captions:
        same |= dataset.caption_hashes[rows] == other.caption_hashes[made[rows]]
    return same


class OpenSet(NoiseKind):
    summary = "pictures, replaced by those of another split, of no class that is known here"
    of = frozenset({"pictures"})
    files = {FROM: "the prepared split, or its address, that the pictures are taken from"}

    def make(self, dataset: "Dataset", of: Changed, rate: float, seed: int, files: Mapping[str, Path]) -> Made:
        from fastpt.data.dataset import Dataset

        other = Dataset(files[FROM])
        others = strangers(dataset, other, seed)
        labels = dataset.clean_labels if dataset.has_labels else None
        made = open_set(order_of(dataset.stored_keys, labels, dataset.classes, seed), others, rate)
        own = int(_own(dataset, other, made).sum())
        if own > max(1, (made >= 0).sum() / 2):
            raise FastptError(
                f"open-set noise from {other.path} would lend {own:,} samples their own picture: these are the same "
                "pictures, or pairs. Give a split of others in --from."
            )
        left = len(other) - len(others)
        told = [
            (left, f"it has {left:,} of {len(other):,} pictures of classes that are known here; they are not taken"),
            (own, f"it lends {own:,} samples a picture, or a caption, that is their own"),
        ]
        return Made(made, tuple(text for count, text in told if count))

    def check(self, plan: NoisePlan, dataset: "Dataset") -> list[str]:
        own = dataset.clean_labels if dataset.has_labels else np.zeros(len(plan.array), np.int64)
        changed = np.where(plan.array >= 0, -1, own)
        return rate_problems(own, changed, len(dataset.classes) if dataset.has_labels else 1, plan.rate)


KIND = OpenSet()
