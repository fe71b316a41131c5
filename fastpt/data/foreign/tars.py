"""The samples of WebDataset tars, each read once from its start to its end."""

import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash
from PIL import Image

from fastpt.data import manifest
from fastpt.data.foreign.found import COLUMNS, Found
from fastpt.data.json_records import unique_keys
from fastpt.data.labels import MOST_CLASSES, text_of
from fastpt.errors import FastptError
from fastpt.jpeg.exif import orientation
from fastpt.jpeg.frames import frame_sizes
from fastpt.printable import plural
from fastpt.processes import cores
from fastpt.storage.names import IMAGE_SUFFIXES, JPEG_SUFFIXES, well_formed
from fastpt.storage.tar import Tar, open_tar
from fastpt.storage.tar_keys import Keyed, keyed_files, no_picture, split_key

LABEL = re.compile(rb"\s*([+-]?\d{1,18})(?:\.0*)?\s*", re.ASCII)
USED = (".cls", ".txt", ".json")  # suffixes of what is read beside pictures


def read_tars(files: list[Path], image_member: str | None, ignore_damage: bool) -> Found:
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
    """What one tar has of each sample, null where it lacks it, and what else there is to say of it, such as damage that
    was ignored.

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
    table = pa.Table.from_pylist(rows, pa.schema({**COLUMNS, "reason": pa.string()}))
    turned = sum(sample.get("orientation", 1) != 1 for sample in samples.values())
    return table, (*tar.damage, *([_turned(file, turned)] if turned else []))


def _turned(file: Path, count: int) -> str:
    return (
        f"{plural(count, 'picture')} of {file} would be turned or mirrored by the orientation in their EXIF, which is "
        "passed over where they are read in place; `fastpt prep webdataset` stores them upright"
    )


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
            value = json.loads(tar.read(file.name), object_pairs_hook=unique_keys)
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
            sample["reason"] = f"{file.name} is no JSON"
        except ValueError as error:
            sample["reason"] = f"{file.name}: {error}"
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
    """Width and height of a JPEG, pixels, from its header, and its orientation by EXIF; or why it cannot be used."""
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            if image.mode not in ("RGB", "L"):
                return {"reason": f"its colours are {image.mode}, not RGB or grey"}
            if frame_sizes([np.frombuffer(jpeg, np.uint8)]).tolist() != [[image.height, image.width]]:
                # Pillow mends them; every loader would call the picture damaged.
                return {
                    "reason": "stray bytes or several sizes among its headers; `fastpt prep webdataset` encodes it anew"
                }
            return {"width": image.width, "height": image.height, "orientation": orientation(image)}
    except (OSError, ValueError, SyntaxError):
        return {"reason": "no JPEG"}
    except Image.DecompressionBombError:
        return {"reason": "it has more pixels than any picture"}
