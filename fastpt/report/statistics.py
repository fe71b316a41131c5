"""Statistics over pre-trainings: one mean a condition, one variance, and what is asked of the means.

All numbers are float64 in the unit of the values. A run is one replicate: runs are independent, of one condition or of
two. Where a spread cannot be told (as many conditions as runs, or all runs of each condition equal) there is an
estimate, but no standard error, and all that needs one is None. A value that is no finite number is an error.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
from scipy.stats import chi2, t

from fastpt.errors import FastptError
from fastpt.rng import seed_sequence

LEVEL = 0.05  # of every test; intervals hold with 1 - LEVEL
ROUNDING = 1e-12  # of the largest value: a spread below is that of sums in another order

C = TypeVar("C", bound=Hashable)
Verdict = Literal[
    "supported",
    "supported, but small",
    "contradicted",
    "contradicted, but small",
    "negligible",
    "undecided",
    "not enough runs",
]


@dataclass(frozen=True)
class Estimate:
    """An estimate, its standard error, and the degrees of freedom of that."""

    value: float
    se: float | None
    """None where no spread can be told."""
    df: float

    def p(self) -> float | None:
        """Of a two-sided t test against 0: 2 P(T_df > |value| / se)."""
        return None if self.se is None else float(2 * t.sf(abs(self.value) / self.se, self.df))

    def half(self, of: int = 1) -> float | None:
        """Half the 95 % interval; with `of` > 1 those of a family of that many hold at once (Bonferroni).

        t_{df}(1 - 0.05 / (2 of)) · se. Bonferroni, as the estimates of a family come from several models (accuracies,
        differences between methods), whose correlation a multivariate t would have to know.
        """
        return None if self.se is None else float(t.isf(LEVEL / (2 * of), self.df) * self.se)

    def p_equivalence(self, margin: float) -> float | None:
        """Of two one-sided tests (TOST; Schuirmann 1987) that the truth lies within ± `margin`: the larger of both.

        max(P(T_df > (margin + value) / se), P(T_df > (margin - value) / se)).
        """
        return None if self.se is None else float(t.sf((margin - abs(self.value)) / self.se, self.df))

    def least_margin(self, of: int = 1) -> float | None:
        """The least margin that TOST holds at `LEVEL`, at the strictest step of Holm in a family of `of`.

        |value| + t_{df}(1 - 0.05 / of) · se.
        """
        return None if self.se is None else float(abs(self.value) + t.isf(LEVEL / of, self.df) * self.se)


@dataclass(frozen=True)
class Model(Generic[C]):
    """y_ij = mean_i + machine_ij + error_ij over conditions i and runs j, errors of one variance.

    Without kinds of machines it is the one-way analysis of variance. `fit` makes it.
    """

    samples: Mapping[C, np.ndarray]
    """The values, less what least squares say of the machine: means are at the mix of machines of all runs."""
    covariance: np.ndarray | None = None
    """float64 [C, C], of the means, in units of the error's variance; None: 1 / n_i on the diagonal."""
    machines: int = 1
    """Kinds of machines."""

    @property
    def means(self) -> dict[C, float]:
        return {one: float(values.mean()) for one, values in self.samples.items()}

    @property
    def counts(self) -> dict[C, int]:
        """Runs of each condition."""
        return {one: len(values) for one, values in self.samples.items()}

    @property
    def df(self) -> int:
        """Degrees of freedom of the spread: runs - conditions - (machines - 1)."""
        return sum(self.counts.values()) - len(self.samples) - (self.machines - 1)

    @property
    def sd(self) -> float | None:
        """The pooled standard deviation within conditions: sqrt(Σ_ij (y_ij - mean_i)² / df)."""
        return _sd([*self.samples.values()], self.machines - 1)

    def sd_interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the standard deviation: sd · sqrt(df / χ²_df(0.975)) to sd · sqrt(df / χ²_df(0.025))."""
        if self.sd is None:
            return None
        low, high = (self.sd * math.sqrt(self.df / chi2.ppf(q, self.df)) for q in (1 - LEVEL / 2, LEVEL / 2))
        return float(low), float(high)

    def contrast(self, weights: Mapping[C, float]) -> Estimate:
        """Σ_i w_i mean_i, of standard error sd · sqrt(w' V w); V the means' covariance, diag(1 / n_i) on one kind of
        machine. Conditions that have no weight give df only."""
        self._check(weights)
        value = sum(weight * self.means[one] for one, weight in weights.items())
        return Estimate(value, None if self.sd is None else self.sd * self._spread(weights), self.df)

    def _spread(self, weights: Mapping[C, float]) -> float:
        if self.covariance is None:
            return spread(weights, self.counts)
        vector = np.array([weights.get(one, 0.0) for one in self.samples])
        return math.sqrt(vector @ self.covariance @ vector)

    def welch(self, weights: Mapping[C, float]) -> Estimate:
        """The contrast with a variance of its own for each condition: a check of the pooled one (Welch 1947).

        se² = Σ_i v_i with v_i = w_i² s_i² / n_i; df = se⁴ / Σ_i v_i² / (n_i - 1), by Satterthwaite.
        """
        self._check(weights)
        value = sum(weight * self.means[one] for one, weight in weights.items())
        chosen = {one: self.samples[one] for one, weight in weights.items() if weight}
        spreads = {one: _sd([values]) or 0.0 for one, values in chosen.items()}
        parts = {one: weights[one] ** 2 * spreads[one] ** 2 / len(values) for one, values in chosen.items()}
        if any(len(values) < 2 for values in chosen.values()) or not any(parts.values()):
            return Estimate(value, None, 0)
        variance = sum(parts.values())
        df = variance**2 / sum(part**2 / (len(chosen[one]) - 1) for one, part in parts.items())
        return Estimate(value, math.sqrt(variance), df)

    def permutation_p(self, weights: Mapping[C, float], seed: int = 0, draws: int = 9999) -> float | None:
        """Of the contrast's size where chance alone decides: a check that asks for no distribution.

        Weights that sum to 0 compare conditions: runs are dealt to them at random. Others ask of a mean, of differences
        say, whether it is 0: each run's sign is drawn. p = (1 + draws with |contrast| as large) / (1 + draws) (Phipson
        and Smyth 2010), the draws a function of `seed`. None if equal values are dealt.
        """
        self._check(weights)
        chosen = [one for one, weight in weights.items() if weight]
        values = np.concatenate([self.samples[one] for one in chosen])
        counts = [self.counts[one] for one in chosen]
        shares = np.repeat([weights[one] / self.counts[one] for one in chosen], counts)
        random = np.random.default_rng(seed_sequence(seed, "permutation"))
        if abs(sum(weights.values())) > ROUNDING:
            drawn = random.choice([-1.0, 1.0], (draws, len(values))) * values @ shares
        elif np.ptp(values):
            drawn = random.permuted(np.broadcast_to(values, (draws, len(values))), axis=1) @ shares
        else:
            return None
        # What rounding alone makes smaller is as large.
        found = np.abs(drawn) >= abs(float(values @ shares)) - ROUNDING * np.abs(values).max()
        return float((1 + found.sum()) / (1 + draws))

    def _check(self, weights: Mapping[C, float]) -> None:
        missing = [str(one) for one, weight in weights.items() if weight and one not in self.samples]
        if missing:
            raise FastptError(f"there is no run of {', '.join(missing)}, which is compared. Train it, or leave it out.")


def fit(samples: Mapping[C, Iterable[float]], machines: Mapping[C, Sequence[str]] | None = None) -> Model[C]:
    """The model of the values of each condition's runs, `machines` their kinds.

    Raises FastptError for a condition without runs, for NaN, and where what differs between machines cannot be told
    from what differs between conditions.
    """
    arrays = {one: np.asarray(list(values), np.float64) for one, values in samples.items()}
    for one, values in arrays.items():
        if not len(values):
            raise FastptError(f"{one} has no run. Leave it out, or train it.")
        if not np.isfinite(values).all():
            raise FastptError(
                f"{one} has a run whose value is no finite number: {values.tolist()}. Leave that run out."
            )
    kinds = list(dict.fromkeys(kind for one in arrays for kind in (machines or {}).get(one, ())))
    return Model(arrays) if machines is None or len(kinds) < 2 else _less_machines(arrays, machines, kinds)


def _less_machines(
    samples: Mapping[C, np.ndarray], machines: Mapping[C, Sequence[str]], kinds: Sequence[str]
) -> Model[C]:
    """Least squares on an indicator of each condition and one of each kind but the first, those less their mean."""
    conditions = np.repeat(np.eye(len(samples)), [len(values) for values in samples.values()], axis=0)
    found = [kind for one in samples for kind in machines[one]]
    others = np.array([[kind == other for other in kinds[1:]] for kind in found], np.float64)
    design = np.hstack([conditions, others - others.mean(0)])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise FastptError(
            f"runs were trained on {len(kinds)} kinds of machines ({', '.join(kinds)}), and too few conditions on "
            "several for noise to be told from machines. Do blocks of all conditions on each."
        )
    values = np.concatenate([*samples.values()])
    effects = np.linalg.lstsq(design, values)[0][len(samples) :]
    less = np.split(
        values - design[:, len(samples) :] @ effects, np.cumsum([len(one) for one in samples.values()])[:-1]
    )
    covariance = np.linalg.inv(design.T @ design)[: len(samples), : len(samples)]
    return Model(dict(zip(samples, less, strict=True)), covariance, len(kinds))


def _sd(groups: Sequence[np.ndarray], lost: int = 0) -> float | None:
    """The standard deviation within groups, of which so many degrees of freedom are lost to other terms; None where
    there is none, or where it is rounding."""
    df = sum(len(values) - 1 for values in groups) - lost
    if df < 1:
        return None
    sd = math.sqrt(sum(float(((values - values.mean()) ** 2).sum()) for values in groups) / df)
    return sd if sd > ROUNDING * max(float(np.abs(values).max()) for values in groups) else None


# --- what is asked: weights over conditions ------------------------------------------------------------------------


def mean_of(conditions: Sequence[C], minus: C | None = None) -> dict[C, float]:
    """Weights of the plain mean of conditions; minus one that is not among them."""
    weights = {one: 1 / len(conditions) for one in conditions}
    return weights if minus is None else {**weights, minus: -1.0}


def slope(counts: Mapping[float, int], factor: float = 1.0) -> dict[float, float]:
    """Weights of the least squares line over runs, whose conditions are numbers x: its slope times `factor`.

    w_i = factor · n_i (x_i - x̄) / Σ_k n_k (x_k - x̄)², x̄ the mean over runs. `counts` are the n_i, of two x at least.
    """
    runs = sum(counts.values())
    middle = sum(n * x for x, n in counts.items()) / runs
    squares = sum(n * (x - middle) ** 2 for x, n in counts.items())
    if not squares:
        raise FastptError("a slope needs runs at two rates at least.")
    return {x: factor * n * (x - middle) / squares for x, n in counts.items()}


def spread(weights: Mapping[C, float], counts: Mapping[C, int]) -> float:
    """A contrast's standard error in units of the standard deviation: sqrt(Σ_i w_i² / n_i)."""
    return math.sqrt(sum(weight**2 / counts[one] for one, weight in weights.items() if weight))


