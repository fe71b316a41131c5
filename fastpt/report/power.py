"""What a design can see and show, and how many runs decide: from a spread, never from a difference."""

from bisect import bisect_left
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from scipy.stats import t

from fastpt.report.statistics import LEVEL, spread

POWER = 0.8  # what a design is asked for

C = TypeVar("C", bound=Hashable)


@dataclass(frozen=True)
class Power:
    """What a design sees at `POWER`, in the unit of the standard deviation."""

    effect: float
    """The least true effect that is told from 0."""
    margin: float
    """The least margin that an effect of 0 is shown to lie within."""


def power_of(se: float, df: float, of: int = 1) -> Power:
    """Of a contrast with this standard error, one of a family of `of` tests, at the strictest step of Holm.

    effect = (t_df(1 - α / 2m) + t_df(0.8)) · se, margin = (t_df(1 - α / m) + t_df(0.9)) · se.
    """
    effect = t.isf(LEVEL / (2 * of), df) + t.ppf(POWER, df)
    margin = t.isf(LEVEL / of, df) + t.ppf((1 + POWER) / 2, df)
    return Power(float(effect * se), float(margin * se))


@dataclass(frozen=True)
class Design(Generic[C]):
    """A contrast in a design of `counts` runs a condition; those without a weight count for degrees of freedom.

    One of a family of `of` tests, at the strictest step of Holm. Powers by the shifted central t in place of the
    noncentral one (Julious 2004), a percent or two off at 10 degrees of freedom.
    """

    sd: float
    weights: Mapping[C, float]
    counts: Mapping[C, int]
    of: int = 1

    @property
    def df(self) -> int:
        return sum(self.counts.values()) - len(self.counts)

    @property
    def se(self) -> float:
        return self.sd * spread(self.weights, self.counts)

    def sees(self, effect: float) -> float:
        """The power to tell a true effect from 0: P(T_df <= |effect| / se - t_df(1 - α / 2m))."""
        return float(t.cdf(abs(effect) / self.se - t.isf(LEVEL / (2 * self.of), self.df), self.df))

    def shows(self, margin: float) -> float:
        """The power to show that an effect of 0 is within ± margin: 2 P(T_df <= margin / se - t_df(1 - α / m)) - 1."""
        return max(0.0, float(2 * t.cdf(margin / self.se - t.isf(LEVEL / self.of, self.df), self.df) - 1))

    def power(self) -> Power | None:
        """What it sees and shows at `POWER`; None without degrees of freedom."""
        return None if self.df < 1 else power_of(self.se, self.df, self.of)


def scaled(counts: Mapping[C, int], n: int, noisy: Iterable[C]) -> dict[C, int]:
    """A design of the same proportions whose smallest `noisy` condition has `n` runs, and each other one a run."""
    least = min(counts[one] for one in noisy)
    return {one: max(1, round(count * n / least)) for one, count in counts.items()}


def runs_to_decide(
    sd: float,
    weights: Callable[[Mapping[C, int]], Mapping[C, float]],
    counts: Mapping[C, int],
    noisy: Collection[C],
    margin: float,
    family: int = 1,
) -> int | None:
    """The least n of `scaled(counts, n, noisy)` that decides: it tells an effect as large as the margin from 0, and
    shows an effect of 0 to lie within it, both at `POWER`. `weights` are a function of the counts. None beyond 10,000.

    The effect that was seen is not asked: it would make a small study look as if a larger one were to agree.
    """

    def decides(n: int) -> bool:
        design = scaled(counts, n, noisy)
        found = Design(sd, weights(design), design, family).power()
        return found is not None and max(found.effect, found.margin) <= margin

    tried = range(2, 10_001)
    index = bisect_left(tried, True, key=decides)
    return tried[index] if index < len(tried) else None
