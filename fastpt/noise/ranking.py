"""Who is wrong first: the ranks that kinds of noise share.

Noise is keyed by content, not by row: a sample's rank and what it draws come from a hash of its key, so the same
pictures are wrong in the same way whatever the format, picture size or order of preparation.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from fastpt.data.hashes import xxh3_128


def first_of_each_class(
    ranks: np.ndarray,
    draws: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    rate: float,
    seed: int,
    flippable: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """For each class, the rows of its samples that are wrong at `rate`: int64 arrays, round(rate * N) rows in all.

    All samples are ordered by (rank in their class + u_c) / n_c, where u_c in [0, 1) is a hash of the class's name, and
    the first are taken. So the number is exact however small classes are, each class gets its expected share to within
    a sample (see `far_off`), and what is wrong at a low rate is wrong at a higher one.

    ranks, draws: uint64 [N], `xxh3_128` of the keys. labels: int [N]; one below 0 is no label. `flippable`, bool [K],
    are the classes that can be wrong: N counts their samples only.
    """
    labels, flippable = np.asarray(labels), np.ones(len(classes), bool) if flippable is None else flippable
    order = keyed_order(ranks, draws)
    order = order[(labels[order] >= 0) & flippable[labels[order]]]
    narrow = np.uint16 if len(classes) <= 1 << 16 else np.int64  # numpy sorts 16 bits in one pass
    by_class = order[np.argsort(labels[order].astype(narrow), kind="stable")]
    counts = np.bincount(labels[by_class], minlength=len(classes))
    wanted = _counts(counts, _offsets(classes, seed), round(rate * len(by_class)))
    first = np.cumsum(counts) - counts
    return (by_class[start : start + some] for start, some in zip(first, wanted, strict=True))


def balanced_order(
    ranks: np.ndarray, draws: np.ndarray, labels: np.ndarray, classes: Sequence[str], seed: int
) -> np.ndarray:
    """All rows in the order of `first_of_each_class`, int64 [N]: its first round(rate * N) are wrong at a rate."""
    order = keyed_order(ranks, draws)
    by_class = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels, minlength=len(classes))
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    label = labels[by_class]
    return by_class[np.argsort((rank + _offsets(classes, seed)[label]) / counts[label], kind="stable")]


def _offsets(classes: Sequence[str], seed: int) -> np.ndarray:
    """u_c of each class: float64 [K] in [0, 1)."""
    return (xxh3_128(classes, seed)[0] >> np.uint64(11)) * 2.0**-53


def _counts(counts: np.ndarray, offsets: np.ndarray, total: int) -> np.ndarray:
    """How many samples of each class are among the first `total` of all, int64 [K].

    The i-th sample of a class of n has the place (i + u) / n. Between the places `low` and `high`, which close in, the
    number of samples passes `total`; when few are left between them, they are sorted.
    """
    low, high = 0.0, 1.0
    before, after = np.zeros_like(counts), counts
    while after.sum() - before.sum() > len(counts):
        middle = (low + high) / 2
        below = np.minimum(np.maximum(np.ceil(middle * counts - offsets), 0), counts).astype(np.int64)
        if below.sum() <= total:
            low, before = middle, below
        else:
            high, after = middle, below
    left = np.repeat(np.arange(len(counts)), after - before)
    rank = before[left] + np.arange(len(left)) - np.repeat(np.cumsum(after - before) - (after - before), after - before)
    chosen = left[np.argsort((rank + offsets[left]) / counts[left], kind="stable")[: total - before.sum()]]
    return before + np.bincount(chosen, minlength=len(counts))


def far_off(counts: np.ndarray, wrong: np.ndarray, rate: float) -> np.ndarray:
    """Which classes miss their share by more than rounding explains: bool [K].

    counts, wrong: int [K], the samples of each class, and those that are wrong. For the sake of the number in all, a
    class of n samples may miss rate * n by one, and by its part of what the roundings of all classes come to.
    """
    roundings = (counts > 0).sum() + 1
    return np.abs(wrong - rate * counts) > 1 + counts * roundings / max(counts[wrong > 0].sum(), 1)


def keyed_order(ranks: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The rows in the order of their hashes, int64 [N]: np.lexsort((draws, ranks)), in a fraction of its time."""
    order = np.argsort(ranks)
    ordered = ranks[order]
    if (ordered[1:] == ordered[:-1]).any():  # equal keys, or one chance in 10^5 at 15 M
        return np.lexsort((draws, ranks))
    return order


def rate_problems(labels: np.ndarray, noisy: np.ndarray, classes: int, rate: float) -> list[str]:
    """What to say (see `NoiseKind.check`) if not round(rate * N) labels are wrong, or not the share of each class.

    labels, noisy: int [N]. A class without any may be one that cannot be wrong, so N is known within a range only.
    """
    counts, wrong = (np.bincount(some[some >= 0], minlength=classes) for some in (labels, labels[noisy != labels]))
    least, most = round(rate * int(counts[wrong > 0].sum())), round(rate * int(counts.sum()))
    problems = [] if least <= wrong.sum() <= most else ["does not reach its rate"]
    off = (far_off(counts, wrong, rate) & (wrong > 0)).any()
    return [*problems, *["does not flip its rate of each class"] * bool(off)]
