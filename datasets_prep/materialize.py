"""A noise view made solid: the stored JPEGs with the targets of one plan, in files that other readers know.

--format ffcv  <split>.beton: fields `image` and `label` (integer), or `caption` (JSON: {"caption": text})
--format wds   <split>-000000.tar ...: members .jpg and .cls, or .txt; beside them DALI's .idx, open_clip's sizes.json
               and __len__, timm's _info.json
provenance.json says which samples these are and which noise they show. Samples are in the order of the split.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from datasets_prep.writers.beton import BetonWriter
from datasets_prep.writers.tar import TarWriter
from fastpt.data import beton
from fastpt.data.dataset import Dataset
from fastpt.data.manifest import file_entry
from fastpt.data.plan import Targets
from fastpt.errors import FastptError
from fastpt.files import atomic_folder, locked, write_json, write_sealed_json

FORMAT = "2.0"
BATCH = 1024  # samples whose captions are looked up at once


def materialize(
    dataset: Dataset,
    noise: float | str | None,
    store: str,
    out: Path,
    of: Targets | None = None,
    shard_samples: int = 20_000,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write `dataset` with the targets of `noise` (see `Dataset.targets`) to the new folder `out`.

    The folder appears whole or not at all; what a killed job left is removed by the next. `store` is ffcv or wds.
    Raises FastptError if `out` exists, DamagedData if a stored picture is damaged.
    """
    if out.resolve().is_relative_to(dataset.path.resolve()):
        raise FastptError(f"{out} lies inside the prepared split {dataset.path}. Choose another --out.")
    of = of or dataset.default_targets
    plan = dataset.noise_plan(noise, of)
    targets = dataset.targets(noise, of)
    with _new_folder(out) as folder:
        samples = _samples(dataset, targets, of, progress)
        if store == "ffcv":
            _write_ffcv(folder / f"{dataset.split}.beton", samples, len(dataset), of)
        else:
            _write_tars(folder, dataset, samples, of, shard_samples)
        files = sorted(folder.iterdir())
        provenance = {
            "format": FORMAT,
            "dataset": dataset.name,
            "split": dataset.split,
            "samples": len(dataset),
            "samples_id": dataset.samples_id,
            "targets": of,
            "noise": plan.provenance() if plan else None,
            "files": [file_entry(file) for file in files],
            "classes": dataset.classes if of == "labels" else [],
        }
        write_sealed_json(folder / "provenance.json", provenance)


@contextlib.contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder that becomes `out` if the context ends well. One writer at a time."""
    lock = out.with_name(f".{out.name}.lock")
    with locked(lock, f"another process is writing {out}. Wait for it, or choose another --out."):
        try:
            if out.exists():
                raise FastptError(f"{out} exists. Delete it, or choose another --out.")
            with atomic_folder(out) as folder:
                yield folder
        finally:
            lock.unlink(missing_ok=True)


def _samples(
    dataset: Dataset, targets: np.ndarray, of: Targets, progress: Callable[[int, int], None]
) -> Iterator[tuple[bytes, int, int, int | str]]:
    """JPEG, width, height and target of every sample, its bytes checked."""
    stored = dataset.samples
    for start in range(0, len(dataset), BATCH):
        rows = range(start, min(start + BATCH, len(dataset)))
        shown = targets[rows.start : rows.stop]
        shown = shown.tolist() if of == "labels" else dataset.captions(shown)
        for row, target in zip(rows, shown, strict=True):
            jpeg = dataset.jpeg(row, checked=True).tobytes()
            yield jpeg, int(stored.width[row]), int(stored.height[row]), target
        progress(rows.stop, len(dataset))


def _write_ffcv(path: Path, samples: Iterator, count: int, of: Targets) -> None:
    field, kind = ("label", beton.INT_FIELD) if of == "labels" else ("caption", beton.JSON_FIELD)
    with BetonWriter.open(path, count, field, kind) as writer:
        for jpeg, width, height, target in samples:
            writer.add(jpeg, width, height, target if of == "labels" else {"caption": target})


def _write_tars(folder: Path, dataset: Dataset, samples: Iterator, of: Targets, shard_samples: int) -> None:
    sizes = {}
    for shard, start in enumerate(range(0, len(dataset), shard_samples)):
        name = f"{dataset.split}-{shard:06d}.tar"
        sizes[name] = min(shard_samples, len(dataset) - start)
        with TarWriter.open(folder / name, shard, "cls" if of == "labels" else "txt") as writer:
            for _ in range(sizes[name]):
                writer.add(*next(samples))
    write_json(folder / "sizes.json", sizes)
    write_json(folder / "__len__", len(dataset))
    split = {
        "name": dataset.split,
        "num_samples": len(dataset),
        "filenames": list(sizes),
        "shard_lengths": list(sizes.values()),
    }
    write_json(folder / "_info.json", {"name": dataset.name, "splits": {dataset.split: split}})
