"""Reads run folders into plain records. What is missing or damaged becomes a line in `Run.problems`, not a failure."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from fastpt.errors import FastptError
from fastpt.printable import finite, one_line

TUNE_FORMATS = (1, 2)
_MARKS = ("recipe.yaml", "provenance.json")  # either makes a folder a run


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
        return one_line(self.path.name)

    @property
    def recipe_name(self) -> str:
        return one_line(self.provenance.get("recipe") or "unnamed recipe")

    @property
    def task(self) -> str:
        return one_line(self.recipe.get("task") or "unknown task")

    @property
    def model(self) -> str:
        return one_line(_dict(self.recipe.get("model")).get("name") or "unknown model")

    @property
    def seed(self) -> Any:
        return self.provenance.get("seed", self.recipe.get("seed"))

    @cached_property
    def noise(self) -> dict[str, Any] | None:
        """The noise plan as the provenance has it; None if the targets were clean."""
        if "noise" in self.provenance:
            return _dict(self.provenance["noise"]) or None
        asked = _dict(self.recipe.get("data")).get("noise")
        if asked in (None, 0):
            return None
        return {"plan": str(asked), "kind": "noise", "rate": asked}

    @property
    def kind(self) -> str | None:
        """The kind of noise, or None for clean."""
        return one_line(self.noise.get("kind", "noise")) if self.noise else None

    @property
    def rate(self) -> float | None:
        """The noise rate that was asked for: 0 for clean, None if unknown."""
        return finite(self.noise.get("rate")) if self.noise else 0.0

    @property
    def data(self) -> dict[str, Any]:
        return _dict(self.recipe.get("data"))

    @property
    def seconds(self) -> float | None:
        """Training time; of an unfinished run, up to its last logged step."""
        last = self.end or (self.train[-1] if self.train else {})
        return finite(last.get("seconds"))

    @property
    def bytes(self) -> int:
        """Disk of what training and tuning left; a report may lie in the run's folder too."""
        parts = ("checkpoints", "export", "tensorboard", "tune")
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


def read_runs(paths: list[Path]) -> list[Run]:
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
    if not any((path / mark).is_file() for mark in _MARKS):
        raise FastptError(_why_no_run(path))
    problems: list[str] = []
    recipe = _read(path / "recipe.yaml", _parse_yaml, problems)
    provenance = _read(path / "provenance.json", json.loads, problems)
    train, evals, end = _replay(_read_lines(path / "metrics.jsonl", problems))
    if train and end is None:
        problems.append(f"training has not ended: the log stops at step {int(train[-1]['step']):,}")
    bad = sum(finite(record.get("loss")) is None for record in train if "loss" in record)
    if bad:
        problems.append(f"the training loss is not a finite number at {bad:,} of {len(train):,} logged steps")
    tunes = _read_tunes(path / "tune", problems)
    return Run(path, recipe, provenance, train, evals, end, tunes, problems)


def _why_no_run(path: Path) -> str:
    if not path.exists():
        return f"{path} does not exist. Give run folders, such as runs/demo_resnet-clean-s0; `fastpt train` makes them."
    if not path.is_dir():
        return f"{path} is a file, not a run folder. Give the folder that holds recipe.yaml and metrics.jsonl."
    inside = sorted(child.parent for mark in _MARKS for child in path.glob(f"*/{mark}"))
    if inside:
        return f"{path} is no run folder but holds some, such as {inside[0]}. Give those: {path}/*"
    return f"{path} is no run folder: it has neither {' nor '.join(_MARKS)}. Give folders that `fastpt train` made."


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _parse_yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _read(path: Path, parse: Any, problems: list[str]) -> dict[str, Any]:
    """A file that should hold one mapping; {} and a problem if it is missing or does not."""
    try:
        value = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problems.append(f"{path.name} is missing")
        return {}
    except (OSError, ValueError) as error:
        problems.append(one_line(f"{path.name} cannot be read ({error})"))
        return {}
    if not isinstance(value, dict):
        problems.append(f"{path.name} cannot be read (it holds no mapping)")
    return _dict(value)


def _read_lines(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    """The records of a JSON-lines file. A last line cut short by a kill is normal; others are counted as damage."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        problems.append(f"{path.name} is missing, so there are no loss curves")
        return []
    records, bad = [], []
    for index, line in enumerate(lines):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        usable = isinstance(record, dict) and finite(record.get("step")) is not None
        records.append(record) if usable else bad.append(index)
    if bad == [len(lines) - 1]:
        problems.append(f"the last line of {path.name} is cut short and left out")
    elif bad:
        problems.append(f"{len(bad):,} of {len(lines):,} lines of {path.name} cannot be read and are left out")
    return records


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


def _read_tunes(folder: Path, problems: list[str]) -> list[dict[str, Any]]:
    tunes = []
    for path in sorted(folder.glob("*.json")):
        tune = _read(path, json.loads, problems)
        if tune and tune.get("format") not in TUNE_FORMATS:
            problems.append(
                one_line(f"tune/{path.name} has format {tune.get('format')!r}, not one of {TUNE_FORMATS}: left out")
            )
        elif tune:
            tunes.append({"suite": path.stem, **tune})
    if not tunes:
        problems.append(one_line(f"no tuning results: `fastpt tune --run {folder.parent}` adds them"))
    return tunes
