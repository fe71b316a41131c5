"""What a prepared split says of itself: dataset.json, written last, so that a split is complete or does not exist.

Beside it lie samples.parquet (a row a sample), rejected.jsonl (what was left out, and why) and images/ (the shards).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fastpt.data import beton
from fastpt.data.columns import update_sha256
from fastpt.errors import FastptError
from fastpt.files import atomic_write, file_sha256, read_sealed_json, write_sealed_json
from fastpt.registry import Origin

FORMAT = "2.1"


class Rejected(NamedTuple):
    """A sample of the source that was left out, and why."""

    key: str
    reason: str


def read(folder: Path) -> dict[str, Any]:
    """The manifest of a split. Raises FastptError if there is none or of another format, DamagedData if it changed."""
    try:
        return read_sealed_json(folder / "dataset.json", FORMAT)
    except (FileNotFoundError, NotADirectoryError):
        raise FastptError(_what_is_missing(folder)) from None


def write(
    folder: Path,
    table: pa.Table,
    rejected: Sequence[Rejected],
    shards: Sequence[Mapping[str, Any]],
    *,
    name: str,
    split: str,
    note: str,
    found: Mapping[str, Any] | None = None,
    reencoded: Mapping[str, int] | None = None,
    settings: Mapping[str, Any],
    classes: Sequence[str],
    class_names: Sequence[str],
    listing_sha256: str | None = None,
    packages: Sequence[Origin] = (),
) -> None:
    """Write samples.parquet, rejected.jsonl and at last dataset.json of a split whose shards are there.

    `table` has a row a sample, sorted by shard, and the columns of `samples.Samples` with `key`, `clean_label` and
    `caption` as far as there are any. `shards` are entries as of `file_entry`, to which the first sample of each is
    added. `found` counts all that was in the source, `reencoded` the pictures that were encoded for it, by subsampling
    (grey ones as 420); `packages` took part in making the split.
    """
    with atomic_write(folder / "samples.parquet") as file:
        pq.write_table(table, file, compression="zstd", use_dictionary=False, write_statistics=False)
    with atomic_write(folder / "rejected.jsonl", "w") as file:
        file.writelines(json.dumps(one._asdict()) + "\n" for one in rejected)  # in ASCII: nothing acts on a terminal
    first_ids = np.searchsorted(table["shard"].to_numpy(), np.arange(len(shards))).tolist()
    stored = int(table["size"].to_numpy().sum(dtype=np.int64))
    counts = {"samples": len(table), "rejected": len(rejected), "bytes": stored}
    if reencoded is not None:
        counts |= {"as_they_came": len(table) - sum(reencoded.values()), "reencoded": reencoded}
    has_labels = "clean_label" in table.column_names
    if has_labels:
        counts["per_class"] = np.bincount(table["clean_label"].to_numpy(), minlength=len(classes)).tolist()
    manifest = {
        "format": FORMAT,
        "name": name,
        "split": split,
        "note": note,
        **({"found": found} if found else {}),
        "settings": settings,
        **({"listing_sha256": listing_sha256} if listing_sha256 else {}),
        **({"packages": [one._asdict() for one in packages]} if packages else {}),
        "has_labels": has_labels,
        "has_captions": "caption" in table.column_names,
        "counts": counts,
        # Consecutive samples that quasi-random order reads together: about a page, but small enough to mix well.
        "read_block": int(np.clip(beton.PAGE_SIZE * len(table) // stored, 16, 256)),
        "samples_id": samples_id(table),
        "shards": [{**shard, "first_id": first} for shard, first in zip(shards, first_ids, strict=True)],
        "files": [file_entry(folder / "samples.parquet"), file_entry(folder / "rejected.jsonl")],
        "classes": classes,
        "class_names": class_names,
    }
    write_sealed_json(folder / "dataset.json", manifest)


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
