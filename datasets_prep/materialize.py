"""A noise view made solid: the stored JPEGs with the targets of one plan, in files that other readers know.

--format ffcv     <split>.beton: fields `image` and `label` (integer), or `caption` (JSON: {"caption": text})
--format wds      <split>-000000.tar ...: members .jpg, .cls or .txt (what is shown), and .json with all that is known
                  of the sample; beside them DALI's .idx, open_clip's sizes.json and __len__, timm's _info.json
--format parquet  data/<split>-00000-of-00001.parquet ...: what `datasets.load_dataset` opens, with an image feature;
                  it has no splits with `-` or a blank in their names, which are `_` here

What is known of a sample is its `key`, `label` or `caption` as the plan shows it, `is_noisy`, and `clean_label` and
`clean_caption`, the source's, where it has them. provenance.json says which samples these are and which noise they
show. Samples are in the order of the split.
"""

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets_prep.writers.beton import BetonWriter
from datasets_prep.writers.tar import TarWriter
from fastpt.data import beton
from fastpt.data.dataset import Dataset
from fastpt.data.manifest import file_entry
from fastpt.data.plan import Targets
from fastpt.data.samples import ImageDataset
from fastpt.errors import FastptError, suggestion
from fastpt.files import atomic_folder, locked, write_json, write_sealed_json

FORMAT = "2.2"
SEED = 0  # of the samples that a limit draws
BATCH = 1024  # samples whose captions are looked up at once
ROW_GROUP = 100  # samples of a parquet file that are read together, as `datasets` writes pictures
STORES = ("ffcv", "wds", "parquet")


@dataclass(frozen=True)
class Sample:
    """A sample as it is written."""

    jpeg: bytes
    width: int
    height: int
    target: int | str  # what the plan shows
    known: dict[str, Any]  # see above


def materialize(
    dataset: Dataset,
    noise: float | str | None,
    store: str,
    out: Path,
    of: Targets | None = None,
    shard_samples: int = 20_000,
    progress: Callable[[int, int], None] = lambda done, total: None,
    limit: int | None = None,
    only: Sequence[str] = (),
) -> None:
    """Write `dataset` with the targets of `noise` (see `Dataset.targets`) to the new folder `out`.

    The folder appears whole or not at all; what a killed job left is removed by the next. `store` is one of `STORES`.
    With `only`, names of classes, samples whose clean label is one of them are written; with `limit`, so many of these,
    drawn at random: the same each time, and those of a smaller limit among those of a larger one. Raises FastptError if
    `out` exists or nothing would be written, DamagedData if a stored picture is damaged.
    """
    if out.resolve().is_relative_to(dataset.path.resolve()):
        raise FastptError(f"{out} lies inside the prepared split {dataset.path}. Choose another --out.")
    of = of or dataset.default_targets
    plan = dataset.noise_plan(noise, of)
    shown = _Shown(dataset, dataset.shown(noise, of), of, dataset.targets(noise, of), dataset.wrong(noise, of))
    rows = _rows(dataset, limit, only)
    with _new_folder(out) as folder:
        samples = _samples(shown, rows, progress)
        if store == "ffcv":
            _write_ffcv(folder / f"{dataset.split}.beton", samples, len(rows), of)
        elif store == "wds":
            _write_tars(folder, dataset, samples, len(rows), of, shard_samples)
        else:
            _write_parquet(folder, dataset, samples, len(rows), of, shard_samples)
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        provenance = {
            "format": FORMAT,
            "dataset": dataset.name,
            "split": dataset.split,
            "samples": len(rows),
            "samples_id": dataset.samples_id,
            "limit": limit,
            "only_classes": list(only),
            "targets": of,
            "noise": plan.provenance() if plan else None,
            "files": [file_entry(file) | {"name": file.relative_to(folder).as_posix()} for file in files],
            "classes": dataset.classes if of == "labels" else [],
        }
        write_sealed_json(folder / "provenance.json", provenance)


def _rows(dataset: Dataset, limit: int | None, only: Sequence[str]) -> np.ndarray:
    """int64 [M], the samples that are asked for, in their order."""
    drawn = np.random.default_rng(SEED).permutation(len(dataset))
    if only:
        labels = [_label(dataset, name) for name in only]
        drawn = drawn[np.isin(dataset.clean_labels[drawn], labels)]
    if len(drawn) == 0:
        raise FastptError(f"{dataset.path} has no sample of the classes {', '.join(only)}. Name others.")
    return np.sort(drawn[:limit])


def _label(dataset: Dataset, name: str) -> int:
    """The label of a class, by its name or that of its folder."""
    for names in (dataset.classes, dataset.class_names):
        if (count := names.count(name)) == 1:
            return names.index(name)
        if count:
            raise FastptError(f"{dataset.path} has {count} classes called {name!r}. Name it as in its `classes`.")
    raise FastptError(
        f"{dataset.path} has no class {name!r}; {suggestion(name, [*dataset.classes, *dataset.class_names])}"
    )


