"""A run's folder: its names, its lock, and its one reader. Mappings out. How a run begins is `training.starts`.

    runs/<recipe>-<noise plan or clean>-s<seed>/
      recipe.yaml        the resolved recipe
      provenance.json    where the weights come from
      metrics.jsonl      an event a line: train, eval, end
      samples/           what each sample's loss did, epoch by epoch, where the recipe asks for it: see `dynamics`
      tensorboard/       the same numbers for TensorBoard
      trackers/          under which id trackers know the run, and what they leave here, where the recipe names some
      checkpoints/       what a training that was stopped goes on from
      export/            the finished model, as timm or open_clip loads it, and the sums of its files
      tune/              what `fastpt tune` found, a file for each suite

`read_run` tolerates what is missing or damaged: each becomes a line in `Run.problems`. `read_provenance` and
`read_metrics` do not.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastpt.errors import DamagedData, FastptError
from fastpt.files import MANIFEST, damages, is_sealed, locked, read_sealed_json, write_sealed_json
from fastpt.identity import FREE, FREE_OF_TASK
from fastpt.printable import finite, mapping, one_line

if TYPE_CHECKING:
    from fastpt.dynamics import Dynamics
from fastpt.records import read_sealed_line, read_sealed_yaml, write_sealed_yaml
from fastpt.tuned import checked_answers, places, read_tunes, replaced

RUNS = Path("runs")  # where runs lie unless told otherwise
RECIPE, PROVENANCE, METRICS = "recipe.yaml", "provenance.json", "metrics.jsonl"
TENSORBOARD, SAMPLES, TRACKERS = "tensorboard", "samples", "trackers"
CHECKPOINTS, EXPORT, TUNE = "checkpoints", "export", "tune"
EXPORT_FORMAT = "2.1"
EXPORT_HF = "export-hf"  # as transformers loads it
CHECKPOINT_FORMAT = "2.3"
PROVENANCE_FORMAT = "2.4"
IDS = ("samples_id", "images_id")  # of a split


def run_name(recipe: str, noise: str | None, seed: int, keep: str = "all") -> str:
    """What a run's folder is called: by its recipe, its noise plan (None for clean), what is kept, and its seed."""
    kept = "" if keep == "all" else f"-{keep}"
    return f"{recipe}-{noise or 'clean'}{kept}-s{seed}"


def right_part(kind: str) -> str:
    """What the noise of a run is called that trained on what noise of a kind leaves right, alone (`data.keep`)."""
    return f"{kind}, right part"


def alone(run: Path) -> AbstractContextManager[None]:
    """Keep a second training out of the folder. Raises FastptError if one is at work there."""
    return locked(run / ".lock", f"another training is writing to {run}. Wait for it, or name another --run-dir.")


def is_free(change: str) -> bool:
    """Whether a line of `changes` is about a key that does not touch the weights."""
    key = change.partition(" was ")[0]
    return key.startswith(FREE) or key.endswith(f".{FREE_OF_TASK}")


