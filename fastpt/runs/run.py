"""A run, read for a report: what is missing or damaged becomes a line in `Run.problems`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from fastpt.errors import FastptError
from fastpt.files import MANIFEST
from fastpt.printable import finite, listed, mapping, one_line
from fastpt.runs.folder import (
    CHECKPOINTS,
    EXPORT,
    EXPORT_HF,
    METRICS,
    PROVENANCE,
    RECIPE,
    SAMPLES,
    TENSORBOARD,
    TRACKERS,
    TUNE,
    is_run,
    right_part,
)
from fastpt.runs.records import is_free, known_settings, splits_of, tolerated, tolerated_events
from fastpt.tuned import places, read_tunes, replaced


@dataclass(frozen=True, eq=False)
class Run:
    """One run folder as it is on disk."""

    path: Path
    recipe: dict[str, Any]
    provenance: dict[str, Any]
    train: list[dict[str, Any]]  # what was logged while training, by step
    evals: list[dict[str, Any]]  # evaluations, by step and split
    end: dict[str, Any] | None  # the closing line; None if training has not ended
    tunes: list[dict[str, Any]]  # one for each suite
    problems: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return one_line(self.path.resolve().name if self.path.name in ("", "..") else self.path.name)

    @property
    def recipe_name(self) -> str:
        return one_line(self.provenance.get("recipe") or "unnamed recipe")

    @property
    def task(self) -> str:
        return one_line(self.recipe.get("task") or "unknown task")

    @property
    def model(self) -> str:
        return one_line(mapping(self.recipe.get("model")).get("name") or "unknown model")

    @property
    def seed(self) -> Any:
        return self.provenance.get("seed", self.recipe.get("seed"))

    @cached_property
    def noise(self) -> dict[str, Any] | None:
        """The noise plan as the provenance has it; None if the targets were clean."""
        if "noise" in self.provenance:
            return mapping(self.provenance["noise"]) or None
        asked = self.data.get("noise")
        if asked in (None, 0):
            return None
        return {"plan": str(asked), "kind": "noise", "rate": asked}

    @property
    def kind(self) -> str | None:
        """The kind of noise, or its right part where that alone was trained on; None for clean."""
        if not self.noise:
            return None
        kind = one_line(self.noise.get("kind", "noise"))
        return right_part(kind) if self.data.get("keep") == "right" else kind

    @property
    def rate(self) -> float | None:
        """The noise rate that was asked for: 0 for clean, None if unknown."""
        return finite(self.noise.get("rate")) if self.noise else 0.0

    @property
    def data(self) -> dict[str, Any]:
        return mapping(self.recipe.get("data"))

    @property
    def has_samples(self) -> bool:
        """Whether something was recorded by sample."""
        return (self.path / SAMPLES).exists()

    def over_starts(self, key: str) -> list[Any]:
        """What the provenance says of `key` at each start of the run: of those that differ, in their order."""
        starts = [self.provenance, *map(mapping, listed(self.provenance.get("resumed")))]
        found: list[Any] = []
        for start in starts:
            if (value := start.get(key)) is not None and value not in found:
                found.append(value)
        return found

    @property
    def machine(self) -> str:
        """The kind of machine that it was trained on; of several, in their order."""
        return one_line(", then ".join(map(str, self.over_starts("machine") or self.over_starts("device"))))

    @property
    def seconds(self) -> float | None:
        """Training time; of an unfinished run, up to its last logged step."""
        last = self.end or (self.train[-1] if self.train else {})
        return finite(last.get("seconds"))

    @property
    def bytes(self) -> int:
        """Disk of what training and tuning left; a report may lie in the run's folder too."""
        parts = (CHECKPOINTS, EXPORT, EXPORT_HF, TENSORBOARD, SAMPLES, TRACKERS, TUNE)
        return sum(file.stat().st_size for part in parts for file in (self.path / part).rglob("*") if file.is_file())

    @property
    def last_step(self) -> int | None:
        steps = [int(record["step"]) for record in (*self.train, *self.evals, *([self.end] if self.end else []))]
        return max(steps) if steps else None

    def mean(self, key: str) -> float | None:
        """The mean of a logged quantity over the training log."""
        values = [value for record in self.train if (value := finite(record.get(key))) is not None]
        return sum(values) / len(values) if values else None

    @property
    def last_evals(self) -> list[dict[str, Any]]:
        """The last evaluation of each split."""
        return list({str(record.get("split", "")): record for record in self.evals}.values())


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """The runs in the given order, each once. Raises FastptError if there is none, or one is no run folder."""
    if not paths:
        raise FastptError(
            "no runs to report on: none was given. Name one or more run folders, such as runs/demo_resnet-*."
        )
    unique: dict[Path, Path] = {}
    for path in paths:
        unique.setdefault(path.resolve(), path)
    return [read_run(path) for path in unique.values()]


