"""Who is wrong first: the ranks that kinds of noise share.

Noise is keyed by content, not by row: a sample's rank and what it draws come from a hash of its key, so the same
pictures are wrong in the same way whatever the format, picture size or order of preparation.
"""

from collections.abc import Iterator

import numpy as np


def first_of_each_class(
    ranks: np.ndarray, draws: np.ndarray, labels: np.ndarray, classes: int, rate: float
) -> Iterator[np.ndarray]:
    """For each class, the rows of its first round(rate * n_c) samples in the keyed order: int64 arrays."""
    labels = np.asarray(labels)
    order = keyed_order(ranks, draws)
    narrow = np.uint16 if classes <= 1 << 16 else np.int64  # numpy sorts 16 bits in one pass
    by_class = order[np.argsort(labels[order].astype(narrow), kind="stable")]
    counts = np.bincount(labels, minlength=classes)
    first = np.cumsum(counts) - counts
    wanted = np.rint(rate * counts).astype(np.int64)
    return (by_class[start : start + some] for start, some in zip(first, wanted, strict=True))


def keyed_order(ranks: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The rows in the order of their hashes, int64 [N]: np.lexsort((draws, ranks)), in a fraction of its time."""
    order = np.argsort(ranks)
    ordered = ranks[order]
    if (ordered[1:] == ordered[:-1]).any():  # equal keys, or one chance in 10^5 at 15 M
        return np.lexsort((draws, ranks))
    return order


def rate_problems(labels: np.ndarray, noisy: np.ndarray, classes: int, rate: float) -> list[str]:
    """What to say (see `NoiseKind.check`) if a class has neither round(rate * n_c) flipped samples nor none.

    labels, noisy: int [N].
    """
    counts, wrong = (np.bincount(some, minlength=classes) for some in (labels, labels[noisy != labels]))
    kept = ((wrong == 0) | (wrong == np.rint(rate * counts))).all()
    return [] if kept else ["does not flip its rate of each class"]
