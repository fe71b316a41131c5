"""What noise and methods do to the average accuracy: differences paired by pre-training seed.

A difference is taken within each pre-training seed (of the means over its heads), so what the seed shares cancels. From
one seed there is a difference but no interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fastpt.intervals import Interval, paired
from fastpt.printable import one_line
from fastpt.report.compare import DOMAINS, Accuracies, Condition, Family, accuracies, run_average
from fastpt.report.text import NBSP


@dataclass(frozen=True, eq=False)
class Effect:
    """A difference of average accuracies, in shares."""

    domain: str
    condition: Condition
    method: str
    other: str | None  # the method it is compared with at the same noise; None: the method after clean pre-training
    difference: Interval


def effects(family: Family, suite: str, compared: Sequence[tuple[str, str]]) -> list[Effect]:
    """ID, then OOD: each method against clean pre-training at every rate, then the first of each pair of methods
    against the second.

    Averages are over the sets that all conditions and methods have; where none is common, there are no effects.
    """
    tables = [accuracies(family, suite, domain) for domain in DOMAINS]
    return [effect for table in tables if table and table.common for effect in _effects(table, suite, compared)]


def _effects(table: Accuracies, suite: str, compared: Sequence[tuple[str, str]]) -> list[Effect]:
    found = {
        (condition, method): _by_seed(condition, suite, table, method)
        for condition in table.conditions
        for method in table.methods
    }
    clean = next((one for one in table.conditions if one.kind is None), None)
    noisy = [one for one in table.conditions if one.kind]
    pairs = [(one, method, None, clean) for method in table.methods for one in noisy if clean]
    pairs += [
        (one, method, other, one)
        for method, other in compared
        for one in table.conditions
        if {method, other} <= {*table.methods}
    ]
    differences = (
        (one, method, other, paired(found[one, method], found[base, other or method]))
        for one, method, other, base in pairs
    )
    return [Effect(table.domain, one, method, other, gain) for one, method, other, gain in differences if gain]


def _by_seed(condition: Condition, suite: str, table: Accuracies, method: str) -> dict[str, float]:
    """The average accuracy of each pre-training seed."""
    values = {one_line(run.seed): run_average(run, suite, table, method) for run in condition.runs}
    return {seed: value for seed, value in values.items() if value is not None}


def points(difference: Interval) -> str:
    """'+1.2 ± 0.4', in points of a percentage."""
    mean = f"{100 * difference.mean:+.1f}".replace("-", "−")
    return mean if difference.ci95_half is None else f"{mean}{NBSP}±{NBSP}{100 * difference.ci95_half:.1f}"
