"""The steps of a study, each with the key of all that its result depends on; which are done, and what they cost."""

import contextlib
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import Literal

from fastpt.data.dataset import Dataset
from fastpt.data.plan import plan_name
from fastpt.errors import FastptError
from fastpt.files import read_sealed_json
from fastpt.noise import add_noise
from fastpt.noise.kinds import KINDS
from fastpt.printable import printable
from fastpt.recipe import Recipe, load_recipe
from fastpt.runs.folder import EXPORT, RUNS, TUNE, run_name
from fastpt.study.claims import condition_of, kind_of, named_plans, results_name
from fastpt.study.declaration import Pretrain, Study, Tuning
from fastpt.training.tasks import TASKS
from fastpt.tuning.suite_files import load_suite
from fastpt.tuning.suites import Suite

RECORD_FORMAT = "2.1"
State = Literal["done", "to do", "failed"]
# Another patch release gives the same results; another minor release may not.
VERSIONS = ("fastpt", "torch", "timm", "open_clip_torch", "deepspeed")


@dataclass(frozen=True)
class Step:
    """One command: `fastpt` and `argv`."""

    name: str
    kind: Literal["train", "tune"]
    group: str  # what else takes as long and as much: its recipe, its suite
    argv: tuple[str, ...]
    key: str  # of all that its result depends on
    result: Path  # what is there when it is done