def read_run(path: Path) -> Run:
    """Read one run folder. Raises FastptError if it is none."""
    if not is_run(path):
        raise FastptError(_why_no_run(path))
    problems: list[str] = []
    recipe = tolerated(path / RECIPE, problems)
    provenance = tolerated(path / PROVENANCE, problems)
    train, evals, end = _replay(tolerated_events(path / METRICS, problems))
    if train and end is None:
        problems.append(f"training has not ended: the log stops at step {int(train[-1]['step']):,}")
    bad = sum(finite(record.get("loss")) is None for record in train if "loss" in record)
    if bad:
        problems.append(f"the training loss is not a finite number at {bad:,} of {len(train):,} logged steps")
    problems += [f"trained otherwise from step {step} on: {change}" for step, change in _changes(provenance)]
    problems += replaced(splits_of(recipe, provenance), places(path))
    problems += _export_problems(path / EXPORT, provenance, end)
    tunes = read_tunes(path / TUNE, path / EXPORT, provenance, problems)
    if not tunes:
        named = "" if mapping(mapping(recipe).get("tune")).get("suite") else " --suite NAME"
        problems.append(one_line(f"no tuning results: `fastpt tune --run {path}{named}` adds them"))
    return Run(path, recipe, provenance, train, evals, end, tunes, problems)


def _why_no_run(path: Path) -> str:
    if not path.exists():
        return f"{path} does not exist. Give run folders, such as runs/demo_resnet-clean-s0; `fastpt train` makes them."
    if not path.is_dir():
        return f"{path} is a file, not a run folder. Give the folder that holds {RECIPE} and {METRICS}."
    inside = sorted(child.parent for mark in (RECIPE, PROVENANCE) for child in path.glob(f"*/{mark}"))
    if inside:
        return f"{path} is no run folder but holds some, such as {inside[0]}. Give those: {path}/*"
    return f"{path} is no run folder: it has neither {RECIPE} nor {PROVENANCE}. Give folders that `fastpt train` made."


def _export_problems(export: Path, provenance: Mapping[str, Any], end: Mapping[str, Any] | None) -> list[str]:
    """What the weights in an export are, if not those of this run's end."""
    facts = tolerated(export / MANIFEST, [])
    known, settings = known_settings(provenance), facts.get("settings_sha256")
    if known and settings and settings not in known:
        return [f"{export.name}/ is of another run: `fastpt export` writes this one's"]
    if end and facts.get("step", end["step"]) != end["step"]:
        return [one_line(f"{export.name}/ has the weights of step {facts['step']}, not of the end, step {end['step']}")]
    return []


def _changes(provenance: dict[str, Any]) -> list[tuple[str, str]]:
    """What changed on the way, and touches the weights, with the step."""
    starts = [mapping(start) for start in listed(provenance.get("resumed"))]
    changes = [
        (one_line(start.get("step")), str(change)) for start in starts for change in listed(start.get("changes"))
    ]
    return [(step, one_line(change)) for step, change in changes if not is_free(change)]


def _replay(records: list[dict[str, Any]]) -> tuple[list[dict], list[dict], dict | None]:
    """Training lines, evaluations and the end. A resumed run repeats steps: the later line replaces the earlier."""
    train: list[dict] = []
    evals: dict[tuple[float, str], dict] = {}
    end = None
    for record in records:
        step = record["step"]
        if record.get("event") == "train":
            end = None
            if train and step <= train[-1]["step"]:
                train = [earlier for earlier in train if earlier["step"] < step]
                evals = {key: earlier for key, earlier in evals.items() if key[0] < step}
            train.append(record)
        elif record.get("event") == "eval":
            evals[step, str(record.get("split", ""))] = record
        elif record.get("event") == "end":
            end = record
    return train, [evals[key] for key in sorted(evals)], end
