"""Is what is there of a split, whole or begun, what the same command would make now? By its settings, the listing, the
files of the source, and some pictures."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from datasets_prep.images.policy import RejectedImage
from datasets_prep.listing import SplitListing, Stamped
from datasets_prep.shard import Options, ShardJob
from fastpt.data.columns import arrow_errors
from fastpt.data.dataset import Dataset
from fastpt.data.samples import Samples
from fastpt.data.verify import missing_files
from fastpt.errors import DamagedData, FastptError
from fastpt.files import atomic_write
from fastpt.storage.opened import what_changed

log = logging.getLogger("fastpt.prep")

STAMPS = "stamps"  # a parquet file
LOOKED_AT = 8  # pictures of a split that is there


def settings_of(split: SplitListing, options: Options) -> dict:
    """All that the bytes of a split depend on."""
    return {**asdict(options), **split.settings, "listing_sha256": listing_sha256(split)}


def listing_sha256(split: SplitListing) -> str:
    """Over classes, keys, captions and labels."""
    digest = hashlib.sha256(json.dumps([split.classes, split.class_names]).encode())
    for column in (split.keys, split.captions):
        for text in column or ():
            digest.update(text.encode(errors="surrogateescape") + b"\0")
    if split.labels is not None:
        digest.update(split.labels.astype("<i8").tobytes())
    return digest.hexdigest()


def begun_with(folder: Path, note: Path) -> dict:
    """The settings that a job of a split was begun with, which it noted. Raises DamagedData."""
    try:
        return dict(json.loads(note.read_bytes()))
    except (ValueError, TypeError):
        raise DamagedData(f"{note} is damaged. {_anew(folder)}") from None


def _anew(folder: Path) -> str:
    return f"Delete {folder} to prepare it anew."


def refuse_changed(folder: Path, there: dict, wanted: dict) -> None:
    """Raise FastptError if the settings that are there are not those that are wanted."""
    changed = [key for key in wanted if there.get(key) != wanted[key]]
    if changed != ["listing_sha256"]:
        changed = [key for key in changed if key != "listing_sha256"]  # it follows from the others
    if changed == ["listing_sha256"]:
        raise FastptError(
            f"{folder} was prepared from another listing: the source has changed since (files or targets came, went or "
            "were renamed). Choose another --out, or delete it."
        )
    if changed:
        what = "; ".join(f"{key} was {there.get(key)}, now {wanted[key]}" for key in changed)
        raise FastptError(
            f"{folder} was prepared otherwise ({what}). Give the same options, choose another --out, or delete it."
        )


def write_stamps(split: SplitListing, folder: Path) -> None:
    """Keep by what the files of a split are known again, for a job that goes on with it later."""
    if isinstance(split.read, Stamped):
        stamps = split.read.stamps()
        sizes, versions = ([stamp[at] for stamp in stamps.values()] for at in (0, 1))
        versions = pa.array(versions, pa.string() if split.addresses else pa.int64())
        table = pa.table({"file": list(stamps), "bytes": pa.array(sizes, pa.int64()), "version": versions})
        with atomic_write(folder / ".parts" / STAMPS) as file:
            pq.write_table(table, file)


def refuse_changed_files(split: SplitListing, folder: Path, jobs: Sequence[ShardJob]) -> None:
    """Raise FastptError if a file changed since the job was begun, unless what was made of it was rejected."""
    kept = folder / ".parts" / STAMPS
    if not kept.exists() or not isinstance(split.read, Stamped):
        return
    with arrow_errors(kept, _anew(folder)):
        before = pq.read_table(kept).to_pylist()
    stamps = split.read.stamps()
    changed = {
        one["file"]: what_changed((one["bytes"], one["version"]), now)
        for one in before
        if (now := stamps.get(one["file"])) and now != (one["bytes"], one["version"])
    }
    if not changed:
        return
    mended = {key for job in jobs for key, _ in job.rejected()}
    for i, key in enumerate(split.keys):
        file = split.read.holder(i)
        if file in changed and key not in mended:
            more = f", and {len(changed) - 1:,} more file{'s' * (len(changed) > 2)}" if len(changed) > 1 else ""
            name = key if Path(key).name == Path(file).name else file  # that of one of several places is numbered
            raise FastptError(
                f"{name} changed since {folder} was begun ({changed[file]}){more}. Part of the split is made of its "
                f"former content. Put that back, or delete {folder} to prepare it anew."
            )


def check_complete(dataset: Dataset, split: SplitListing, options: Options) -> None:
    """Raise if a split that is there was prepared otherwise, or lacks files."""
    there = {**dataset.manifest["settings"], "listing_sha256": dataset.manifest["listing_sha256"]}
    refuse_changed(dataset.path, there, settings_of(split, options))
    problems = missing_files(dataset)
    if problems:
        raise DamagedData(
            f"{dataset.path} was prepared, but {problems[0]} `fastpt verify {dataset.path}` lists all damage; "
            "delete the folder to prepare it anew."
        )
    _check_pictures(dataset, split, options)


def _check_pictures(dataset: Dataset, split: SplitListing, options: Options) -> None:
    """Raise FastptError if pictures of the source, some of which are looked at, are not those of a split that is there.

    Where they are encoded anew, other versions of libraries may make other bytes: that is told.
    """
    rows = np.unique(np.linspace(0, len(split) - 1, LOOKED_AT).astype(np.int64))
    stored, looked_at, others, otherwise = dataset.table(["key", *Samples.COLUMNS]), 0, [], []
    for row, now in zip(rows.tolist(), ShardJob(split, rows, 0, dataset.path, options).encoded(), strict=True):
        at = pc.call_function("index", [stored["key"]], pc.IndexOptions(pa.scalar(split.keys[row]))).as_py()
        if at < 0:
            continue  # it was rejected
        looked_at += 1
        width, height, xxh3 = (stored[name][at].as_py() for name in ("width", "height", "xxh3"))
        if isinstance(now, RejectedImage) or (now.width, now.height) != (width, height):
            others.append(split.keys[row])
        elif xxhash.xxh3_64_intdigest(now.jpeg) != xxh3:
            (otherwise if now.encoded else others).append(split.keys[row])
    if others:
        raise FastptError(
            f"{dataset.path} was prepared from other pictures of the same names: of {looked_at} that were looked at, "
            f"{len(others)} are not those of the source now, such as {others[0]}. Choose another --out, or delete it."
        )
    if otherwise:
        log.warning(
            "%s: %d of %d pictures that were looked at would be encoded otherwise now, such as %s: by other versions "
            "of libraries, or because they have other pixels. It stays as it is; delete it to prepare it anew.",
            dataset.path,
            len(otherwise),
            looked_at,
            otherwise[0],
        )
