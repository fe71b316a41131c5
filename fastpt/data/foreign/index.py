"""The index of files of others: made once for files as they are, and kept."""

import hashlib
import json
import logging
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from fastpt.data import manifest
from fastpt.data.foreign.ffcv import read_ffcv
from fastpt.data.foreign.found import Found
from fastpt.data.foreign.tars import read_tars
from fastpt.data.labels import looks_like_id
from fastpt.errors import FastptError
from fastpt.files import cache_dir, locked

log = logging.getLogger("fastpt.data")


def index_ffcv(
    file: Path | str, image: str | None, label: str | None, caption: str | None, cache: Path | str | None
) -> Path:
    """The folder of the index of an FFCV file, made if need be; see `Dataset.from_ffcv`."""
    file = Path(file)
    return _index(
        [file],
        {"image": image, "label": label, "caption": caption},
        cache,
        lambda: read_ffcv(file, image, label, caption),
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
    return _index(files, settings, cache, lambda: read_tars(files, image_member, ignore_damage))


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
    description = manifest.Description(
        name=name,
        split="foreign",
        note="; ".join((read_from, *found.notes)),
        settings=settings,
        classes=classes,
        class_names=classes,
    )
    unread = [{**shard, "sha256": None} for shard in shards]  # nobody has read the whole of these files
    manifest.write(folder, table, rejected, unread, description)


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
