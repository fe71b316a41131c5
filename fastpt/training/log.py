"""What a run leaves behind: its folder, where it came from, metrics.jsonl, TensorBoard, and the line on the screen."""

import datetime
import json
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from fastpt.data.dataset import Dataset, NoisePlan
from fastpt.errors import FastptError
from fastpt.files import atomic_write, write_json
from fastpt.recipe import Recipe

PACKAGES = ("fastpt", "torch", "timm", "open_clip_torch", "deepspeed", "ffcv", "numpy")
# A resumed run may change these: they do not touch the weights.
FREE = ("data.threads", "checkpoint", "evaluate", "log_every", "tune")
PLAIN_LINE_SECONDS = 10.0


def run_folder(recipe: Recipe, recipe_name: str, noise: NoisePlan | None) -> Path:
    """Where a run lives unless told otherwise: runs/<recipe>-<noise plan or clean>-s<seed>."""
    return Path("runs") / f"{recipe_name}-{noise.name if noise else 'clean'}-s{recipe.seed}"


def provenance(
    recipe: Recipe, recipe_name: str, dataset: Dataset, noise: NoisePlan | None, command: str, machine: dict
) -> dict:
    """Where a run's weights come from; `machine` is what `launch.machine` tells."""
    return {
        "recipe": recipe_name,
        "task": recipe.task,
        "versions": {"python": platform.python_version(), **_versions()},
        "git": _git_commit(),
        "samples_id": dataset.samples_id,
        "dataset": {
            "name": dataset.name,
            "split": dataset.split,
            "samples": len(dataset),
            "class_names": dataset.class_names,
        },
        "noise": noise.provenance() if noise else None,
        "seed": recipe.seed,
        "command": command,
        **machine,
    }


