"""What noise and methods do to the average accuracy: differences paired by pre-training seed, and claims they decide.

A difference is taken within each pre-training seed (of the means over its heads), so what the seed shares cancels. From
one seed there is a difference but no interval, and nothing is decided.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fastpt.intervals import Interval, paired
from fastpt.printable import one_line
from fastpt.report.compare import SETTINGS, Accuracies, Condition, Family, accuracies, method_label, run_average
from fastpt.report.text import NBSP, listing, rate

TUNED, OTHERS = "nmtune", ("lp", "mlp")
Verdict = Literal["Supported", "Not supported", "Undecided"]


@dataclass(frozen=True, eq=False)
class Effect:
    """A difference of average accuracies, in shares."""

    setting: str
    condition: Condition
    method: str
    other: str | None  # the method it is compared with at the same noise; None: the method after clean pre-training
    difference: Interval


@dataclass(frozen=True)
class Claim:
    verdict: Verdict
    text: str


def effects(family: Family, suite: str) -> list[Effect]:
    """ID, then OOD: each method against clean pre-training at every rate, then NMTune against the others.

    Averages are over the sets that all conditions and methods have; where none is common, there are no effects.
    """
    tables = [accuracies(family.conditions, suite, setting) for setting in SETTINGS]
    return [effect for table in tables if table and table.common for effect in _effects(table, suite)]


def _effects(table: Accuracies, suite: str) -> list[Effect]:
    found = {
        (condition, method): _by_seed(condition, suite, table, method)
        for condition in table.conditions
        for method in table.methods
    }
    base = next((one for one in table.conditions if one.kind is None), None)
    noisy = [one for one in table.conditions if one.kind]
    wanted = [(one, method, None) for method in table.methods for one in noisy if base]
    wanted += [
        (one, TUNED, other) for other in OTHERS for one in table.conditions if {TUNED, other} <= {*table.methods}
    ]
    made = []
    for one, method, other in wanted:
        difference = paired(found[one, method], found[one, other] if other else found[base, method])
        if difference:
            made.append(Effect(table.setting, one, method, other, difference))
    return made


def _by_seed(condition: Condition, suite: str, table: Accuracies, method: str) -> dict[str, float]:
    """The average accuracy of each pre-training seed."""
    values = {one_line(run.seed): run_average(run, suite, table, method) for run in condition.runs}
    return {seed: value for seed, value in values.items() if value is not None}


SLIGHT = 0.1  # the largest noise rate that may pass for slight, as in the paper


def claims(family: Family, found: Sequence[Effect]) -> list[Claim]:
    """The paper's three claims for each kind of noise, as far as these effects decide them.

    Supported or not supported only where intervals exclude 0. A claim about every rate is supported if all of them do,
    and not supported if any lies on the other side. Repeats of a seed, which stand for themselves, decide nothing.
    """
    judged = []
    for kind in family.kinds:
        mine = [one for one in found if one.condition.kind == kind and not one.condition.suffix]
        lowest = min((one.condition.rate for one in mine if one.condition.rate), default=1.0)
        slight = [one for one in _chosen(mine, "id", "lp") if one.condition.rate == lowest <= SLIGHT]
        questions = [
            ("slight noise raises the ID accuracy of LP", slight, 1),
            ("noise at any rate lowers the OOD accuracy of LP", _chosen(mine, "ood", "lp"), -1),
        ] + [
            (f"under noise, NMTune is better than {method_label(other)} on OOD", _chosen(mine, "ood", TUNED, other), 1)
            for other in OTHERS
        ]
        name = f"{family.label}, {kind}"
        judged += [_judge(f"{name}: {words}", which, sign) for words, which, sign in questions if which]
    return judged


def _chosen(found: Sequence[Effect], setting: str, method: str, other: str | None = None) -> list[Effect]:
    return [one for one in found if (one.setting, one.method, one.other) == (setting, method, other)]


def _judge(text: str, found: Sequence[Effect], sign: int) -> Claim:
    sides = {_side(one.difference) * sign for one in found}
    verdict: Verdict = "Supported" if sides == {1} else "Not supported" if -1 in sides else "Undecided"
    numbers = [f"{points(one.difference)} at {rate(one.condition.rate)}" for one in found]
    alone = "; one seed" if any(one.difference.ci95_half is None for one in found) else ""
    return Claim(verdict, f"{text} ({listing(numbers)}; points{alone}).")


def _side(difference: Interval) -> int:
    """1 or -1 where the interval lies wholly above or below 0; 0 where it holds 0, or where there is none."""
    mean, half, _ = difference
    return 0 if half is None or abs(mean) <= half else 1 if mean > 0 else -1


def points(difference: Interval) -> str:
    """'+1.2 ± 0.4', in points of a percentage."""
    mean = f"{100 * difference.mean:+.1f}".replace("-", "−")
    return mean if difference.ci95_half is None else f"{mean}{NBSP}±{NBSP}{100 * difference.ci95_half:.1f}"