# --- families of tests ----------------------------------------------------------------------------------------------


def holm(ps: Sequence[float | None], of: int = 0) -> list[float]:
    """Holm's (1979) adjusted p-values: in ascending order p_(i) · (m - i + 1), none below the one before, none above 1.

    A test that could not be done counts in the family, with p = 1, and so do those beside `ps` of a family `of` more.
    """
    filled = np.array([1.0 if p is None else p for p in ps])
    order = np.argsort(filled, kind="stable")
    adjusted = np.empty(len(filled))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(filled[order] * (max(of, len(ps)) - np.arange(len(ps)))))
    return adjusted.tolist()


@dataclass(frozen=True)
class Judged:
    """A claim's verdict and the two adjusted p-values that it rests on."""

    verdict: Verdict
    p: float
    """Of the difference from 0, after Holm."""
    p_equivalence: float
    """Of lying within the margin, after Holm in a family of its own."""


def judge(family: Sequence[tuple[Estimate | None, int, float]], of: int = 0) -> list[Judged]:
    """The verdicts of a family of claims: of each its estimate (None: not to be had), side (1 or -1) and margin.
    Those of a family `of` more are not to be had either.

    Two families at 5 % each: two-sided t tests against 0 with Holm, and TOST against the margins with Holm.
    A difference from 0 supports or contradicts; where it is also within the margin it is small; within the margin alone
    is negligible; neither is undecided.
    """
    ps = holm([one.p() if one else None for one, _, _ in family], of)
    within = holm([one.p_equivalence(margin) if one else None for one, _, margin in family], of)
    return [
        Judged(_verdict(one, side, p <= LEVEL, q <= LEVEL), p, q)
        for (one, side, _), p, q in zip(family, ps, within, strict=True)
    ]


def _verdict(one: Estimate | None, side: int, differs: bool, small: bool) -> Verdict:
    if one is None or one.se is None:
        return "not enough runs"
    if not differs:
        return "negligible" if small else "undecided"
    if one.value * side > 0:
        return "supported, but small" if small else "supported"
    return "contradicted, but small" if small else "contradicted"
