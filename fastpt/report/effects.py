"""What noise and methods do to the average accuracy: contrasts of one mean a condition, with one variance over all.

A run counts once, as the mean over its heads. Runs of two conditions are independent: a shared training seed is no
block. Methods are compared within each run, where what the encoder gives to both cancels.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

from fastpt.errors import FastptError
from fastpt.report.compare import DOMAINS, Accuracies, Condition, Family, Key, accuracies, run_values
from fastpt.report.statistics import Estimate, Model, fit
from fastpt.report.text import NBSP

C = TypeVar("C", bound=Hashable)


@dataclass(frozen=True)
class RunValues:
    """A run's accuracies, or differences, by test, in shares; the kind of machine and the seed that trained it."""

    values: dict[Key, float]
    machine: str
    seed: str


@dataclass(frozen=True, eq=False)
class Effect:
    """A difference of average accuracies, in shares."""

    domain: str
    condition: Condition
    method: str
    other: str | None  # the method it is compared with at the same noise; None: the method after clean pre-training
    difference: Estimate


def effects(family: Family, suite: str, compared: Sequence[tuple[str, str]]) -> list[Effect]:
    """ID, then OOD: each method against clean pre-training at every rate, then the first of each pair of methods
    against the second.

    Averages are over the sets that all conditions and methods have; where none is common, there are no effects.
    """
    tables = [accuracies(family, suite, domain) for domain in DOMAINS]
    return [effect for table in tables if table and table.common for effect in _effects(table, suite, compared)]


def _effects(table: Accuracies, suite: str, compared: Sequence[tuple[str, str]]) -> list[Effect]:
    found = []
    for method in table.methods:
        model = averages(table, suite, method)
        clean = next((one for one in model.samples if one.kind is None), None)
        for one in model.samples:
            if clean and one.kind:
                found.append(Effect(table.domain, one, method, None, model.contrast({one: 1, clean: -1})))
    for method, other in compared:
        model = averages(table, suite, method, other)
        found += [Effect(table.domain, one, method, other, model.contrast({one: 1})) for one in model.samples]
    return found


def averages(table: Accuracies, suite: str, method: str, minus: str | None = None) -> Model[Condition]:
    """The model of the runs' average accuracies, in shares, or of their differences between two methods.

    Only of the conditions of which a run has what is asked for. Where machines coincide with conditions, what differs
    between them is in the differences, as the page's table of differences says; claims are not judged then.
    """
    found = by_run(table, suite, method, minus)
    try:
        return modelled(found, lambda values: fmean(values.values()))
    except FastptError:
        return fit({one: [fmean(run.values.values()) for run in runs] for one, runs in found.items()})


def by_run(table: Accuracies, suite: str, method: str, minus: str | None = None) -> dict[Condition, list[RunValues]]:
    """Each run's accuracies on the table's common sets, in shares, or their differences between two methods.

    Runs that lack a set or a method are left out, and conditions without a run.
    """
    found: dict[Condition, list[RunValues]] = {}
    for one in table.conditions:
        for run in one.runs:
            values = run_values(run, suite, table, method)
            others = run_values(run, suite, table, minus) if minus else dict.fromkeys(table.common, 0.0)
            if table.common and all(key in values and key in others for key in table.common):
                mine = {key: values[key] - others[key] for key in table.common}
                found.setdefault(one, []).append(RunValues(mine, run.machine, str(run.seed)))
    return found


def modelled(
    runs: Mapping[C, Sequence[RunValues]], value: Callable[[dict[Key, float]], float], of_seeds: bool = False
) -> Model[C]:
    """The model of one value of each run, with a term for the kind of machine where there are several.

    With `of_seeds`, one for the seed of training, and each seed on another machine is another.
    """
    return fit(
        {one: [value(run.values) for run in mine] for one, mine in runs.items()},
        {one: [f"{run.seed} {run.machine}" if of_seeds else run.machine for run in mine] for one, mine in runs.items()},
    )


def points(difference: Estimate, digits: int = 1) -> str:
    """'+1.2 ± 0.4', in points of a percentage."""
    half = difference.half()
    mean = f"{100 * difference.value:+.{digits}f}".replace("-", "−")
    mean = mean if float(mean[1:]) else mean[1:]  # 0 has no sign
    return mean if half is None else f"{mean}{NBSP}±{NBSP}{100 * half:.{digits}f}"
