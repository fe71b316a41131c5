"""Samples of a prepared split to be looked at: thumbnails with clean targets and with those that noise shows."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fastpt.data.dataset import Dataset
from fastpt.data.plan import NoisePlan, Targets
from fastpt.data.replaced import pictures_of
from fastpt.data.samples import ImageDataset
from fastpt.errors import DamagedData, FastptError
from fastpt.printable import one_line, plural
from fastpt.runs import Run

PICTURES = 12
SIDE = 176  # pixels of a thumbnail's longer side


@dataclass(frozen=True)
class Picture:
    """A sample: its picture as a data: URI (None if it does not decode), its clean target, and the one shown."""

    uri: str | None
    clean: str
    shown: str | None = None


@dataclass(frozen=True)
class Grid:
    """The pictures of one noise plan, or why there are none."""

    title: str
    note: str
    pictures: list[Picture]
    wide: bool = False  # captions need more room than class names


def grids(runs: Sequence[Run]) -> list[Grid]:
    """One grid for each data set and noise that the runs were trained on: of plans that differ in their draw alone, and
    of the right part of one, that of the first run."""
    plans: dict[tuple[str, ...], dict[str, Run]] = {}
    for run in runs:
        if noise := run.noise:
            drawn = noise.get("seed") is not None
            told = (noise.get("kind"), noise.get("rate"), None if drawn else noise.get("plan"))
            key = (str(run.data.get("train")), *map(str, told))
            plans.setdefault(key, {}).setdefault(str(noise.get("plan")), run)
    return [_grid(next(iter(mine.values())), len(mine)) for mine in plans.values()]


def _grid(run: Run, draws: int) -> Grid:
    plan = str((run.noise or {}).get("plan"))
    others = f", the first of {draws} draws" if draws > 1 else ""
    title = one_line(f"{plan} on {run.data.get('train')}{others}")
    try:
        return _read(run, plan, title)
    except Exception as error:  # the data is not part of the run: whatever ails it must not cost the report
        reason = str(error) if isinstance(error, FastptError) else f"{type(error).__name__}: {error}"
        return Grid(title, f"No pictures: {one_line(reason)}", [])


def _read(run: Run, plan: str, title: str) -> Grid:
    dataset = Dataset(_folder(run))
    if run.provenance.get("samples_id") not in (None, dataset.samples_id):
        raise FastptError(f"{dataset.path} no longer holds the samples of the run (its samples_id differs).")
    noise = dataset.noise_plan(plan)
    count, pictures = changed_targets(dataset, noise, PICTURES, np.random.default_rng(0))
    note = f"{len(pictures)} of {plural(count, 'sample')} with a changed target, chosen by a fixed seed."
    return Grid(title, note, pictures, noise.of == "captions")


def _folder(run: Run) -> Path:
    """The training split. Recipes name it from where training was started: usually the folder above runs/, or here."""
    folder = Path(str(run.data.get("train")))
    above = run.path.resolve().parent.parent / folder
    return above if above.exists() else folder


def changed_targets(
    dataset: Dataset, plan: NoisePlan, most: int, rng: np.random.Generator
) -> tuple[int, list[Picture]]:
    """How many samples have another target under `plan` than the clean one; `most` of them at most, drawn by `rng`.

    Raises FastptError.
    """
    if plan.of == "pictures":
        return _replaced(dataset, plan, most, rng)
    clean = dataset.targets(None, of=plan.of)
    changed = np.flatnonzero(dataset.wrong_under(plan))
    chosen = np.sort(rng.permutation(changed)[:most])
    before, after = (target_texts(dataset, targets[chosen], plan.of) for targets in (clean, plan.array))
    rows = zip(chosen.tolist(), before, after, strict=True)
    return len(changed), [Picture(thumbnail(dataset, row), *texts) for row, *texts in rows]


def _replaced(dataset: Dataset, plan: NoisePlan, most: int, rng: np.random.Generator) -> tuple[int, list[Picture]]:
    """As `changed_targets`, of pictures that another split lends: its class, or its name, and the target that stays."""
    other, of = pictures_of(dataset, plan), dataset.default_targets
    changed = np.flatnonzero(plan.array >= 0)
    chosen = np.sort(rng.permutation(changed)[:most])
    theirs = plan.array[chosen]
    classes = target_texts(other, other.clean_labels[theirs], "labels") if other.has_labels else [""] * len(chosen)
    before = [one_line(f"{name or 'a picture'} of {plan.source}") for name in classes]
    after = target_texts(dataset, dataset.targets(None, of)[chosen], of)
    rows = zip(theirs.tolist(), before, after, strict=True)
    return len(changed), [Picture(thumbnail(other, row), *texts) for row, *texts in rows]


def target_texts(dataset: Dataset, targets: np.ndarray, of: Targets) -> list[str]:
    """The class names of labels, or the captions of rows: one line each."""
    texts = dataset.captions(targets) if of == "captions" else [dataset.class_names[label] for label in targets]
    return [one_line(text) for text in texts]


def thumbnail(dataset: ImageDataset, row: int) -> str | None:
    """A sample's picture as a small JPEG in a data: URI, or None if it is damaged."""
    try:
        (jpeg,) = dataset.jpegs(np.array([row]), checked=True)
        image = Image.open(io.BytesIO(jpeg.tobytes()), formats=["JPEG"])
        image.draft("RGB", (SIDE, SIDE))
        image = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, DamagedData):
        return None
    image.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
