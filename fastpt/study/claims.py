"""A study's claims held against its grid: which arms it has, and what a claim asks for that it lacks."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastpt.data.dataset import Dataset
from fastpt.data.plan import NoisePlan
from fastpt.errors import FastptError, suggestion
from fastpt.noise.kinds import DEFAULTS
from fastpt.recipe import load_recipe
from fastpt.report.config import Claim, RightPart
from fastpt.report.text import listing, rate
from fastpt.runs.folder import right_part
from fastpt.training.tasks import TASKS
from fastpt.tuning.suite_files import load_suite
from fastpt.tuning.suites import InDomain, OutOfDomain

if TYPE_CHECKING:
    from fastpt.study.declaration import Pretrain, Study

BASELINE = "lp"  # which tuning always adds
Condition = tuple[str | None, float]  # kind of noise or its right part, None for clean, and its rate


@dataclass(frozen=True)
class PlannedArm:
    """The clean runs of a recipe, those of one kind of noise, and those on its right part."""

    recipe: str
    kind: str
    family: Mapping[Condition, int]
    """Planned runs of every condition of the recipe, those of other kinds too: all tell of the spread."""
    domains: frozenset[str]
    """id, ood: what its suites have sets of."""

    @property
    def label(self) -> str:
        return f"{self.recipe}, {self.kind}"

    @property
    def by_rate(self) -> dict[float, int]:
        """Planned runs of the arm; 0 is clean."""
        return {rate_: runs for (kind, rate_), runs in self.family.items() if kind in (None, self.kind)}

    @property
    def right(self) -> dict[float, int]:
        """Planned runs on the right part of each rate."""
        return {rate_: runs for (kind, rate_), runs in self.family.items() if kind == right_part(self.kind)}

    @property
    def counts(self) -> dict[Hashable, int]:
        """Planned runs of all conditions of the recipe, those of the arm called as `weights` knows them."""
        mine = (None, self.kind, right_part(self.kind))
        others = {one: runs for one, runs in self.family.items() if one[0] not in mine}
        return {**others, **self.by_rate, **{RightPart(rate_): runs for rate_, runs in self.right.items()}}


def kind_of(one: "Pretrain") -> str:
    """The kind of noise of an entry of the grid. Raises FastptError if its recipe cannot be followed."""
    return one.kind or DEFAULTS[TASKS.get(load_recipe(one.recipe, one.set).task).of]


def condition_of(one: "Pretrain", kind: str) -> str:
    """The kind of noise of an entry, or its right part, as runs call it."""
    return right_part(kind) if one.keep == "right" else kind


def planned_arms(study: "Study") -> list[PlannedArm]:
    """In the order of the grid. Entries of one recipe and the same overrides share their clean runs."""
    families: dict[tuple[str, ...], dict[Condition, int]] = {}
    domains: dict[tuple[str, ...], frozenset[str]] = {}
    for one in study.pretrain:
        key = (Path(one.recipe).stem, *one.set)
        counts = families.setdefault(key, {})
        for condition, runs in _conditions(one):
            counts[condition] = counts.get(condition, 0) + runs
        found = [load_suite(suite) for suite in one.suites]
        mine = {name for name in ("id", "ood") for suite in found if getattr(suite, name)}
        domains[key] = domains.get(key, frozenset()) | mine
    return [
        PlannedArm(key[0], kind, counts, domains[key]) for key, counts in families.items() for kind in _noises(counts)
    ]


def _conditions(one: "Pretrain") -> Iterator[tuple[Condition, int]]:
    """The conditions of an entry, and the runs of each. Raises FastptError if a plan that it names is not there."""
    kind = kind_of(one)
    for rate_ in one.rates:
        yield (condition_of(one, kind) if rate_ else None, rate_), one.runs(rate_)
    for plan in named_plans(one):
        yield (condition_of(one, plan.kind), plan.rate), len(one.seeds)


def named_plans(one: "Pretrain") -> list[NoisePlan]:
    """The plans that an entry names. Raises FastptError if one is not there."""
    if not one.plans:
        return []
    recipe = load_recipe(one.recipe, one.set)
    if not isinstance(recipe.data.train, str):
        raise FastptError(f"{one.recipe} trains on several splits, but a study on one. Name one in data.train.")
    train_set = Dataset(recipe.data.train)
    return [train_set.noise_plan(name, TASKS.get(recipe.task).of) for name in one.plans]


def _noises(counts: Mapping[Condition, int]) -> Iterator[str]:
    """The kinds of noise of which there is more than the right part."""
    kinds = dict.fromkeys(kind for kind, _ in counts if kind)
    yield from (kind for kind in kinds if kind not in map(right_part, kinds))


def claim_problems(study: "Study") -> Iterator[str]:
    """What the claims and votes of a study name that its grid, tuning or suites lack: 'claims.0: ...'."""
    every = planned_arms(study)
    there = {one.name for entry in study.pretrain for named in entry.suites for one in _sets(named)}
    for name in (name for sets in study.votes.values() for name in sets if name not in there):
        yield f"votes: no suite has a set {name!r}; {suggestion(name, dict.fromkeys(sorted(there)))}"
    names = [one.name for one in study.claims]
    for index, claim in enumerate(study.claims):
        here = f"claims.{index} ({claim.name})"
        if names.index(claim.name) < index:
            yield f"{here}: another claim has that name. Give it one of its own."
        for where, method in (("method", claim.method), ("minus", claim.minus)):
            known = [BASELINE, *(name for one in study.tune if one.name == claim.tuning for name in one.methods)]
            if method and method not in known:
                told = suggestion(method, dict.fromkeys(known))
                yield f"{here}: {where} {method!r} is not among tune.methods; {told}"
        if claim.tuning not in (names_ := [one.name for one in study.tune]):
            asked = (
                f"no tuning is called {claim.tuning!r}"
                if claim.tuning
                else "every tuning has a name, and it names none"
            )
            yield f"{here}: {asked}. Its tunings: {listing([one or '(without a name)' for one in names_])}."
        about = [arm for arm in every if claim.is_about(arm.recipe, arm.kind)]
        if not about:
            asked = " and ".join(
                f"{key} {value!r}" for key, value in (("recipe", claim.recipe), ("kind", claim.kind)) if value
            )
            known = listing([arm.label for arm in every]) or "none, as nothing has noise"
            yield f"{here}: the grid has no arm{f' of {asked}' if asked else ''}. Its arms: {known}."
        for arm in about:
            yield from (f"{here}: {arm.label}: {problem}" for problem in _lacks(claim, arm))


def tunings_of(study: "Study") -> dict[str, str | None]:
    """Of each file of results (without .json) the name of the tuning that writes it."""
    suites = {load_suite(named).name for one in study.pretrain for named in one.suites}
    return {results_name(suite, tuning.name): tuning.name for suite in suites for tuning in study.tune}


def results_name(suite: str, tuning: str | None) -> str:
    """What the results of a suite are called."""
    return f"{suite}-{tuning}" if tuning else suite


def _sets(named: str) -> list[InDomain | OutOfDomain]:
    suite = load_suite(named)
    return [*suite.id, *suite.ood]


def _lacks(claim: Claim, arm: PlannedArm) -> Iterator[str]:
    runs = arm.by_rate
    wanted = [*([0.0] if claim.needs_clean else []), *(claim.rates or [])]
    missing = [rate(one) if one else "clean" for one in wanted if not runs.get(one)]
    if claim.estimand == "mean - right":
        asked = claim.rates or ([] if arm.right else [one for one in runs if one])
        missing += [f"the right part of {rate(one)}" for one in asked if one not in arm.right]
    if missing:
        yield (
            f"no run of {listing(missing)} is planned. Add it to pretrain, or name the recipe or kind that the claim "
            "is about."
        )
    if claim.setting not in arm.domains:
        yield f"its suites have no {claim.setting} set. Name a suite that has."
    if sum(arm.family.values()) <= len(arm.family):
        yield "one run a condition shows no spread, so that nothing can be judged. Give a second seed."
