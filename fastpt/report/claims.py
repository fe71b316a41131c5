"""Claims: what a study asks of its runs, fixed before they are trained, and how the runs answer.

A claim is a contrast of average accuracies with a side and a margin. It is asked of each arm: the clean runs and those
of one kind of noise in a family. The claims of an arm are one family of tests.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean

from fastpt.errors import FastptError
from fastpt.printable import one_line
from fastpt.report.compare import DOMAINS, Condition, Family, Key, accuracies, row_labels, run_values
from fastpt.report.config import Claim, RightPart
from fastpt.report.effects import RunValues, by_run, modelled
from fastpt.report.over_sets import OverSets, over_sets, set_correlation, votes
from fastpt.report.power import Power, power_of, runs_to_decide
from fastpt.report.statistics import Estimate, Judged, Model, judge, mean_of, slope
from fastpt.report.text import NBSP, listing, rate
from fastpt.runs import Run
from fastpt.runs.folder import right_part

TESTS = (
    "One mean a condition, and one variance over all conditions of a recipe; runs count as independent, and methods "
    "are compared within each run. Two-sided t tests against 0, Holm over the claims of an arm at 5 %: supported or "
    "contradicted. Two one-sided t tests against ± the margin, Holm over them in a family of its own at 5 %: "
    "negligible, or there but small. Else undecided."
)


@dataclass(frozen=True)
class Progress:
    """Pre-trainings of a study that are tuned on all their suites, and those that are planned."""

    done: int
    planned: int
    lacking: tuple[str, ...] = ()
    """Names of runs that lack a number which others have."""

    @property
    def is_interim(self) -> bool:
        """Whether verdicts have to wait."""
        return self.done < self.planned


@dataclass(frozen=True)
class Declaration:
    """The claims of a study, and how far it has come."""

    claims: tuple[Claim, ...] = ()
    """Empty: the built-in ones of the paper are asked."""
    note: str = "The paper's claims, which nobody declared before these runs."
    """When they were declared, and whether they were changed since."""
    progress: Mapping[tuple[str, str | None], Progress] = field(default_factory=dict)
    """Of each recipe and kind of noise (None: clean). An arm has no verdict before all of its runs are there."""
    votes: Mapping[str, str] = field(default_factory=dict)
    """Of sets that share pictures, the name of the one vote that they have when effects are pooled over sets."""

    tunings: Mapping[str, str | None] = field(default_factory=dict)
    """Of each file of results (without .json) the name of the tuning that wrote it; claims name theirs."""

    def asked_of(self, runs: Sequence[Run], suite: str) -> list[Claim]:
        """The claims about the tunings that have measured a suite's results, of runs as `apart.compared` gives them."""
        tunes = [tune for run in runs for tune in run.tunes if one_line(tune["suite"]) == suite]
        files = {Path(file).stem for tune in tunes for file in tune["files"]}
        names = {self.tunings[file] for file in files if file in self.tunings}
        return [claim for claim in self.claims if claim.tuning in names or not self.tunings]

    def family_of(self, arm: "Arm") -> int:
        """How many claims are declared about an arm, of all tunings: they are one family of tests, whichever of them
        results answer."""
        return sum(one.is_about(arm.recipe, arm.kind) for one in self.claims)

    def progress_of(self, arm: "Arm", runs: Sequence[Run], lacking: Sequence[str]) -> Progress:
        """Of the arm's noise, of its right part, and of the clean runs that it is compared with: those of `runs`, and
        none that is `lacking` a number."""
        parts = [self.progress.get((arm.recipe, kind), Progress(0, 0)) for kind in arm.kinds]
        # Other overrides of a recipe are a family of their own, but planned together; a damaged one is none.
        there = sum(bool(run.recipe) and run.recipe_name == arm.recipe and run.kind in arm.kinds for run in runs)
        done = min(sum(one.done for one in parts), there - len(lacking))
        return Progress(done, sum(one.planned for one in parts), tuple(lacking))


@dataclass(frozen=True)
class SetEffects:
    """A claim's estimand on each test, and pooled over the sets."""

    tests: Mapping[str, Estimate]
    votes: int
    """Sets that count as independent, of which each is the mean over its tests."""
    pooled: OverSets | None
    """None with a single vote, or where runs show no spread."""


@dataclass(frozen=True)
class Answer:
    """What the runs of an arm say to a claim. Numbers are in shares, as accuracies are."""

    claim: Claim
    question: str  # in words, with the methods' labels
    judged: Judged
    estimate: Estimate | None
    family: int  # claims that it is judged among
    reason: str | None = None  # why there is no estimate
    sd: float | None = None  # of a run within its condition
    welch_p: float | None = None
    permutation_p: float | None = None
    seeds_p: float | None = None  # with a term for the seed of training
    least_margin: float | None = None
    power: Power | None = None  # of these runs, in shares
    runs_to_decide: int | None = None  # of the smallest noisy condition that the claim is about
    sets: SetEffects | None = None

    @property
    def margin(self) -> float:
        return self.claim.margin / 100


