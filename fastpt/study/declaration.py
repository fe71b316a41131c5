"""What a study's file says: the grid, and what is done with each run."""

import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, field_validator

from fastpt.config import Section, Seed, load_strict
from fastpt.data.plan import check_rate
from fastpt.errors import FastptError, RecipeError, suggestion
from fastpt.noise.kinds import KINDS
from fastpt.recipe import load_recipe
from fastpt.report.config import Claim
from fastpt.storage.names import is_plain
from fastpt.study.claims import claim_problems, kind_of
from fastpt.training.tasks import TASKS
from fastpt.tuning.methods import HEADS, METHODS
from fastpt.tuning.suite_files import load_suite

Value = TypeVar("Value")


class Prepare(Section):
    """A command that makes prepared splits, run where one of them is missing."""

    run: str
    """Words after `fastpt`, such as `prep demo`, quoted as for a shell."""
    makes: list[str] = Field(min_length=1)
    """Folders of the splits that it makes."""

    def problems(self) -> Iterable[str]:
        try:
            if not self.words:
                yield "prepare.run is empty."
        except ValueError as error:
            yield f"prepare.run is {self.run!r}, which a shell would not read: {error}."

    @property
    def words(self) -> list[str]:
        """The words of `run`."""
        return shlex.split(self.run)

    @property
    def missing(self) -> list[str]:
        """Those that are not there."""
        return [split for split in self.makes if not Path(split, "dataset.json").is_file()]


class Pretrain(Section):
    """One recipe at several noise rates and seeds."""

    recipe: str
    """File of the recipe."""
    set: list[str] = []
    """Overrides of recipe keys, as `fastpt train --set` takes them."""
    kind: str | None = None
    """Kind of noise; by default symmetric for a classifier, swap for CLIP."""
    rates: list[float] = []
    """Noise rates; 0 is clean."""
    files: dict[str, str] = {}
    """What plans of a kind are made from that needs a file, by its option of `fastpt noise`: {predictions: FILE}."""
    plans: list[str] = []
    """In place of kind and rates: names of noise plans beside the training split, such as those of annotators, of which
    each has its own rate."""
    noise_seeds: Annotated[list[Seed], Field(min_length=1)] | Literal["same"] = [0]
    """Seeds of the noise plans, each with every training seed; `same`: that of a run is its training seed, so that runs
    differ in their draw of noise, too. Of one seed, what is wrong at 5 % is wrong at 10 % too (but in pairswap)."""
    keep: Literal["all", "right"] = "all"
    """`right`: train on what the noise leaves right alone, for as many steps (`data.keep`), to tell what wrong labels
    do from what fewer labels do."""
    seeds: list[Seed] = Field(min_length=1)
    """Seeds of training."""

    def problems(self) -> Iterable[str]:
        if bool(self.rates) == bool(self.plans):
            yield "neither or both of rates and plans are given. Give one; other conditions are an entry of their own."
        if self.plans and (self.kind or self.files or self.noise_seeds != [0]):
            yield "plans have a kind, a file and a seed of their own. Leave kind, files and noise_seeds out."
        if self.keep == "right" and 0 in self.rates:
            yield "keep right needs noise, and rate 0 has none. Give the clean runs an entry of their own."

    suites: list[str] = []
    """What each run is tuned on: names of suites, or their files."""

    def draws(self, seed: int, rate: float) -> list[tuple[float, int]]:
        """Rate and seed of the noise plans that a training seed has at a rate; of clean a single one, of no weight."""
        seeds = [seed] if self.noise_seeds == "same" else self.noise_seeds
        return [(rate, one) for one in (seeds if rate else seeds[:1])]

    def runs(self, rate: float) -> int:
        """Pre-trainings at a rate."""
        return sum(len(self.draws(seed, rate)) for seed in self.seeds)


class Tuning(Section):
    """How heads are trained, the same for all runs."""

    name: str | None = None
    """What tells it from other tunings of the study: its results are in SUITE-NAME.json."""
    methods: list[str] = [*HEADS]
    """Names of tuning methods; the linear probe is always added."""
    num_seeds: int = Field(default=3, ge=1)
    """Heads trained a method, of seeds 0, 1 and so on."""
    options: list[str] = []
    """Further words for `fastpt tune`."""


