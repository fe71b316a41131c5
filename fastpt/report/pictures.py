"""Training samples whose target was changed: the picture, its clean target and what the model was shown."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastpt.errors import FastptError
from fastpt.printable import one_line
from fastpt.report.text import plural
from fastpt.runs import Run

PICTURES = 12
SIDE = 176  # pixels of a thumbnail's longer side


@dataclass(frozen=True)
class Picture:
    uri: str
    clean: str
    shown: str


@dataclass(frozen=True)
class Grid:
    """The pictures of one noise plan, or why there are none."""

    title: str
    note: str
    pictures: list[Picture]
    wide: bool = False  # captions need more room than class names


def grids(runs: Sequence[Run]) -> list[Grid]:
    """One grid for each data set and noise plan that the runs were trained on."""
    found: dict[tuple[str, str], Grid] = {}
    for run in runs:
        key = (str(run.data.get("train")), str((run.noise or {}).get("plan")))
        if run.noise and key not in found:
            found[key] = _grid(run)
    return list(found.values())


def _grid(run: Run) -> Grid:
    plan = str(run.noise.get("plan"))
    title = one_line(f"{plan} on {run.data.get('train')}")
    try:
        return _read(run, plan, title)
    except Exception as error:  # the data is not part of the run: whatever ails it must not cost the report
        reason = str(error) if isinstance(error, FastptError) else f"{type(error).__name__}: {error}"
        return Grid(title, f"No pictures: {one_line(reason)}", [])


def _read(run: Run, plan: str, title: str) -> Grid:
    import numpy as np

    from fastpt.data.dataset import Dataset

    dataset = Dataset(_folder(run))
    if run.provenance.get("samples_id") not in (None, dataset.samples_id):
        raise FastptError(f"{dataset.path} no longer holds the samples of the run (its samples_id differs).")
    of = "captions" if run.task == "clip" else "labels"
    before, after = dataset.targets(None, of=of), dataset.targets(plan, of=of)
    changed = np.flatnonzero(before != after)
    chosen = np.sort(np.random.default_rng(0).permutation(changed)[:PICTURES])
    name = dataset.captions if of == "captions" else lambda labels: [dataset.class_names[label] for label in labels]
    texts = zip(name(before[chosen]), name(after[chosen]), strict=True)
    pictures = [
        Picture(_thumbnail(bytes(dataset.jpeg(int(sample_id)))), one_line(was), one_line(shown))
        for sample_id, (was, shown) in zip(chosen, texts, strict=True)
    ]
    note = f"{len(pictures)} of {plural(len(changed), 'sample')} with a changed target, chosen by a fixed seed."
    return Grid(title, note, pictures, of == "captions")


def _folder(run: Run) -> Path:
    """The training split. Recipes name it from where training was started: usually the folder above runs/, or here."""
    folder = Path(str(run.data.get("train")))
    above = run.path.resolve().parent.parent / folder
    return above if above.exists() else folder


def _thumbnail(jpeg: bytes) -> str:
    from PIL import Image

    image = Image.open(io.BytesIO(jpeg))
    image.draft("RGB", (SIDE, SIDE))
    image = image.convert("RGB")
    image.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