@dataclass(frozen=True)
class Arm:
    """The clean runs of a family, those of one kind of noise, and those on its right part."""

    family: Family
    kind: str

    @property
    def label(self) -> str:
        return f"{self.family.label}, {self.kind}"

    @property
    def recipe(self) -> str:
        return self.family.conditions[0].runs[0].recipe_name

    @property
    def machines(self) -> dict[str, int]:
        """How many of the family's runs were trained on each kind of machine."""
        return dict(Counter(run.machine for one in self.family.conditions for run in one.runs))

    @property
    def rates(self) -> list[float]:
        return sorted({one.rate for one in self.family.conditions if one.kind == self.kind and one.rate})

    @property
    def kinds(self) -> tuple[str | None, ...]:
        """Of its runs: the noise, its right part, and None for clean."""
        return (None, self.kind, right_part(self.kind))

    @property
    def runs(self) -> list[Run]:
        return [run for one in self.family.conditions if one.kind in self.kinds for run in one.runs]

    @property
    def unasked(self) -> list[str]:
        """Conditions that no claim is asked of, as others have their kind and rate, too."""
        return [one.name for one in self.family.conditions if one.kind in self.kinds and one.suffix]

    def lacking(self, suite: str, claims: Sequence[Claim]) -> list[str]:
        """The runs that lack a number which others have, of what the claims are about: a result that is damaged or not
        there, or a value that is no number. Averages without it would be over other runs, or over other tests."""
        missing: dict[str, None] = {}
        for setting, method in dict.fromkeys((one.setting, name) for one in claims for name in one.methods):
            if table := accuracies(self.family, suite, setting):
                found = {run: run_values(run, suite, table, method).keys() for run in self.runs}
                every = {key for keys in found.values() for key in keys}
                missing |= dict.fromkeys(run.name for run, keys in found.items() if keys != every)
        return [*missing]

    def values(self, suite: str, claim: Claim) -> dict[Hashable, list[RunValues]]:
        """Of each run the values that a claim is about, by test: the arm's conditions by rate, 0 for clean, or
        `RightPart`.

        The family's other conditions (of other kinds, repeats of a seed) by themselves: for the spread only. Raises
        FastptError if there is nothing to compare.
        """
        table = accuracies(self.family, suite, claim.setting)
        absent = [one for one in claim.methods if table is None or one not in table.methods]
        if table is None or absent:
            raise FastptError(f"no {DOMAINS[claim.setting]} result of {listing(absent)}")
        if not table.common:
            raise FastptError("no set that every run and method has a result on")
        found = by_run(table, suite, claim.method, claim.minus)
        return {self._key(one): values for one, values in found.items()}

    def _key(self, one: Condition) -> Hashable:
        if one.rate is None or one.suffix:
            return one
        if one.kind == right_part(self.kind):
            return RightPart(one.rate)
        return one.rate if one.kind in (None, self.kind) else one


def arms(family: Family) -> list[Arm]:
    return [Arm(family, kind) for kind in family.wrong_kinds]


def weights(claim: Claim, counts: Mapping[Hashable, int]) -> dict[Hashable, float]:
    """Of a claim, over noise rates (0: clean) that have `counts` runs each; conditions that are no rates have none.

    Raises FastptError if a rate that it is about has no run.
    """
    by_rate = {one: n for one, n in counts.items() if isinstance(one, float)}
    right = {one.rate: one for one, n in counts.items() if isinstance(one, RightPart) and n}
    compared = [one for one in sorted(by_rate) if one and (claim.estimand != "mean - right" or one in right)]
    noisy = claim.rates or compared
    needed = [0.0, *noisy] if claim.needs_clean else noisy
    missing = [rate(one) if one else "clean" for one in needed if not by_rate.get(one)]
    if claim.estimand == "mean - right":
        missing += [f"the right part of {rate(one)}" for one in noisy if one not in right]
    if missing or not noisy:
        raise FastptError(f"no run of {listing(missing) or 'noise'}")
    if claim.estimand == "slope":
        return {**slope({one: by_rate[one] for one in needed}, max(noisy))}
    means: dict[Hashable, float] = {**mean_of(noisy, minus=0.0 if claim.needs_clean else None)}
    if claim.estimand == "mean - right":
        means |= {right[one]: -weight for one, weight in mean_of(noisy).items()}
    return means


def noisy(weights: Mapping[Hashable, float]) -> list[Hashable]:
    """The conditions of a claim's weights but clean: those that n runs are planned of."""
    return [one for one in weights if one != 0.0]


