"""Pictures in files of others, read where they lie: FFCV files and WebDataset tars.

What is made of them is an index: a split like any other (see dataset.py) but for its shards, which are the files
themselves, named by their full paths. It is made once for a file as it is (path, length and time of change) and kept
in the cache folder; noise plans go there too, nothing beside the files. Everything that reads a split reads an index.

- An FFCV file is indexed from its tables alone: no picture is read, and there are no checksums. A picture that is
  damaged ends a run where a decoder refuses it.
- Tars have to be read once, since pictures tell their size in their own headers; so each picture gets its xxh3 too.
"""

import hashlib
import io
import json
import logging
import os
import re
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash
from PIL import Image

from fastpt.data import beton, manifest
from fastpt.data.labels import MOST_CLASSES, looks_like_id, text_of
from fastpt.errors import FastptError
from fastpt.files import cache_dir, locked
from fastpt.processes import cores
from fastpt.storage.names import IMAGE_SUFFIXES, JPEG_SUFFIXES, well_formed
from fastpt.storage.tar import Tar, open_tar
from fastpt.storage.tar_keys import Keyed, keyed_files, no_picture, split_key

LABEL = re.compile(rb"\s*([+-]?\d{1,18})(?:\.0*)?\s*", re.ASCII)

log = logging.getLogger("fastpt.data")

USED = (".cls", ".txt", ".json")  # suffixes of what is read beside pictures

COLUMNS = {  # of the samples table
    "key": pa.string(),
    "clean_label": pa.int64(),
    "caption": pa.string(),
    "shard": pa.uint16(),
    "offset": pa.uint64(),
    "size": pa.uint32(),
    "width": pa.uint16(),
    "height": pa.uint16(),
    "xxh3": pa.uint64(),
}


@dataclass(frozen=True)
class Found:
    """The samples table, what was left out and why, and what else there is to say of the files."""

    table: pa.Table
    rejected: list[manifest.Rejected]
    notes: tuple[str, ...] = ()


def index_ffcv(
    file: Path | str, image: str | None, label: str | None, caption: str | None, cache: Path | str | None
) -> Path:
    """The folder of the index of an FFCV file, made if need be; see `Dataset.from_ffcv`."""
    file = Path(file)
    return _index(
        [file],
        {"image": image, "label": label, "caption": caption},
        cache,
        lambda: _read_ffcv(file, image, label, caption),
    )


def index_webdataset(
    tars: Path | str | Sequence[Path | str],
    image_member: str | None,
    ignore_damage: bool,
    cache: Path | str | None,
) -> Path:
    """The folder of the index of tars, made if need be; see `Dataset.from_webdataset`."""
    patterns = [tars] if isinstance(tars, Path | str) else tars
    files = [Path(name) for pattern in patterns for name in expand_braces(str(pattern))]
    if not files:
        raise FastptError("no tars are named. Give a tar, a list of them, or a pattern such as name-{000..123}.tar.")
    stems: dict[str, Path] = {}
    for file in files:
        if (other := stems.setdefault(file.stem, file)) is not file:
            if other == file:
                raise FastptError(f"{file} is named twice. Name each tar once.")
            raise FastptError(f"{other} and {file} have one name, so their keys would be the same. Rename one.")
    settings = {"image_member": image_member, "ignore_damage": ignore_damage}
    return _index(files, settings, cache, lambda: _read_tars(files, image_member, ignore_damage))


