"""A run's folder: what lies where in it, what it is called, and who may write there."""

import re
from contextlib import AbstractContextManager
from pathlib import Path

from fastpt.errors import FastptError
from fastpt.files import locked

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


def is_run(path: Path) -> bool:
    """Whether a folder is that of a run."""
    return any((path / mark).is_file() for mark in (RECIPE, PROVENANCE))


def newest_first(run: Path) -> list[Path]:
    """The checkpoints of a run, whole or damaged, the one of the last step first."""
    found = [path for path in (run / CHECKPOINTS).glob("step-*") if re.fullmatch(r"step-[0-9]{8,}", path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")), reverse=True)


def newest_finished(runs: Path = RUNS) -> Path:
    """The run whose export was written last. Raises FastptError if none has ended."""
    exported = list(runs.glob(f"*/{EXPORT}/*"))
    if not exported:
        raise FastptError(f"no finished run in {runs}/. Train one with `fastpt train`, or give --run or --encoder.")
    return max(exported, key=lambda path: path.stat().st_mtime).parents[1]
