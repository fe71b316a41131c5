"""Effects over data sets, of which those at hand are a sample: random effects whose errors are correlated."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.stats import t

from fastpt.errors import FastptError
from fastpt.report.statistics import LEVEL, ROUNDING, Estimate

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class OverSets:
    """An effect over data sets, of which those at hand are a sample."""

    mean: Estimate
    """Of the mean over all sets there might be."""
    between: float
    """τ: the standard deviation of true effects between sets."""
    prediction_half: float | None
    """Half the 95 % interval of the true effect on one further set; None below three sets."""


def votes(values: Mapping[K, float], vote: Mapping[K, str]) -> dict[str, float]:
    """One value a vote: the mean over the tests that share it. Tests on the same pictures are no independent sets.

    Done for each run, so that the spread over runs of a vote holds what its tests share. Every test has a vote.
    """
    groups: dict[str, list[float]] = {}
    for test, value in values.items():
        groups.setdefault(vote[test], []).append(value)
    return {name: float(np.mean(group)) for name, group in groups.items()}


def set_correlation(effects: Sequence[Estimate], average: Estimate) -> float:
    """The correlation ρ of the errors of k >= 2 sets' effects, one for all pairs, within [0, 1].

    The same encoders are measured on every set, and what they do alike on all of them does not average out:
    k² se² = Σ se_i² + ρ ((Σ se_i)² - Σ se_i²), se that of the plain mean over the sets, `average`. Raises FastptError
    for one without a spread.
    """
    se, whole = _errors(effects), _errors([average])[0]
    alone, together = float((se**2).sum()), float(se.sum() ** 2)
    return min(1.0, max(0.0, ((len(se) * whole) ** 2 - alone) / (together - alone)))


def over_sets(effects: Sequence[Estimate], correlation: float = 0.0) -> OverSets:
    """Random effects over k >= 2 sets: y_i = mean + N(0, τ²) + e_i, e_i of variance se_i² and correlation ρ.

    τ² by DerSimonian and Laird's (1986) moments: with u_i = 1 / se_i² and ȳ their weighted mean, Q = Σ u_i (y_i - ȳ)²,
    τ² = max(0, (Q - (k - 1) + ρ ((Σ 1 / se_i)² / Σ u - 1)) / (Σ u - Σ u² / Σ u)). Then w_i = 1 / (se_i² + τ²) and
    mean = Σ w y / Σ w. Its variance is Hartung and Knapp's (2001) h = Σ w (y_i - mean)² / ((k - 1) Σ w), k - 1 degrees
    of freedom, and what they miss, as correlated errors do not show between sets:
    c = ρ ((Σ w se)² - Σ w² se²) k / ((k - 1) (Σ w)²), of the degrees of freedom of the effects; together
    Satterthwaite's. With ρ = 0 it is theirs. The prediction interval is ± t_{k-2}(0.975) · sqrt(τ² + h + c) (Higgins et
    al. 2009). Raises FastptError for fewer sets, or one without a spread.
    """
    if len(effects) < 2:
        raise FastptError("effects over data sets need two sets at least.")
    se, y = _errors(effects), np.array([one.value for one in effects])
    k, u = len(y), 1 / se**2
    q = float((u * (y - np.average(y, weights=u)) ** 2).sum())
    excess = q - (k - 1) + correlation * float((1 / se).sum() ** 2 / u.sum() - 1)
    tau2 = max(0.0, excess / float(u.sum() - (u**2).sum() / u.sum()))
    w = 1 / (se**2 + tau2)
    mean = float(np.average(y, weights=w))
    seen = float((w * (y - mean) ** 2).sum() / ((k - 1) * w.sum()))
    alike = correlation * float((w @ se) ** 2 - (w**2) @ (se**2)) * k / ((k - 1) * float(w.sum()) ** 2)
    variance = seen + alike
    prediction = float(t.isf(LEVEL / 2, k - 2) * math.sqrt(tau2 + variance)) if k > 2 else None
    if math.sqrt(variance) <= ROUNDING * float(np.abs(y).max()):
        return OverSets(Estimate(mean, None, k - 1), math.sqrt(tau2), prediction)
    df = variance**2 / (seen**2 / (k - 1) + alike**2 / effects[0].df)
    return OverSets(Estimate(mean, math.sqrt(variance), df), math.sqrt(tau2), prediction)


def _errors(effects: Sequence[Estimate]) -> np.ndarray:
    if any(one.se is None for one in effects):
        raise FastptError("effects over data sets need a standard error of each: not enough runs.")
    return np.array([one.se for one in effects], np.float64)
