"""Swapped captions: pairs of samples with different texts trade them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastpt.data.hashes import Texts, xxh3_128
from fastpt.data.plan import Changed, NoisePlan, check_rate
from fastpt.errors import FastptError
from fastpt.noise.kinds import Made, NoiseKind
from fastpt.noise.ranking import keyed_order

if TYPE_CHECKING:
    from fastpt.data.dataset import Dataset


def swap(keys: Texts, texts: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """Swap the captions of pairs of samples with different texts until the rate is reached, exact to the pair.

    texts: uint64 [N], equal where the captions are (`xxh3_64`). Returns int64 [N]: the row whose caption each sample is
    shown. Raises FastptError if the rate cannot be reached.
    """
    check_rate(rate)
    rows = np.arange(len(keys), dtype=np.int64)
    wanted = round(rate * len(keys) / 2)
    if wanted == 0:
        return rows
    pairs = _different_pairs(*xxh3_128(keys, seed), texts)
    if wanted > len(pairs):
        raise FastptError(
            f"caption noise of {rate:g} cannot be reached: too many captions are the same text. "
            f"The maximum here is {2 * len(pairs) / len(keys):.4g}, {2 * len(pairs):,} of {len(keys):,}."
        )
    chosen = pairs[:wanted]
    rows[chosen] = chosen[:, ::-1]
    return rows


def _different_pairs(ranks: np.ndarray, draws: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """All samples paired, in a keyed order, such that partners differ in text: int64 [P, 2], P as large as possible.

    Neighbours in the order of their hashes are partners, within buckets of about 32, so that a sample that comes or
    goes changes the partners in its own bucket only; the odd ones out are paired at the end. texts: uint64 [N].
    """
    count = len(texts)
    order = keyed_order(ranks, draws)
    bits = max(0, (count // 32).bit_length() - 1)
    bucket = ranks[order] >> np.uint64(64 - bits) if bits else np.zeros(count, np.uint64)
    first = np.flatnonzero(np.diff(bucket, prepend=~bucket[:1]))
    size = np.diff(first, append=count)
    odd = (first + size - 1)[size % 2 == 1]
    order = np.concatenate([np.delete(order, odd), order[odd]])
    pairs = order[: count // 2 * 2].reshape(-1, 2)
    spare = order[count // 2 * 2 :]

    # Two partners with equal text t trade with the next pair without t: (t, t'), (c, d) -> (t, c), (d, t').
    # If no such pair is left, every other pair holds exactly one t, and no pairing could do better.
    alike = np.flatnonzero(texts[pairs[:, 0]] == texts[pairs[:, 1]])
    hopeless = None
    for i in alike.tolist():
        text = int(texts[pairs[i, 0]])
        if text != texts[pairs[i, 1]] or text == hopeless:
            continue
        partner = _next_pair_without(pairs, texts, text, i)
        if partner is not None:
            pairs[i, 1], pairs[partner, 0] = pairs[partner, 0], pairs[i, 1]
        elif len(spare) and texts[spare[0]] != text:
            pairs[i, 1], spare[0] = spare[0], pairs[i, 1]
        else:
            hopeless = text
    return pairs[texts[pairs[:, 0]] != texts[pairs[:, 1]]]


def _next_pair_without(pairs: np.ndarray, texts: np.ndarray, text: int, start: int) -> int | None:
    """The first pair after `start` (cyclically) in which neither caption is `text`."""
    step = 64
    offset = 1
    while offset < len(pairs):
        window = (start + np.arange(offset, min(offset + step, len(pairs)))) % len(pairs)
        free = np.flatnonzero((texts[pairs[window]] != text).all(axis=1))
        if len(free):
            return int(window[free[0]])
        offset, step = offset + step, step * 4
    return None


class Swap(NoiseKind):
    summary = "captions, traded between pairs of samples with different texts"
    of = frozenset({"captions"})

    def make(self, dataset: "Dataset", of: Changed, rate: float, seed: int, files: Mapping[str, Path]) -> Made:
        return Made(swap(dataset.stored_keys, dataset.caption_hashes, rate, seed))

    def check(self, plan: NoisePlan, dataset: "Dataset") -> list[str]:
        rows = np.arange(len(plan.array))
        problems = [] if np.array_equal(plan.array[plan.array], rows) else ["does not trade captions in pairs"]
        wrong = int((plan.array != rows).sum())
        return problems if wrong == 2 * round(plan.rate * len(rows) / 2) else [*problems, "does not reach its rate"]


KIND = Swap()
