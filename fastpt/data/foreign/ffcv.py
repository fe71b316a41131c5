"""The samples of an FFCV file, from its tables alone."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa

from fastpt.data import beton
from fastpt.data.foreign.found import COLUMNS, Found
from fastpt.errors import FastptError


def read_ffcv(file: Path, image: str | None, label: str | None, caption: str | None) -> Found:
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
