"""Claims: what a study asks of its runs, fixed before they are trained, and how the runs answer.

A claim is a contrast of average accuracies with a side and a margin. It is asked of each arm: the clean runs and those
of one kind of noise in a family. The claims of an arm are one family of tests.
"""

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pydantic import Field

from fastpt.config import Section
from fastpt.errors import FastptError
from fastpt.report.compare import DOMAINS, Condition, Family, accuracies
from fastpt.report.effects import averages
from fastpt.report.statistics import Estimate, Judged, Model, fit, judge, mean_of, runs_to_decide, slope
from fastpt.report.text import NBSP, listing, rate


class Claim(Section):
    """A contrast of average accuracies over the tests of a setting, its claimed side, and what would be negligible."""

    name: str = Field(min_length=1)
    """What the page calls it."""
    estimand: Literal["mean", "mean - clean", "slope"]
    """Over the rates: the mean, the mean minus that after clean pre-training, or the least squares line through clean
    and all rates times the highest rate."""
    setting: Literal["id", "ood"]
    """In or out of domain."""
    method: str
    """Tuning method whose accuracy it is."""
    minus: str | None = None
    """Second method: the estimand is then of the differences between both, within each run."""
    rates: list[float] | None = Field(default=None, min_length=1)
    """Noise rates that it is about; by default all of the grid."""
    side: Literal["> 0", "< 0"]
    """What is claimed."""
    margin: float = Field(gt=0)
    """In points: what lies within ± this is negligible."""

    def problems(self) -> list[str]:
        found = []
        if self.estimand == "mean" and self.minus is None:
            found.append("estimand: the mean of one method's accuracy is above 0 anyhow. Name a second one in minus.")
        if self.minus == self.method:
            found.append(f"minus: {self.minus} minus itself is 0. Name another method.")
        rates = self.rates or []
        if not all(0 < one < 1 for one in rates) or len(set(rates)) < len(rates):
            found.append(f"rates: {rates} should be different noise rates between 0 and 1; clean is in the estimand.")
        return found

    def weights(self, counts: Mapping[float, int]) -> dict[float, float]:
        """Over noise rates (0: clean) that have `counts` runs each. Raises FastptError if one has none."""
        noisy = self.rates or [one for one in sorted(counts) if one]
        needed = noisy if self.estimand == "mean" else [0.0, *noisy]
        missing = [rate(one) if one else "clean" for one in needed if not counts.get(one)]
        if missing or not noisy:
            raise FastptError(f"no run of {listing(missing) or 'noise'}")
        if self.estimand == "slope":
            return slope({one: counts[one] for one in needed}, max(noisy))
        return mean_of(noisy, minus=None if self.estimand == "mean" else 0.0)


def sha256(claims: Sequence[Claim]) -> str:
    """Of the canonical JSON (sorted keys, no spaces, UTF-8) of a list of claims; the order counts."""
    values = [one.model_dump() for one in claims]
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Declaration:
    """The claims of a study, and how far it has come."""

    claims: tuple[Claim, ...]
    """Empty: the built-in ones of the paper are asked."""
    note: str
    """When they were declared, and whether they were changed since."""
    done: int
    planned: int
    """Pre-trainings, tuned on all suites. There is no verdict before `planned` is reached."""

    @property
    def interim(self) -> bool:
        return self.done < self.planned

    @property
    def words(self) -> str:
        """What the page says above the verdicts."""
        many = f" Interim: {self.done} of {self.planned} pre-trainings are there, and nothing is judged before all are."
        return self.note + (many if self.interim else "")


@dataclass(frozen=True)
class Answer:
    """What the runs of an arm say to a claim. Numbers are in shares, as accuracies are."""

    claim: Claim
    question: str  # in words, with the methods' labels
    judged: Judged
    estimate: Estimate | None
    reason: str | None  # why there is no estimate
    welch_p: float | None
    permutation_p: float | None
    least_margin: float | None
    runs_to_decide: int | None  # of each noisy condition

    @property
    def margin(self) -> float:
        return self.claim.margin / 100


