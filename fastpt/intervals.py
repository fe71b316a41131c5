"""Means with 95 % confidence intervals, and differences paired by seed.

An interval over seeds of the heads tells how far the mean would move with other seeds (initial weights, batch orders,
drawn fractions and validation parts), on this encoder and these test samples. It says nothing of another pre-training.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.stats import t

Seed = TypeVar("Seed", bound=Hashable)
Head = TypeVar("Head")


class Interval(NamedTuple):
    """A mean and half the width of its 95 % confidence interval, by Student's t."""

    mean: float
    ci95_half: float | None
    """None if there is one value, from which no spread can be told."""
    n: int


def interval(values: Sequence[float]) -> Interval:
    """The mean of independent values, n >= 1, and its interval."""
    n = len(values)
    mean = float(np.mean(values))
    if n < 2:
        return Interval(mean, None, n)
    return Interval(mean, float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)), n)


def one_if_alike(heads: list[Head]) -> list[Head]:
    """The values of several heads, of which the first alone where all are equal: what no seed changes has no spread."""
    return heads[:1] if all(one == heads[0] for one in heads) else heads


def paired(first: Mapping[Seed, float], second: Mapping[Seed, float]) -> Interval | None:
    """The mean difference first − second over the keys (seeds) that both have, and its interval; None if there is none.

    What both share at a seed cancels, so the interval is narrower than the two intervals suggest. For methods on one
    encoder; encoders are compared by `fastpt.report.statistics`, as their seeds share nothing.
    """
    common = [key for key in first if key in second]
    return interval([first[key] - second[key] for key in common]) if common else None