def _versions() -> dict[str, str]:
    names = (*PACKAGES, "nvidia-dali-cuda130", "nvidia-dali-cuda120")
    found = {}
    for name in names:
        try:
            found["open_clip" if name == "open_clip_torch" else name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _git_commit() -> str | None:
    """The commit of the code in use, `-dirty` behind it if files differ; None outside a repository."""
    here = Path(__file__).parent
    try:
        name = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
        return subprocess.run(name, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def open_run(run: Path, recipe: Recipe, origin: dict, resume: bool, allow_changes: bool = False) -> list[str]:
    """Begin a run's folder, or check that the one there is of this run; return what has changed since it began.

    Raises FastptError that says what differs, unless changes are allowed: then the recipe and the provenance are
    written anew, and the provenance lists all changes so far.
    """
    there = run / "recipe.yaml"
    if any((run / "checkpoints").glob("step-*")):
        if not resume:
            raise FastptError(f"{run} holds a run with checkpoints. Go on with --resume, or name another --run-dir.")
        origin_then = read_provenance(run)
        differing = _differences(recipe, origin, yaml.safe_load(there.read_text()), origin_then)
        if differing and not allow_changes:
            raise FastptError(
                f"{run} cannot be resumed: {'; '.join(differing)}. "
                "Use the settings it began with, another --run-dir, or --allow-changes."
            )
        if differing:
            recipe.save(there)
            write_json(run / "provenance.json", {**origin, "changes": origin_then.get("changes", []) + differing})
        return differing
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    recipe.save(there)
    write_json(run / "provenance.json", origin)
    (run / "metrics.jsonl").unlink(missing_ok=True)
    return []


def read_provenance(run: Path) -> dict:
    """A run's provenance. Raises FastptError if `run` is no run."""
    file = run / "provenance.json"
    try:
        provenance = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise FastptError(f"{run} is no run: it has no provenance.json. Runs are made by `fastpt train`.") from None
    except ValueError as error:
        raise FastptError(f"{file} is damaged ({error}). Restore it, or train anew.") from None
    if not isinstance(provenance, dict):
        raise FastptError(f"{file} is damaged (it holds no mapping). Restore it, or train anew.")
    return provenance


def _differences(recipe: Recipe, origin: dict, recipe_then: dict, origin_then: dict) -> list[str]:
    now, then = _flat(recipe.as_dict()), _flat(recipe_then)
    keys = [key for key in sorted(now.keys() | then.keys()) if not key.startswith(FREE)]
    found = [f"{key} was {then.get(key)!r}, is {now.get(key)!r}" for key in keys if now.get(key) != then.get(key)]
    if origin["samples_id"] != origin_then["samples_id"]:
        found.append(
            f"samples_id of {recipe.data.train} was {origin_then['samples_id'][:12]}, is {origin['samples_id'][:12]}"
        )
    if origin["noise"] != origin_then["noise"]:
        names = [
            value["plan"] + " " + value["array_sha256"][:12] if value else "none"
            for value in (origin_then["noise"], origin["noise"])
        ]
        found.append(f"the noise plan was {names[0]}, is {names[1]}")
    return found


def _flat(values: dict, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def read_metrics(run: Path) -> list[dict]:
    """The lines of metrics.jsonl; a last line that a kill cut short is left out."""
    path = run / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    events = []
    for number, line in enumerate(lines, 1):
        try:
            events.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                raise FastptError(
                    f"{path} is damaged: line {number} does not parse. Mend or delete the line."
                ) from None
    return events


def is_finished(run: Path) -> bool:
    """Whether training came to its end and was exported."""
    events = read_metrics(run)
    return bool(events) and events[-1]["event"] == "end"


class MetricsLogger:
    """The open record of a running training: metrics.jsonl and TensorBoard from `step` on, and the progress line.

    What the file says of later steps (a killed run got further than its checkpoint) is dropped first, so that no line
    is there twice.
    """

    def __init__(self, run: Path, step: int, total: int):
        from torch.utils.tensorboard import SummaryWriter

        kept = [event for event in read_metrics(run) if event["step"] <= step]
        with atomic_write(run / "metrics.jsonl", "w") as file:
            file.writelines(json.dumps(event) + "\n" for event in kept)
        self.evaluations = [event for event in kept if event["event"] == "eval"]
        self._file = (run / "metrics.jsonl").open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)
        self._total, self._first_step, self._began, self._said = total, step, time.monotonic(), 0.0
        self._bar = tqdm(total=total, initial=step, unit="step") if sys.stderr.isatty() else None

    def train(self, **values: Any) -> None:
        """A logged training step; see `engine.py` for the values."""
        self._write("train", values)
        shown = (
            f"loss {values['loss']:.4f}, {values['images_per_second']:.0f} img/s, "
            f"waiting for data {values['data_wait']:.0%}"
        )
        if self._bar is not None:
            self._bar.set_postfix_str(shown, refresh=False)
            self._bar.update(values["step"] - self._bar.n)
        elif time.monotonic() - self._said > PLAIN_LINE_SECONDS:
            self._said = time.monotonic()
            pace = (self._said - self._began) / max(1, values["step"] - self._first_step)
            left = datetime.timedelta(seconds=round(pace * (self._total - values["step"])))
            self.say(f"step {values['step']}/{self._total}, epoch {values['epoch']:.2f}, {shown}, {left} left")

    def evaluation(self, **values: Any) -> None:
        """The measures of one split."""
        self._write("eval", values)
        self.evaluations.append({"event": "eval", **values})
        measures = {name: value for name, value in values.items() if isinstance(value, float) and name != "epoch"}
        self.say(
            f"step {values['step']}/{self._total}, {values['split']}: "
            + ", ".join(f"{name} {value:.2%}" for name, value in measures.items())
        )

    def end(self, **values: Any) -> None:
        """The last line: what says that the run is finished."""
        self._write("end", values)

    def say(self, text: str) -> None:
        """A line for the person who waits: to stderr, above the progress bar if there is one."""
        tqdm.write(text, file=sys.stderr) if self._bar is not None else print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Close the files; the record stays as it is."""
        if self._bar is not None:
            self._bar.close()
        self._board.close()
        self._file.close()

    def _write(self, event: str, values: dict) -> None:
        self._file.write(json.dumps({"event": event, **values}) + "\n")
        self._file.flush()
        group = values.get("split", event)
        for name, value in values.items():
            if isinstance(value, float):
                self._board.add_scalar(f"{group}/{name}", value, values["step"])
