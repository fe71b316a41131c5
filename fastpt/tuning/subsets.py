"""Parts of a training split: a share of every class, and a validation part. Both are functions of (labels, seed).

Samples of a class are ranked by a permutation drawn from the seed, so a share of 10 % is contained in that of 25 %.
"""

import numpy as np

from fastpt.errors import FastptError
from fastpt.rng import seed_sequence

VALIDATION_SHARE = 0.2
"""Of each class, what choices are made on."""


def subset(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Rows of round(share · n_c) samples of each class c, at least one: int64, rising. labels: int [N]."""
    if not 0 < share <= 1:
        hint = f" For {share:g} % write {share / 100:g}." if 1 < share <= 100 else ""
        raise FastptError(f"a fraction of the training data is above 0 and at most 1; found {share:g}.{hint}")
    rank, counts = _ranks(labels, seed, "subset")
    return np.flatnonzero(rank < np.maximum(np.rint(share * counts), 1)[labels])


def holdout(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows to validate on, round(share · n_c) of each class but never all of them: int64, rising.

    Raises FastptError if that leaves nothing to validate on.
    """
    rank, counts = _ranks(labels, seed, "holdout")
    held = rank < np.minimum(np.rint(share * counts), counts - 1)[labels]
    if not held.any():
        raise FastptError(
            f"{len(labels)} samples of {int((counts > 0).sum())} classes leave none to validate on. "
            "Give more samples a class, or one learning rate and one weight, so that nothing is to be chosen."
        )
    return np.flatnonzero(~held), np.flatnonzero(held)


def validation_part(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """`holdout` of `VALIDATION_SHARE`, on which all methods choose; None if it leaves nothing to validate on.

    A function of a head's labels and seed: methods of one head see the same part, so that what they reach on it may be
    compared.
    """
    try:
        return holdout(labels, VALIDATION_SHARE, seed)
    except FastptError:
        return None


def _ranks(labels: np.ndarray, seed: int, purpose: str) -> tuple[np.ndarray, np.ndarray]:
    """The rank of each sample in its class, and the size of each class."""
    shuffled = np.random.default_rng(seed_sequence(seed, purpose)).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels)
    rank = np.empty(len(labels), np.int64)
    rank[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank, counts
