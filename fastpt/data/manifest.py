"""What a prepared split says of itself: dataset.json, written last, so that a split is complete or does not exist.

Beside it lie samples.parquet (a row a sample), rejected.jsonl (what was left out, and why) and images/ (the shards).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fastpt.data import beton
from fastpt.data.columns import column_sum, update_sha256
from fastpt.errors import DamagedData, FastptError
from fastpt.files import atomic_write, file_sha256, read_sealed_json, write_sealed_json
from fastpt.registry import Origin
from fastpt.storage.names import is_plain

FORMAT = "2.3"


class Rejected(NamedTuple):
    """A sample of the source that was left out, and why."""

    key: str
    reason: str


@dataclass(frozen=True)
class Description:
    """What is said of a split that its samples and shards do not say."""

    name: str  # of the dataset
    split: str
    note: str
    settings: Mapping[str, Any]
    classes: Sequence[str]
    class_names: Sequence[str]
    source: Mapping[str, Any] | None = None  # where it is from, if that is no disk
    found: Mapping[str, Any] | None = None  # counts of all that was in the source
    reencoded: Mapping[str, int] | None = None  # the pictures that were encoded, by subsampling (grey ones as 420)
    with_entry_points: int = 0  # the pictures that have some (fastpt/jpeg/entries.h)
    listing_sha256: str | None = None
    packages: Sequence[Origin] = ()  # that took part in making the split


def read(folder: Path) -> dict[str, Any]:
    """The manifest of a split. Raises FastptError if there is none or of another format, DamagedData if it changed."""
    try:
        manifest = read_sealed_json(folder / "dataset.json", FORMAT)
    except (FileNotFoundError, NotADirectoryError):
        raise FastptError(_what_is_missing(folder)) from None
    try:
        wrong = _nonsense(manifest)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        wrong = f"it lacks something, or has something else in its place ({error!r})"
    if wrong:
        raise DamagedData(f"{folder / 'dataset.json'} is sealed, but {wrong}. Restore it or prepare the split anew.")
    return manifest


def _nonsense(manifest: Mapping[str, Any]) -> str | None:
    """What in a manifest cannot be, if anything. Raises what Python raises where something is missing."""
    counts, shards, classes = manifest["counts"], manifest["shards"], manifest["classes"]
    samples, first_ids = counts["samples"], [shard["first_id"] for shard in shards]
    texts = ("name", "split", "note", "samples_id", "images_id")
    if wrong := [key for key in texts if not isinstance(manifest[key], str)]:
        return f"{wrong[0]} is no text"
    if not isinstance(samples, int) or samples < 1 or not isinstance(manifest["read_block"], int):
        return f"it counts {samples} samples"
    if manifest["has_labels"] and (sum(counts["per_class"]) != samples or len(counts["per_class"]) != len(classes)):
        return f"it counts {sum(counts['per_class'])} samples of {len(classes)} classes, and {samples} in all"
    if not all(isinstance(name, str) for name in [*classes, *manifest["class_names"]]):
        return "the name of a class is no text"
    if len(classes) != len(manifest["class_names"]):
        return f"it names {len(classes)} classes and {len(manifest['class_names'])} readable names"
    if sorted(first_ids) != first_ids or not 0 <= first_ids[0] <= first_ids[-1] <= samples:
        return "its shards are in no order"
    for entry in (*shards, *manifest["files"], *(shard["index"] for shard in shards if "index" in shard)):
        foreign = entry["sha256"] is None and Path(entry["name"]).is_absolute()
        if not (is_plain(entry["name"]) or foreign) or not isinstance(entry["bytes"], int) or entry["bytes"] < 0:
            return f"it names a file {entry['name']!r} of {entry['bytes']} bytes"
    if not all(isinstance(column, str) for column in manifest["columns"].values()):
        return "it has no sums of its columns"
    return None


def write(
    folder: Path,
    table: pa.Table,
    rejected: Sequence[Rejected],
    shards: Sequence[Mapping[str, Any]],
    description: Description,
) -> None:
    """Write samples.parquet, rejected.jsonl and at last dataset.json of a split whose shards are there.

    `table` has a row a sample, sorted by shard, and the columns of `samples.Samples` with `key`, `clean_label` and
    `caption` as far as there are any. `shards` are entries as of `file_entry`, to which the first sample of each is
    added.
    """
    with atomic_write(folder / "samples.parquet") as file:
        pq.write_table(table, file, compression="zstd", use_dictionary=False, write_statistics=False)
    with atomic_write(folder / "rejected.jsonl", "w") as file:
        file.writelines(json.dumps(one._asdict()) + "\n" for one in rejected)  # in ASCII: nothing acts on a terminal
    first_ids = np.searchsorted(table["shard"].to_numpy(), np.arange(len(shards))).tolist()
    counts = _counts(table, rejected, description)
    manifest = {
        "format": FORMAT,
        "name": description.name,
        "split": description.split,
        "note": description.note,
        **({"source": description.source} if description.source else {}),
        **({"found": description.found} if description.found else {}),
        "settings": description.settings,
        **({"listing_sha256": description.listing_sha256} if description.listing_sha256 else {}),
        **({"packages": [one._asdict() for one in description.packages]} if description.packages else {}),
        "has_labels": "clean_label" in table.column_names,
        "has_captions": "caption" in table.column_names,
        "counts": counts,
        # Consecutive samples that quasi-random order reads together: about a page, but small enough to mix well.
        "read_block": int(np.clip(beton.PAGE_SIZE * len(table) // counts["bytes"], 16, 256)),
        "columns": {name: column_sum(table[name]) for name in table.column_names},
        "samples_id": samples_id(table),
        "images_id": images_id(table),
        "shards": [{**shard, "first_id": first} for shard, first in zip(shards, first_ids, strict=True)],
        "files": [file_entry(folder / "samples.parquet"), file_entry(folder / "rejected.jsonl")],
        "classes": description.classes,
        "class_names": description.class_names,
    }
    write_sealed_json(folder / "dataset.json", manifest)


def _counts(table: pa.Table, rejected: Sequence[Rejected], description: Description) -> dict[str, Any]:
    stored = int(table["size"].to_numpy().sum(dtype=np.int64))
    counts: dict[str, Any] = {"samples": len(table), "rejected": len(rejected), "bytes": stored}
    if description.reencoded is not None:
        counts["as_they_came"] = len(table) - sum(description.reencoded.values())
        counts["reencoded"] = description.reencoded
        counts["with_entry_points"] = description.with_entry_points
    if "clean_label" in table.column_names:
        labels = table["clean_label"].to_numpy()
        counts["per_class"] = np.bincount(labels, minlength=len(description.classes)).tolist()
    return counts


def file_entry(path: Path) -> dict[str, Any]:
    """Name, length and sha256 of a file, by which `verify` knows it again."""
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": file_sha256(path)}


def samples_id(table: pa.Table) -> str:
    """SHA-256 over the canonical columns (key, clean_label, caption), so it does not depend on how they are stored."""
    digest = hashlib.sha256()
    for name in ("key", "clean_label", "caption"):
        if name not in table.column_names:
            continue
        column = table.column(name)
        digest.update(f"{name}:{len(column)}\n".encode())
        if name == "clean_label":
            digest.update(column.to_numpy().astype("<i8").tobytes())
        else:
            update_sha256(digest, column)
    return digest.hexdigest()


def read_rejected(folder: Path) -> list[Rejected]:
    """What was left out of a split, and why."""
    with (folder / "rejected.jsonl").open(encoding="utf-8") as file:
        return [Rejected(**json.loads(line)) for line in file]


def images_id(table: pa.Table) -> str:
    """SHA-256 over the pictures' checksums and sizes in bytes, in their order: which pictures are stored."""
    digest = hashlib.sha256()
    for name, dtype in (("xxh3", "<u8"), ("size", "<u4")):
        digest.update(table[name].to_numpy().astype(dtype).tobytes())
    return digest.hexdigest()


def _what_is_missing(path: Path) -> str:
    if not path.exists():
        return (
            f"{path} does not exist. Prepare it first, for example: fastpt prep imagefolder --source PATH "
            f"--out {path.parent} (`fastpt prep --help` lists the sources)."
        )
    splits = sorted(child.parent.name for child in path.glob("*/dataset.json"))
    if splits:
        return f"{path} is a folder of splits ({', '.join(splits)}); name one of them, such as {path / splits[0]}."
    return (
        f"{path} is no prepared split: it has no dataset.json. If its preparation was stopped, run `fastpt prep` again."
    )