@contextlib.contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder that becomes `out` if the context ends well. One writer at a time."""
    place = out.resolve()  # `.` has no name of its own
    lock = place.with_name(f".{place.name}.lock")
    with locked(lock, f"another process is writing {out}. Wait for it, or choose another --out."):
        try:
            if out.exists():
                raise FastptError(f"{out} exists. Delete it, or choose another --out.")
            with atomic_folder(out) as folder:
                yield folder
        finally:
            lock.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Shown:
    """A split under a noise plan: pictures, targets, int64 [N], and which are wrong, bool [N]."""

    dataset: Dataset
    pictures: ImageDataset
    of: Targets
    targets: np.ndarray
    wrong: np.ndarray


def _samples(shown: _Shown, rows: np.ndarray, progress: Callable[[int, int], None]) -> Iterator[Sample]:
    """The samples `rows`, their bytes checked."""
    dataset, of, targets = shown.dataset, shown.of, shown.targets
    stored = shown.pictures.samples
    name, keys = of.removesuffix("s"), dataset.table(["key"]).column("key")
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        texts = targets[some].tolist() if of == "labels" else dataset.captions(targets[some])
        own = {"clean_label": dataset.clean_labels[some].tolist()} if dataset.has_labels else {}
        own |= {"clean_caption": dataset.captions(some)} if dataset.has_captions else {}
        for place, (row, target) in enumerate(zip(some.tolist(), texts, strict=True)):
            known = {"key": keys[row].as_py(), name: target, "is_noisy": bool(shown.wrong[row])}
            known |= {column: values[place] for column, values in own.items()}
            jpeg = shown.pictures.jpegs(np.array([row]), checked=True)[0].tobytes()
            yield Sample(jpeg, int(stored.width[row]), int(stored.height[row]), target, known)
        progress(start + len(some), len(rows))


def _write_ffcv(path: Path, samples: Iterator[Sample], count: int, of: Targets) -> None:
    field, kind = ("label", beton.INT_FIELD) if of == "labels" else ("caption", beton.JSON_FIELD)
    with BetonWriter.open(path, count, field, kind) as writer:
        for sample in samples:
            target = sample.target if isinstance(sample.target, int) else {"caption": sample.target}
            try:
                writer.add(sample.jpeg, sample.width, sample.height, target)
            except ValueError as error:
                raise FastptError(f"{sample.known['key']}: {error}. Use --format wds or parquet.") from None


def _write_tars(
    folder: Path, dataset: Dataset, samples: Iterator[Sample], count: int, of: Targets, shard_samples: int
) -> None:
    sizes = {}
    for shard, start in enumerate(range(0, count, shard_samples)):
        name = f"{dataset.split}-{shard:06d}.tar"
        sizes[name] = min(shard_samples, count - start)
        with TarWriter.open(folder / name, shard, "cls" if of == "labels" else "txt") as writer:
            for sample in islice(samples, sizes[name]):
                writer.add(sample.jpeg, sample.width, sample.height, sample.target, sample.known)
    write_json(folder / "sizes.json", sizes)
    write_json(folder / "__len__", count)
    split = {
        "name": dataset.split,
        "num_samples": count,
        "filenames": list(sizes),
        "shard_lengths": list(sizes.values()),
    }
    write_json(folder / "_info.json", {"name": dataset.name, "splits": {dataset.split: split}})


def _write_parquet(
    folder: Path, dataset: Dataset, samples: Iterator[Sample], count: int, of: Targets, shard_samples: int
) -> None:
    """As `datasets` writes pictures: a column of bytes, and the features in the metadata of the schema."""
    schema = _schema(dataset, of)
    shards, name = -(-count // shard_samples), re.sub(r"[^\w.]", "_", dataset.split)
    (folder / "data").mkdir()
    for shard in range(shards):
        path = folder / "data" / f"{name}-{shard:05d}-of-{shards:05d}.parquet"
        mine = islice(samples, shard_samples)
        with pq.ParquetWriter(path, schema) as writer:
            while group := list(islice(mine, ROW_GROUP)):
                rows = [{"image": {"bytes": one.jpeg, "path": None}, **one.known} for one in group]
                writer.write_table(pa.Table.from_pylist(rows, schema))


def _schema(dataset: Dataset, of: Targets) -> pa.Schema:
    # A ClassLabel wants each name once; ImageNet has two cranes, whose folders are told apart.
    names = dataset.class_names if len(set(dataset.class_names)) == len(dataset.class_names) else dataset.classes
    class_label = {"names": names, "_type": "ClassLabel"}
    text = {"dtype": "string", "_type": "Value"}
    columns: dict[str, tuple[pa.DataType, dict]] = {
        "image": (pa.struct({"bytes": pa.binary(), "path": pa.string()}), {"_type": "Image"}),
        "key": (pa.string(), text),
        of.removesuffix("s"): (pa.int64(), class_label) if of == "labels" else (pa.string(), text),
        "is_noisy": (pa.bool_(), {"dtype": "bool", "_type": "Value"}),
    }
    if dataset.has_labels:
        columns["clean_label"] = pa.int64(), class_label
    if dataset.has_captions:
        columns["clean_caption"] = pa.string(), text
    features = {name: feature for name, (_, feature) in columns.items()}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema({name: kind for name, (kind, _) in columns.items()}, metadata)