def newest_first(run: Path) -> list[Path]:
    """The checkpoints of a run, whole or damaged, the one of the last step first."""
    found = [path for path in (run / CHECKPOINTS).glob("step-*") if re.fullmatch(r"step-[0-9]{8,}", path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")), reverse=True)


def write_records(run: Path, recipe: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
    """Write a run's recipe and provenance."""
    # The provenance first: stopped in between, a resumed run sees again that the recipe differs.
    write_sealed_json(run / PROVENANCE, {"format": PROVENANCE_FORMAT, **provenance})
    write_sealed_yaml(run / RECIPE, recipe)


def splits_of(recipe: Mapping[str, Any], provenance: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """By their folder, or by data.train where these are several: what the provenance says of the splits of a run."""
    train, measured = mapping(recipe.get("data")).get("train"), mapping(provenance.get("measured_on"))
    found = {str(one.get("data")): one for one in map(mapping, measured.values())}
    return {train if isinstance(train, str) else "data.train": provenance} | found


def known_settings(provenance: Mapping[str, Any]) -> set[str]:
    """The sums of the settings of all starts of a run: what its checkpoints and its export were trained under."""
    starts = [provenance, *map(mapping, _listed(provenance.get("resumed")))]
    return {start["settings_sha256"] for start in starts if isinstance(start.get("settings_sha256"), str)}


def _export_problems(export: Path, provenance: Mapping[str, Any], end: Mapping[str, Any] | None) -> list[str]:
    """What the weights in an export are, if not those of this run's end."""
    facts = _tolerated(export / MANIFEST, [])
    known, settings = known_settings(provenance), facts.get("settings_sha256")
    if known and settings and settings not in known:
        return [f"{export.name}/ is of another run: `fastpt export` writes this one's"]
    if end and facts.get("step", end["step"]) != end["step"]:
        return [one_line(f"{export.name}/ has the weights of step {facts['step']}, not of the end, step {end['step']}")]
    return []


def read_recipe(run: Path) -> dict[str, Any]:
    """A run's resolved recipe. Raises FastptError if `run` is no run, DamagedData if the file is damaged."""
    return _intact(run / RECIPE)


def read_provenance(run: Path) -> dict[str, Any]:
    """A run's provenance. Raises FastptError if `run` is no run, DamagedData if the file is damaged."""
    return _intact(run / PROVENANCE)


def read_samples(run: Path) -> "Dynamics":
    """What a run recorded by sample. Raises FastptError if it has not, DamagedData if it is damaged."""
    from fastpt import dynamics

    return dynamics.read(run / SAMPLES)


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The events of metrics.jsonl; a last line that a kill cut short is left out. Raises DamagedData."""
    path = run / METRICS
    if not path.exists():
        return []
    events, bad, cut_short = _lines(path)
    if bad and not cut_short:
        raise DamagedData(f"{path} is damaged: line {bad[0]} is not as it was written. Restore it or delete the line.")
    return events


def is_finished(run: Path) -> bool:
    """Whether training came to its end and was exported. Raises DamagedData."""
    events = read_metrics(run)
    return bool(events) and events[-1]["event"] == "end"


def is_run(path: Path) -> bool:
    """Whether a folder is that of a run."""
    return any((path / mark).is_file() for mark in (RECIPE, PROVENANCE))


def verify(run: Path) -> list[str]:
    """A line for each file of a run that is not what was written: checkpoints, export, tuning, records, samples."""
    problems: list[str] = []
    records = [*(run / name for name in (RECIPE, PROVENANCE)), *sorted((run / TUNE).glob("*.json"))]
    for path in records:
        try:
            found = _intact(path)
        except FastptError as error:
            problems.append(str(error))
            continue
        if path.parent.name == TUNE and not is_sealed(found):
            problems.append(f"{path} does not match its self_sha256. Tune anew: `fastpt tune --run {run}`.")
        elif "answers_sha256" in found:
            try:
                checked_answers(path)
            except FastptError as error:
                problems.append(str(error))
    is_exported = (run / EXPORT).exists()
    try:
        is_exported |= is_finished(run)
        if (run / METRICS).exists() and _lines(run / METRICS)[2]:
            problems.append(f"{run / METRICS}: its last line is cut short, as a kill leaves it. Go on with --resume.")
    except FastptError as error:
        problems.append(str(error))
    try:
        if (run / SAMPLES).exists():
            read_samples(run)
    except FastptError as error:
        problems.append(str(error))
    sealed = [(path, CHECKPOINT_FORMAT) for path in reversed(newest_first(run))]
    exports = [run / EXPORT] * is_exported + [run / EXPORT_HF] * (run / EXPORT_HF).exists()
    for folder, version in [*sealed, *((export, EXPORT_FORMAT) for export in exports)]:
        try:
            problems += [f"{folder}: {problem}" for problem in damages(folder, version)]
        except FastptError as error:
            problems.append(str(error))
    return problems


def newest_finished(runs: Path = RUNS) -> Path:
    """The run whose export was written last. Raises FastptError if none has ended."""
    exported = list(runs.glob(f"*/{EXPORT}/*"))
    if not exported:
        raise FastptError(f"no finished run in {runs}/. Train one with `fastpt train`, or give --run or --encoder.")
    return max(exported, key=lambda path: path.stat().st_mtime).parents[1]


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
        starts = [self.provenance, *map(mapping, _listed(self.provenance.get("resumed")))]
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
    recipe = _tolerated(path / RECIPE, problems)
    provenance = _tolerated(path / PROVENANCE, problems)
    train, evals, end = _replay(_tolerated_lines(path / METRICS, problems))
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


def _changes(provenance: dict[str, Any]) -> list[tuple[str, str]]:
    """What changed on the way, and touches the weights, with the step."""
    starts = [mapping(start) for start in _listed(provenance.get("resumed"))]
    changes = [
        (one_line(start.get("step")), str(change)) for start in starts for change in _listed(start.get("changes"))
    ]
    return [(step, one_line(change)) for step, change in changes if not is_free(change)]


def _listed(value: Any) -> list[Any]:
    """A list, or an empty one: see `mapping`."""
    return value if isinstance(value, list) else []


def _why_no_run(path: Path) -> str:
    if not path.exists():
        return f"{path} does not exist. Give run folders, such as runs/demo_resnet-clean-s0; `fastpt train` makes them."
    if not path.is_dir():
        return f"{path} is a file, not a run folder. Give the folder that holds {RECIPE} and {METRICS}."
    inside = sorted(child.parent for mark in (RECIPE, PROVENANCE) for child in path.glob(f"*/{mark}"))
    if inside:
        return f"{path} is no run folder but holds some, such as {inside[0]}. Give those: {path}/*"
    return f"{path} is no run folder: it has neither {RECIPE} nor {PROVENANCE}. Give folders that `fastpt train` made."


def _mapping(path: Path) -> dict[str, Any]:
    """A run's recipe or provenance, or results, whose seal those look at who use them. Raises OSError, FastptError."""
    if path.name == RECIPE:
        return read_sealed_yaml(path)
    if path.name == PROVENANCE:
        found = read_sealed_json(path, PROVENANCE_FORMAT)
        return {key: value for key, value in found.items() if key != "format"}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict):
            return value
        why = "it holds no mapping"
    except (ValueError, RecursionError) as error:
        why = str(error)
    raise DamagedData(f"{path} is damaged ({why}). Restore it or make it anew.")


def _intact(path: Path) -> dict[str, Any]:
    try:
        return _mapping(path)
    except (FileNotFoundError, NotADirectoryError):
        raise FastptError(f"{path.parent} is no run: it has no {path.name}. Runs are made by `fastpt train`.") from None


def _tolerated(path: Path, problems: list[str]) -> dict[str, Any]:
    """{} and a problem if a mapping is missing or damaged."""
    try:
        return _mapping(path)
    except FileNotFoundError:
        problems.append(f"{path.name} is missing")
    except (OSError, FastptError) as error:
        problems.append(one_line(f"{path.name} is left out ({error})"))
    return {}


def _lines(path: Path) -> tuple[list[dict[str, Any]], list[int], bool]:
    """The events of a file of JSON lines; the numbers, from 1, of lines that are no event with a step, or not as
    written; whether the last line alone is none, as a kill leaves it. Raises OSError."""
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.splitlines()
    events, bad = [], []
    for number, line in enumerate(lines, 1):
        event = read_sealed_line(line)
        usable = event is not None and finite(event.get("step")) is not None and "event" in event
        events.append(event) if event and usable else bad.append(number)
    return events, bad, bad == [len(lines)] and not text.endswith("\n")


def _tolerated_lines(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    """The events of metrics.jsonl. A last line cut short by a kill is normal; others are counted as damage."""
    try:
        events, bad, cut_short = _lines(path)
    except OSError:
        problems.append(f"{path.name} is missing, so there are no loss curves")
        return []
    if cut_short:
        problems.append(f"the last line of {path.name} is cut short and left out")
    elif bad:
        total = len(events) + len(bad)
        problems.append(f"{len(bad):,} of {total:,} lines of {path.name} are damaged and are left out")
    return events


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
