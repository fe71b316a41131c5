"""Files and folders that are whole or not there: written aside, synced, renamed. Locks, checksums, sealed JSON."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import filelock
import xxhash

from fastpt.errors import DamagedData, FastptError


@contextlib.contextmanager
def atomic_write(path: Path | str, mode: str = "wb") -> Iterator[IO]:
    """Open a file beside `path` for writing; on success sync it and rename it to `path`, on any error remove it."""
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open(mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            aside.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(aside)):  # None: a full disk, from write()
            error.filename = str(path)  # the name that the user knows
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """A new folder beside `path` to be filled; on success it takes the place of `path`, on any error it goes."""
    path = Path(path)
    aside = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        shutil.rmtree(path, ignore_errors=True)
        aside.rename(path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def locked(path: Path | str, message: str | None = None) -> Iterator[None]:
    """Hold the lock file `path`, whose folder is made. It ends with the process, however that ends.

    Where another process holds it: wait, or, with a `message`, raise FastptError that says it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(path, timeout=-1 if message is None else 0):
            yield
    except filelock.Timeout:
        raise FastptError(message or f"{path} is held by another process.") from None


def cache_dir(kind: str) -> Path:
    """Where what can be made again is kept: $XDG_CACHE_HOME/fastpt/<kind>, by default ~/.cache/fastpt/<kind>."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastpt" / kind


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_write(path, "w") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def file_sha256(path: Path | str) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_xxh3(path: Path | str) -> str:
    """XXH3-128 of a file's bytes, hexadecimal: for what only accidents change, at the speed of the disk."""
    digest = xxhash.xxh3_128()
    with Path(path).open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _seal(value: dict) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def write_sealed_json(path: Path | str, value: dict) -> None:
    """Write `value` plus `self_sha256`, the hash of the JSON without that field."""
    write_json(path, {**value, "self_sha256": _seal(value)})


def read_sealed_json(path: Path | str, version: int | str) -> dict:
    """Read what `write_sealed_json` wrote. Raises DamagedData if it changed, FastptError if its `format` is not
    `version`."""
    try:
        value = json.loads(Path(path).read_bytes())
        seal = value.pop("self_sha256")
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedData(f"{path} is damaged: it does not parse ({error}). Restore it or make it anew.") from None
    if _seal(value) != seal:
        raise DamagedData(f"{path} is damaged: its content does not match its self_sha256. Restore it or make it anew.")
    if value.get("format") != version:
        raise FastptError(
            f"{path} has format version {value.get('format')!r}; this fastpt reads version {version}. "
            "Use the fastpt that wrote it, or make it anew."
        )
    return value