class Study(Section):
    """A grid of pre-trainings and what is done with each."""

    name: str
    """Name of the study, and of its folder under studies/."""
    prepare: list[Prepare] = []
    """What makes the data, if it is not there."""
    pretrain: list[Pretrain] = Field(min_length=1)
    """The grid."""
    tune: list[Tuning] = Field(default=[Tuning()], min_length=1)
    """How heads are trained: in one way, or in several, as a list, of which all but one have a name."""
    claims: list[Claim] = []
    """What is asked of each arm of the grid, a recipe and a kind of noise with its clean runs; without, what the paper
    claims. They are recorded with the grid before the first run, and judged when all runs of the arm are there."""
    pilot: str | None = None
    """File of another study, whose runs are none of this one's: `near_chance` and `fastpt study power` go by them."""
    near_chance: float | None = Field(default=None, gt=0, lt=100)
    """Points above chance (1 / classes) that LP must reach on a test after the pilot's clean pre-training; a test on
    which it does not is left out of all averages."""
    votes: dict[str, list[str]] = {}
    """Sets that share pictures, under a name: they have one vote where effects are pooled over sets."""
    launcher: list[str] = []
    """What starts a training, if not one process: [torchrun, --nproc-per-node=8, -m, fastpt], say."""

    @field_validator("tune", mode="before")
    @classmethod
    def _one_tuning(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @property
    def size(self) -> int:
        """Pre-trainings of the grid."""
        drawn = sum(one.runs(rate) for one in self.pretrain for rate in one.rates)
        return drawn + sum(len(one.plans) * len(one.seeds) for one in self.pretrain)


def load_study(path: Path) -> Study:
    """Read a study's file. Raises RecipeError that names each wrong key, and each recipe or suite that is not there."""
    study = load_strict(Study, path)
    problems = [] if is_plain(study.name) else [f"name {study.name!r} is no plain folder name."]
    for index, one in enumerate(study.tune):
        problems += [f"tune.{index}.methods: {problem}" for problem in _refusals(METHODS.get, one.methods)]
        if one.name is not None and not is_plain(one.name):
            problems.append(f"tune.{index}.name {one.name!r} is no plain file name.")
        if one.name in [other.name for other in study.tune[:index]]:
            problems.append(f"tune.{index} has the name of another: their results would be one file. Name it.")
    for index, one in enumerate(study.pretrain):
        problems += [f"pretrain.{index}: {problem}" for problem in _problems(one)]
    problems += _set_problems(study)
    problems = problems or [*claim_problems(study)]
    if problems:
        raise RecipeError("\n".join(f"{path}: {problem}" for problem in problems))
    return study


def _set_problems(study: Study) -> list[str]:
    """What is wrong with the pilot, and with the votes of sets."""
    found = []
    if study.pilot:
        found += [f"pilot: {problem}" for problem in _refusals(partial(_check_pilot, study), [study.pilot])]
    elif study.near_chance is not None:
        found.append("near_chance goes by the clean runs of a pilot. Name its file in pilot.")
    names = [name for sets in study.votes.values() for name in sets]
    twice = sorted({name for name in names if names.count(name) > 1})
    return found + [f"votes: set {name} has two. Name it once." for name in twice]


def _check_pilot(study: Study, file: str) -> None:
    """Raise FastptError if the file is no study, or one in the same folder."""
    if load_strict(Study, Path(file)).name == study.name:
        raise FastptError(f"{file} has the name {study.name}, too, so that its runs would be this study's. Rename one.")


def _problems(one: Pretrain) -> list[str]:
    twice = [
        f"{what} {values} names something twice."
        for what, values in (
            ("rates", one.rates),
            ("plans", one.plans),
            ("seeds", one.seeds),
            ("noise_seeds", one.noise_seeds),
            ("suites", one.suites),
        )
        if len(set(values)) < len(values)
    ]
    unknown = [
        *_refusals(KINDS.get, [one.kind] if one.kind else []),
        *_refusals(lambda recipe: load_recipe(recipe, one.set), [one.recipe]),
    ]
    return [
        *twice,
        *_refusals(check_rate, one.rates),
        *_refusals(load_suite, one.suites),
        *_of_one_name(one.suites),
        *(unknown or _refusals(_check_kind, [one])),
    ]


def _of_one_name(suites: Iterable[str]) -> Iterator[str]:
    """Suites whose results would lie in one file."""
    found: dict[str, str] = {}
    for one in suites:
        with suppress(FastptError):  # which is told
            name = load_suite(one).name
            if (other := found.setdefault(name, one)) != one:
                yield f"suites {other} and {one} are both called {name!r}, as files of results are. Rename one."


def _check_kind(one: Pretrain) -> None:
    """Raise FastptError if a grid's recipe cannot be trained on noise of its kind and rates."""
    of = TASKS.get(load_recipe(one.recipe, one.set).task).of
    if one.plans:
        return
    name = kind_of(one)
    kind = KINDS.get(name)
    if unknown := [option for option in one.files if option not in kind.files]:
        raise FastptError(f"files: {name} noise is made from no {unknown[0]}; {suggestion(unknown[0], kind.files)}")
    if not kind.of & {of, "pictures"}:
        changes = " or ".join(sorted(kind.of))
        raise FastptError(f"{name} noise changes {changes}, but {one.recipe} trains on {of}. Choose another kind.")
    if not kind.takes_rate:
        raise FastptError(
            f"{name} noise has the rate of its file, so that no grid of rates has it. Make its plan with `fastpt "
            "noise`, and name that in plans, in an entry of its own."
        )


def _refusals(check: Callable[[Value], object], values: Iterable[Value]) -> Iterator[str]:
    """What `check` says against each value."""
    for value in values:
        try:
            check(value)
        except FastptError as error:
            yield str(error)
