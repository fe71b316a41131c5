"""The paper that the report is about (Chen et al., ICLR 2024): the methods it names, and its claims.

Nothing else in the report knows a method by name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fastpt.intervals import Interval
from fastpt.report.compare import Family
from fastpt.report.effects import Effect, points
from fastpt.report.text import listing, rate

LP, MLP, NMTUNE = "lp", "mlp", "nmtune"
COMPARED = ((NMTUNE, LP), (NMTUNE, MLP))  # whose differences at the same noise are looked at
SLIGHT = 0.1  # the largest noise rate that may pass for slight
Verdict = Literal["Supported", "Not supported", "Undecided"]


@dataclass(frozen=True)
class Claim:
    verdict: Verdict
    text: str


def claims(family: Family, found: Sequence[Effect]) -> list[Claim]:
    """The paper's three claims for each kind of noise, as far as these effects decide them.

    Supported or not supported only where intervals exclude 0. A claim about every rate is supported if all of them do,
    and not supported if any lies on the other side. Repeats of a seed, which stand for themselves, decide nothing.
    """
    judged = []
    label = {name: method.label for name, method in family.methods.items()}
    for kind in family.kinds:
        mine = [one for one in found if one.condition.kind == kind and not one.condition.suffix]
        lowest = min((one.condition.rate for one in mine if one.condition.rate), default=1.0)
        slight = [one for one in _chosen(mine, "id", LP) if one.condition.rate == lowest <= SLIGHT]
        questions = [
            (f"slight noise raises the ID accuracy of {label.get(LP)}", slight, 1),
            (f"noise at any rate lowers the OOD accuracy of {label.get(LP)}", _chosen(mine, "ood", LP), -1),
        ] + [
            (
                f"under noise, {label.get(method)} is better than {label.get(other)} on OOD",
                _chosen(mine, "ood", method, other),
                1,
            )
            for method, other in COMPARED
        ]
        name = f"{family.label}, {kind}"
        judged += [_judge(f"{name}: {words}", which, sign) for words, which, sign in questions if which]
    return judged


def _chosen(found: Sequence[Effect], domain: str, method: str, other: str | None = None) -> list[Effect]:
    return [one for one in found if (one.domain, one.method, one.other) == (domain, method, other)]


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