@dataclass(frozen=True)
class Cell:
    """One pre-training of the grid and its tunings, which need it."""

    recipe: str  # as its file is called
    kind: str | None  # of noise, or its right part; None: clean
    train: Step
    tunings: tuple[Step, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        return (self.train, *self.tunings)


class StudyGrid:
    """The steps of a study in `folder`, which holds all that it makes.

    Noise plans that are not there yet are made when `cells` is first read; not if `look_only`.
    """

    def __init__(self, study: Study, folder: Path | None = None, look_only: bool = False):
        self.study = study
        self.folder = folder or Path("studies") / study.name
        self._look_only = look_only
        self._told: set[str] = set()  # what is wrong with records

    @cached_property
    def blocks(self) -> list[list[Cell]]:
        """Every pre-training, one recipe after the other, and of each the first seed of every condition before the
        second of any, so that a study that stops is balanced. Raises FastptError."""
        found: list[list[Cell]] = []
        for recipe in dict.fromkeys(one.recipe for one in self.study.pretrain):
            entries = [self._entry(one) for one in self.study.pretrain if one.recipe == recipe]
            found += [[cell for block in blocks for cell in block] for blocks in zip_longest(*entries, fillvalue=())]
        return found

    @cached_property
    def cells(self) -> list[Cell]:
        """Every pre-training, in the order of the blocks."""
        return [cell for block in self.blocks for cell in block]

    def _entry(self, one: Pretrain) -> Iterator[list[Cell]]:
        """The cells of an entry of the grid, by training seed."""
        recipe = load_recipe(one.recipe, one.set)
        if not isinstance(recipe.data.train, str):
            raise FastptError(f"{one.recipe} trains on several splits, but a study on one. Name one in data.train.")
        recipe.data.check_there()
        train_set, settings = Dataset(recipe.data.train), recipe.as_dict()
        stem, kind = Path(one.recipe).stem, kind_of(one)
        splits = [_ids(path) for path in (recipe.data.train, recipe.data.val) if path]
        versions = [".".join(version(name).split(".")[:2]) for name in VERSIONS]
        suites = [(named, suite, _splits(suite)) for named in one.suites for suite in [load_suite(named)]]
        find_plan = cache(partial(self._noise, one, recipe, train_set, kind))
        named = [(condition_of(one, plan.kind), plan.name, plan.identity) for plan in named_plans(one)]

        def cell(seed: int, condition: str | None, noise: str | None, sha256: str | None) -> Cell:
            trained = {**settings, "seed": seed, "data": {**settings["data"], "noise": noise or 0, "keep": one.keep}}
            key = _key(trained, splits, sha256, versions)
            name = f"{run_name(stem, noise, seed, one.keep)}-{key[:8]}"
            run = self.folder / RUNS / name
            words = ["train", one.recipe, "--run-dir", str(run), "--resume"]
            for override in (*one.set, f"seed={seed}", f"data.noise={noise or 0}", f"data.keep={one.keep}"):
                words += ["--set", override]
            train = Step(name, "train", stem, tuple(words), key, run / EXPORT)
            tunings = tuple(_tuning(train, run, tuning, *suite) for suite in suites for tuning in self.study.tune)
            return Cell(stem, condition, train, tunings)

        for seed in one.seeds:
            draws = [draw for rate in one.rates for draw in one.draws(seed, rate)]
            drawn = [(condition_of(one, kind) if draw[0] else None, *find_plan(*draw)) for draw in draws]
            yield [cell(seed, *noise) for noise in [*drawn, *named]]

    def _noise(
        self, one: Pretrain, recipe: Recipe, train_set: Dataset, kind: str, rate: float, seed: int
    ) -> tuple[str | None, str | None]:
        """Name and sha256 of a cell's noise plan: neither for clean, no sha256 if it is missing and not to be made."""
        if not rate:
            return None, None
        of, name = TASKS.get(recipe.task).of, plan_name(kind, rate, seed)
        is_there = name in train_set.noise_plans()
        if not one.files and (is_there or KINDS.get(kind).files):  # that of an unnamed file is not made here
            return name, train_set.noise_plan(name, of).identity
        if self._look_only and not is_there:
            return name, None
        files = {option: Path(file) for option, file in one.files.items()}  # against which a plan that is there is held
        changed = None if "pictures" in KINDS.get(kind).of else of
        return name, add_noise(train_set, rate, seed, changed, kind, files).identity

    def record(self, step: Step) -> dict:
        """What is known of a step under its present key: how it ended; {} if it has not."""
        try:
            found = _read(self.record_path(step))
        except FastptError as error:
            if str(error) not in self._told:
                self._told.add(str(error))
                print(f"study: {printable(str(error))} Until then its step counts as not done.", file=sys.stderr)
            found = {}
        return found if found.get("key") == step.key else {}

    def record_path(self, step: Step) -> Path:
        return self.folder / "steps" / f"{step.name}.json"

    def state(self, step: Step) -> State:
        record = self.record(step)
        if "failed" in record:
            return "failed"
        return "done" if record and step.result.exists() else "to do"

    def usual_costs(self) -> dict[tuple[str, str], dict[str, float]]:
        """Seconds and bytes that a step of a kind and a group took: the median of those done under whatever key, which
        one that was paused does not move."""
        done: dict[tuple[str, str], list[dict]] = {}
        for path in sorted((self.folder / "steps").glob("*.json")):
            record = {}
            with contextlib.suppress(FastptError):  # which `record` tells
                record = _read(path)
            if "seconds" in record:
                done.setdefault((record["kind"], record["group"]), []).append(record)
        return {
            alike: {what: median(record[what] for record in records) for what in ("seconds", "bytes")}
            for alike, records in done.items()
        }


def _tuning(train: Step, run: Path, tuning: Tuning, named: str, suite: Suite, splits: list[list[str] | None]) -> Step:
    name = results_name(suite.name, tuning.name)
    out = run / TUNE / f"{name}.json"
    words = ["tune", "--run", str(run), "--suite", named, "--num-seeds", str(tuning.num_seeds), "--out", str(out)]
    words += [word for method in tuning.methods for word in ("--method", method)] + tuning.options
    key = _key(train.key, suite.model_dump(), splits, tuning.model_dump(exclude={"name"}))
    return Step(f"{train.name}-{name}", "tune", name, tuple(words), key, out)


def _splits(suite: Suite) -> list[list[str] | None]:
    """Of every split of a suite: None where it is not there, so that a set that comes later is measured then."""
    paths = [split for _, source in suite.sources() for split in source.splits]
    return [_ids(path) if Path(path, "dataset.json").is_file() else None for path in paths]


def _ids(path: str) -> list[str]:
    """Which samples a split has, and which pictures."""
    dataset = Dataset(path)
    return [dataset.samples_id, dataset.images_id]


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> dict:
    """How a step ended, or {}. Raises FastptError if the record is damaged or of another format."""
    try:
        return read_sealed_json(path, RECORD_FORMAT)
    except FileNotFoundError:
        return {}