@dataclass(frozen=True)
class Arm:
    """The clean runs of a family and those of one kind of noise."""

    family: Family
    kind: str

    @property
    def label(self) -> str:
        return f"{self.family.label}, {self.kind}"

    @property
    def rates(self) -> list[float]:
        return sorted({one.rate for one in self.family.conditions if one.kind == self.kind and one.rate})

    def model(self, suite: str, claim: Claim) -> Model[Hashable]:
        """Of the values that a claim is about: the arm's conditions by rate, 0 for clean.

        The family's other conditions (of other kinds, repeats of a seed) by themselves: for the spread only. Raises
        FastptError if there is nothing to compare.
        """
        table = accuracies(self.family, suite, claim.setting)
        absent = [one for one in (claim.method, claim.minus) if one and (table is None or one not in table.methods)]
        if table is None or absent:
            raise FastptError(f"no {DOMAINS[claim.setting]} result of {listing(absent)}")
        if not table.common:
            raise FastptError("no set that every run and method has a result on")
        found = averages(table, suite, claim.method, claim.minus)
        return fit({self._key(one): values for one, values in found.samples.items()})

    def _key(self, one: Condition) -> Hashable:
        return one.rate if one.kind in (None, self.kind) and one.rate is not None and not one.suffix else one


def arms(family: Family) -> list[Arm]:
    return [Arm(family, kind) for kind in family.kinds]


def by_rate(model: Model[Hashable]) -> dict[float, int]:
    """Runs of each of an arm's conditions."""
    return {one: n for one, n in model.counts.items() if isinstance(one, float)}


def answers(arm: Arm, suite: str, claims: Sequence[Claim]) -> list[Answer]:
    """What the runs of an arm say to each claim; all of them are one family of tests."""
    asked = [_ask(arm, suite, claim) for claim in claims]
    family = [
        (None if isinstance(found, str) else found[0].contrast(found[1]), _side(claim), claim.margin / 100)
        for claim, found in zip(claims, asked, strict=True)
    ]
    return [
        _answer(arm, claim, found, estimate, judged, len(claims))
        for claim, found, (estimate, *_), judged in zip(claims, asked, family, judge(family), strict=True)
    ]


Asked = tuple[Model[Hashable], dict[Hashable, float]]


def _ask(arm: Arm, suite: str, claim: Claim) -> Asked | str:
    """The model and the weights of a claim, or why there are none."""
    try:
        model = arm.model(suite, claim)
        return model, {**claim.weights(by_rate(model))}
    except FastptError as error:
        return str(error)


def _answer(
    arm: Arm, claim: Claim, asked: Asked | str, estimate: Estimate | None, judged: Judged, family: int
) -> Answer:
    blank = partial(Answer, claim, question(claim, arm.family), judged, estimate)
    if isinstance(asked, str) or estimate is None:
        return blank(asked if isinstance(asked, str) else None, None, None, None, None)
    model, weights = asked
    needed = None
    if model.sd is not None:
        needed = runs_to_decide(model.sd, claim.weights, by_rate(model), claim.margin / 100, family)
    return blank(None, model.welch(weights).p(), model.permutation_p(weights), estimate.least_margin(family), needed)


def _side(claim: Claim) -> int:
    return 1 if claim.side == "> 0" else -1


def question(claim: Claim, family: Family) -> str:
    """'ID, LP: mean of 5 % and 10 % − clean > 0', the methods called as the results call them."""
    names = [family.methods[one].label if one in family.methods else one for one in (claim.method, claim.minus) if one]
    rates = listing([rate(one) for one in claim.rates]) if claim.rates else "all rates"
    form = {
        "mean": f"mean of {rates}",
        "mean - clean": f"mean of {rates} − clean",
        "slope": f"slope over clean and {rates}, times the highest rate,",
    }[claim.estimand]
    return f"{DOMAINS[claim.setting]}, {' − '.join(names)}: {form} {claim.side.replace(' ', NBSP)}"