def answers(
    arm: Arm, suite: str, claims: Sequence[Claim], vote: Mapping[str, str] | None = None, of: int = 0
) -> list[Answer]:
    """What the runs of an arm say to the claims that are about it: one family of tests, or some of a family `of` more.

    `vote` is that of sets that share pictures; others have one of their own.
    """
    claims = [one for one in claims if one.is_about(arm.recipe, arm.kind)]
    asked = [_ask(arm, suite, claim) for claim in claims]
    family = [
        (None if isinstance(found, str) else found.estimate, 1 if claim.side == "> 0" else -1, claim.margin / 100)
        for claim, found in zip(claims, asked, strict=True)
    ]
    return [
        _answer(claim, question(claim, arm.family), found, judged, max(of, len(claims)), vote or {})
        for claim, found, judged in zip(claims, asked, judge(family, of), strict=True)
    ]


@dataclass(frozen=True)
class _Asked:
    """A claim's values of each run by test, the model of their averages, and the weights of its conditions."""

    values: Mapping[Hashable, list[RunValues]]
    model: Model[Hashable]
    weights: Mapping[Hashable, float]

    @property
    def estimate(self) -> Estimate:
        return self.model.contrast(self.weights)

    @property
    def seeds_p(self) -> float | None:
        """Of the contrast beside a term for the seed of training; None where no seed has runs of several conditions."""
        try:
            return modelled(self.values, _mean, of_seeds=True).contrast(self.weights).p()
        except FastptError:
            return None

    def of(self, value: Callable[[dict[Key, float]], float]) -> Estimate:
        """The same contrast of another value of each run."""
        return modelled(self.values, value).contrast(self.weights)


def _mean(values: Mapping[Key, float]) -> float:
    return fmean(values.values())


def _ask(arm: Arm, suite: str, claim: Claim) -> _Asked | str:
    """What a claim is judged by, or why there is nothing."""
    try:
        values = arm.values(suite, claim)
        model = modelled(values, _mean)
        return _Asked(values, model, weights(claim, model.counts))
    except FastptError as error:
        return str(error)


def _answer(
    claim: Claim, words: str, asked: _Asked | str, judged: Judged, family: int, vote: Mapping[str, str]
) -> Answer:
    if isinstance(asked, str):
        return Answer(claim, words, judged, None, family, asked)
    model, estimate = asked.model, asked.estimate
    needed = None
    if model.sd is not None:
        of, margin = noisy(asked.weights), claim.margin / 100
        needed = runs_to_decide(model.sd, partial(weights, claim), model.counts, of, margin, family)
    return Answer(
        claim,
        words,
        judged,
        estimate,
        family,
        sd=model.sd,
        welch_p=model.welch(asked.weights).p(),
        permutation_p=model.permutation_p(asked.weights),
        seeds_p=asked.seeds_p,
        power=None if estimate.se is None else power_of(estimate.se, estimate.df, family),
        least_margin=estimate.least_margin(family),
        runs_to_decide=needed,
        sets=_set_effects(asked, claim.setting, vote),
    )


def _set_effects(asked: _Asked, domain: str, vote: Mapping[str, str]) -> SetEffects:
    """On each test, and over votes: tests of one set share one, as their heads do."""
    keys = list(next(iter(asked.values.values()))[0].values)
    tests = {label: asked.of(lambda values, key=key: values[key]) for key, label in row_labels(domain, keys).items()}
    owner = {key: vote.get(key[0], key[0]) for key in keys}
    names = list(dict.fromkeys(owner.values()))
    effects = [asked.of(lambda values, name=name: votes(values, owner)[name]) for name in names]
    if len(names) < 2 or any(one.se is None for one in effects):
        return SetEffects(tests, len(names), None)
    average = asked.of(lambda values: fmean(votes(values, owner).values()))
    return SetEffects(tests, len(names), over_sets(effects, set_correlation(effects, average)))


def question(claim: Claim, family: Family) -> str:
    """'ID, LP: mean of 5 % and 10 % − clean > 0', the methods called as the results call them."""
    return in_words(claim, {name: method.label for name, method in family.methods.items()})


def in_words(claim: Claim, labels: Mapping[str, str]) -> str:
    """What a claim says, the methods called by `labels`, or by their names."""
    names = [labels.get(one, one) for one in claim.methods]
    rates = listing([rate(one) for one in claim.rates]) if claim.rates else "all rates"
    mean = rates if claim.rates and len(claim.rates) == 1 else f"mean of {rates}"
    form = {
        "mean": mean,
        "mean - clean": f"{mean} − clean",
        "mean - right": f"{mean} − the right part",
        "slope": f"slope over clean and {rates}, times the highest rate,",
    }[claim.estimand]
    return f"{DOMAINS[claim.setting]}, {' − '.join(names)}: {form} {claim.side.replace(' ', NBSP)}"
