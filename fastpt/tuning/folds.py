"""Which samples of a set heads are trained on, and which they are tested on, where one split serves both.

Functions of the samples' keys and labels alone, so that they are the same whatever the format, picture size or order of
preparation, on any machine.
"""

from collections.abc import Sequence

import numpy as np

from fastpt.data.hashes import xxh3_128
from fastpt.errors import FastptError
from fastpt.noise.ranking import first_of_each_class, keyed_order


def folds(keys: Sequence[str], labels: np.ndarray, classes: Sequence[str], number: int) -> np.ndarray:
    """The fold of each sample, int64 [N] in [0, number): of equal size but for one sample, in all and in each class.

    labels: int [N], numbers of `classes`. Raises FastptError for a class of fewer samples than folds: heads of some
    folds would not know it.
    """
    counts = np.bincount(labels, minlength=len(classes))
    if few := [f"{classes[i]!r} ({counts[i]})" for i in np.flatnonzero((counts > 0) & (counts < number)).tolist()]:
        raise FastptError(
            f"{len(few)} classes have fewer samples than there are folds ({number}): {', '.join(few[:3])}. Each has to "
            "be in all folds; leave them out of the split."
        )
    found = np.empty(len(labels), np.int64)
    found[_by_class(keys, labels, "fold")] = np.arange(len(labels)) % number
    return found


def first(
    keys: Sequence[str], labels: np.ndarray, classes: Sequence[str], most: int | None, per_class: int | None
) -> np.ndarray:
    """The rows of `most` samples, of each class its share, or of `per_class` of each class: int64, rising.

    Of a smaller number are some of those of a larger one. labels: int [N], numbers of `classes`.
    """
    if per_class is not None:
        by_class = _by_class(keys, labels, "first")
        counts = np.bincount(labels)
        rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.sort(by_class[rank < per_class])
    if most is None or most >= len(labels):
        return np.arange(len(labels))
    rows = first_of_each_class(*_hashes(keys, "first"), labels, classes, most / len(labels), seed=0)
    return np.sort(np.concatenate(list(rows)))


def _by_class(keys: Sequence[str], labels: np.ndarray, purpose: str) -> np.ndarray:
    """The rows, one class after the other, in the order of their hashes."""
    order = keyed_order(*_hashes(keys, purpose))
    return order[np.argsort(labels[order], kind="stable")]


def _hashes(keys: Sequence[str], purpose: str) -> tuple[np.ndarray, np.ndarray]:
    return xxh3_128([f"{purpose} {key}" for key in keys], 0)