def expand_braces(pattern: str) -> list[str]:
    """What a shell makes of `name-{000..123}.tar` and `{train,val}.tar`. Numbers keep the width of the first."""
    match = re.search(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    first, last, words = match.groups()
    if words is None:
        choices = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    else:
        choices = words.split(",")
    before, rests = pattern[: match.start()], expand_braces(pattern[match.end() :])
    return [before + choice + rest for choice in choices for rest in rests]


# --- the index --------------------------------------------------------------------------------------------------


def _index(files: list[Path], settings: dict, cache: Path | str | None, read: Callable[[], Found]) -> Path:
    """The index folder of `files` as they are now; `read` finds the samples if there is none yet."""
    shards = _as_they_are(files)
    key = hashlib.sha256(json.dumps([manifest.FORMAT, shards, settings]).encode()).hexdigest()
    folder = Path(cache or cache_dir("indexes")) / f"{files[0].stem}-{key[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f"{folder.name}.lock")):  # of many processes one makes it
        if not (folder / "dataset.json").exists():
            found = read()
            for before, now in zip(shards, _as_they_are(files), strict=True):
                if before != now:
                    raise FastptError(
                        f"{now['name']} changed while it was read. Let nothing write to it, and try again."
                    )
            _write(folder, files[0].stem, shards, settings, found)
    return folder


def _as_they_are(files: list[Path]) -> list[dict]:
    shards = []
    for file in files:
        try:
            status = file.stat()
        except OSError as error:
            raise FastptError(f"{file} cannot be read ({error.strerror}). Give the path of a file.") from None
        if stat.S_ISDIR(status.st_mode):
            raise FastptError(f"{file} is a folder. Give the files in it: their paths, or for tars a pattern.")
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for, for ever
            raise FastptError(f"{file} is no regular file. Give the path of a file.")
        shards.append({"name": str(file.resolve()), "bytes": status.st_size, "modified": status.st_mtime_ns})
    return shards


def _write(folder: Path, name: str, shards: list[dict], settings: dict, found: Found) -> None:
    table, rejected = found.table, found.rejected
    if len(table) == 0:
        why = f" ({rejected[0].key}: {rejected[0].reason})" if rejected else ""
        raise FastptError(f"{shards[0]['name']} holds no picture that can be used{why}.")
    classes = _classes(name, table) if "clean_label" in table.column_names else []
    read_from = f"read in place from {shards[0]['name']}" + f" and {len(shards) - 1} more" * (len(shards) > 1)
    for note in found.notes:
        log.warning("%s", note)
    if rejected:
        log.warning(
            "%s: %s of %s samples are left out, such as %s: %s. %s names all.",
            name,
            f"{len(rejected):,}",
            f"{len(table) + len(rejected):,}",
            rejected[0].key,
            rejected[0].reason,
            folder / "rejected.jsonl",
        )
    manifest.write(
        folder,
        table,
        rejected,
        [{**shard, "sha256": None} for shard in shards],  # nobody has read the whole of these files
        name=name,
        split="foreign",
        note="; ".join((read_from, *found.notes)),
        settings=settings,
        classes=classes,
        class_names=classes,
    )


def _classes(name: str, table: pa.Table) -> list[str]:
    """The classes of labels that count from 0, named by their numbers."""
    labels = table["clean_label"].to_numpy()
    least, most = int(labels.min()), int(labels.max())
    if least < 0:
        raise FastptError(
            f"the labels of {name} go from {least} to {most}, but labels count classes from 0. "
            "Name another field, or mend them."
        )
    if looks_like_id(most, len(labels)):
        key = table["key"][int(labels.argmax())].as_py()
        raise FastptError(
            f"the label of {key} in {name} is {most}, which would make {most + 1:,} classes of {len(labels):,} "
            "samples: it looks like an id. Name another field, or mend it."
        )
    return [str(i) for i in range(most + 1)]


# --- FFCV files -------------------------------------------------------------------------------------------------


def _read_ffcv(file: Path, image: str | None, label: str | None, caption: str | None) -> Found:
    """The samples of an FFCV file, from its tables alone."""
    with file.open("rb") as stream:
        kinds, rows, allocations = _tables(file, stream)
        image = _field(file, kinds, image, (beton.IMAGE_FIELD,))
        label = _field(file, kinds, label, (beton.INT_FIELD,), ("label", "clean_label"))
        texts = {name: kind for name, kind in kinds.items() if caption or name in ("caption", "text")}
        caption = _field(file, texts, caption, (beton.BYTES_FIELD, beton.JSON_FIELD))
        if image is None:
            raise FastptError(
                f"{file} has no RGBImageField (its fields: {', '.join(kinds)}): there is no picture in it."
            )
        pictures = rows[image]
        raw = int((pictures["mode"] != beton.JPEG_MODE).sum())
        if raw:
            raise FastptError(
                f"{file}: {raw} of {len(rows)} pictures of field {image} are stored raw; only JPEG can be read. "
                "Write the file with RGBImageField(write_mode='jpg')."
            )
        columns = {
            "key": pa.array(np.arange(len(rows))).cast(pa.string()),
            "shard": np.zeros(len(rows), np.uint16),
            "offset": pictures["data_ptr"],
            "size": _sizes(file, pictures["data_ptr"], allocations),
            "width": pictures["width"],
            "height": pictures["height"],
            "xxh3": np.zeros(len(rows), np.uint64),
        }
        if label is not None:
            columns["clean_label"] = rows[label]
        if caption is not None:
            is_json = kinds[caption] == beton.JSON_FIELD
            columns["caption"] = [_text(file, stream, row, is_json) for row in rows[caption]]
    return Found(pa.table([pa.array(columns[name]).cast(COLUMNS[name]) for name in columns], names=list(columns)), [])


def _tables(file: Path, stream: io.BufferedReader) -> tuple[dict[str, int], np.ndarray, np.ndarray]:
    """{field: type id}, the metadata table (structured, by field) and the allocation table."""
    try:
        header = np.fromfile(stream, beton.HEADER, 1)[0]
        length = file.stat().st_size
        if header["version"] != beton.VERSION or max(header["num_samples"], header["alloc_table_ptr"]) > length:
            raise ValueError
        descriptors = np.fromfile(stream, beton.FIELD, int(header["num_fields"]))
        kinds = {bytes(one["name"]).rstrip(b"\0").decode("ascii"): int(one["type_id"]) for one in descriptors}
        row = np.dtype([(name, beton.METADATA[kind]) for name, kind in kinds.items()], align=True)
        rows = np.fromfile(stream, row, int(header["num_samples"]))
        stream.seek(int(header["alloc_table_ptr"]))
        allocations = np.fromfile(stream, beton.ALLOCATION)
        if len(rows) != header["num_samples"]:
            raise ValueError
    except (IndexError, ValueError, KeyError):  # UnicodeDecodeError is a ValueError
        raise FastptError(f"{file} is no whole FFCV file of version {beton.VERSION}. Write or copy it anew.") from None
    return kinds, rows, allocations


def _field(
    file: Path, kinds: dict[str, int], asked: str | None, wanted: tuple[int, ...], usual: tuple[str, ...] = ()
) -> str | None:
    """The field asked for; else the one of the `wanted` kind, by its usual name or because it is the only one."""
    there = [name for name, kind in kinds.items() if kind in wanted]
    if asked is None:
        found = [name for name in there if name in usual] or there
        if len(found) > 1:
            raise FastptError(
                f"{file} has several fields that could be meant: {', '.join(found)}. Name the one to use."
            )
        return found[0] if found else None
    if asked not in there:
        raise FastptError(f"{file} has no field {asked!r} of the right kind (found: {', '.join(there) or 'none'}).")
    return asked


def _sizes(file: Path, pointers: np.ndarray, allocations: np.ndarray) -> np.ndarray:
    """The size of what begins at each pointer, bytes [N]."""
    allocations = allocations[np.argsort(allocations["ptr"], kind="stable")]
    at = np.searchsorted(allocations["ptr"], pointers)
    if len(allocations) == 0 or (at == len(allocations)).any() or (allocations["ptr"][at] != pointers).any():
        raise FastptError(f"{file} has pictures that its allocation table does not know. Write or copy it anew.")
    return allocations["size"][at]


def _text(file: Path, stream: io.BufferedReader, blob: np.void, is_json: bool) -> str:
    """The caption in a bytes or JSON field: UTF-8 text, a JSON string, or what JSON has under "caption" or "text"."""
    content = os.pread(stream.fileno(), int(blob["size"]), int(blob["ptr"])).rstrip(b"\0")
    try:
        value = json.loads(content) if is_json else content.decode()
        if isinstance(value, dict):
            value = value.get("caption", value.get("text"))
    except ValueError:
        value = None
    if not isinstance(value, str):
        raise FastptError(f"{file}: {content[:60]!r} is no caption (text, or JSON with a caption). Name another field.")
    return value


# --- tars -------------------------------------------------------------------------------------------------------


def _read_tars(files: list[Path], image_member: str | None, ignore_damage: bool) -> Found:
    """The samples of all tars in their order, each tar read once from its start to its end."""
    read = partial(_read_tar, image_member=image_member, ignore_damage=ignore_damage)
    with ThreadPoolExecutor(cores()) as pool:
        parts = list(pool.map(read, range(len(files)), files))
    table = pa.concat_tables([part for part, _ in parts])
    reason, kept = table["reason"], list(COLUMNS)
    for name, what in (("clean_label", "label"), ("caption", "caption")):
        if table[name].null_count == len(table):
            kept.remove(name)  # no sample has it
        else:
            empty = (
                np.asarray(table[name].is_null()) if what == "label" else np.asarray(table[name].fill_null("")) == ""
            )
            lacks = empty & np.asarray(reason.is_null())
            reason = pa.chunked_array([pa.array(np.where(lacks, f"no {what}", np.asarray(reason)), pa.string())])
    left_out = pa.table([table["key"], reason], ["key", "reason"]).filter(reason.is_valid()).to_pylist()
    used = table.filter(reason.is_null()).select(kept).combine_chunks()
    return Found(
        used, [manifest.Rejected(**one) for one in left_out], tuple(note for _, notes in parts for note in notes)
    )


def _read_tar(
    number: int, file: Path, image_member: str | None, ignore_damage: bool
) -> tuple[pa.Table, tuple[str, ...]]:
    """What one tar has of each sample, null where it lacks it, and its damage that was ignored.

    A `reason` is set for those that cannot be used.
    """
    samples: dict[str, dict] = {}
    suffixes: dict[str, list[str]] = {}
    tar = open_tar(file, ignore_damage)
    for keyed in keyed_files(tar, image_member):
        sample = samples.setdefault(keyed.key, {})
        suffixes.setdefault(keyed.key, []).append(keyed.suffix)
        try:
            _take(tar, keyed, sample)
        except OSError as error:
            sample["reason"] = f"{keyed.name} cannot be read: {error.strerror or error}"
    for name, kind in tar.odd.items():
        key, suffix = split_key(tar, name)
        if suffix in USED or suffix.endswith(IMAGE_SUFFIXES):
            samples.setdefault(key, {}).setdefault("reason", f"{name} is {kind}")
    rows = []
    for key, sample in samples.items():
        if "size" in sample or "reason" in sample:
            rows.append({"key": key, "shard": number, **sample})
        else:
            rows += [{"key": name, "shard": number, "reason": why} for name, why in no_picture(key, suffixes[key])]
    return pa.Table.from_pylist(rows, pa.schema({**COLUMNS, "reason": pa.string()})), tar.damage


def _take(tar: Tar, file: Keyed, sample: dict) -> None:
    """Add what a file tells of its sample."""
    if file.is_picture:
        if file.suffix.endswith(tuple(set(IMAGE_SUFFIXES) - set(JPEG_SUFFIXES))):
            raise FastptError(
                f"{tar.root} has {file.name}: only JPEG can be read in place. "
                "`fastpt prep webdataset` takes every kind."
            )
        content = tar.read(file.name)
        sample |= {"offset": tar.where[file.name][0], "size": len(content), "xxh3": xxhash.xxh3_64_intdigest(content)}
        sample |= _picture(content)
    elif file.suffix == ".cls":
        sample |= _label(tar, file.name)
    elif file.suffix == ".txt":
        try:
            sample["caption"] = text_of(tar.read(file.name)).strip()
        except ValueError as error:
            sample["reason"] = f"{file.name} {error}"
    elif file.suffix == ".json":
        try:
            value = json.loads(tar.read(file.name))
        except (ValueError, RecursionError):
            sample["reason"] = f"{file.name} is no JSON"
        else:
            if isinstance(value, dict) and isinstance(value.get("caption"), str):
                sample.setdefault("caption", well_formed(value["caption"]).strip())


def _label(tar: Tar, name: str) -> dict:
    """The class number in a file, None for -1; or the reason why it is none. Raises FastptError for what is an id."""
    content = tar.read(name)
    found = LABEL.fullmatch(content)
    if not found and content.strip().isdigit():
        raise FastptError(f"{tar.root}: {name} holds {content[:30]!r}, which looks like an id and is no class number.")
    if not found or int(found[1]) < -1:
        return {"reason": f"{name} holds {content[:20]!r}, no class number"}
    label = int(found[1])
    if label >= MOST_CLASSES:
        raise FastptError(f"{tar.root}: {name} holds {label}, which looks like an id and is no class number. Mend it.")
    return {"clean_label": None if label == -1 else label}


def _picture(jpeg: bytes) -> dict:
    """Width and height of a JPEG, pixels, from its header; or the reason why it cannot be used."""
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            if image.mode not in ("RGB", "L"):
                return {"reason": f"its colours are {image.mode}, not RGB or grey"}
            return {"width": image.width, "height": image.height}
    except (OSError, ValueError, SyntaxError):
        return {"reason": "no JPEG"}
    except Image.DecompressionBombError:
        return {"reason": "it has more pixels than any picture"}
