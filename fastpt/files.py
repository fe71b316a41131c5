"""Files and folders that are whole or not there: written aside, synced, renamed. Locks, checksums, sealed JSON.

A folder may be sealed, too: its manifest.json, written last, has the sha256 of each file.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import filelock
import xxhash

from fastpt.errors import DamagedData, FastptError

MANIFEST = "manifest.json"
ASIDE = ".fastpt.tmp"  # what a file is called while it is written
# What libraries raise instead of an OSError where the disk is full: safetensors, numpy, torch.
_UNWRITTEN = ("(os error ", " requested and ", "inline_container", "PytorchStreamWriter", "iostream error")


@contextlib.contextmanager
def atomic_write(path: Path | str, mode: str = "wb") -> Iterator[IO]:
    """Open a file beside `path` for writing; on success sync it and rename it to `path`, on any error remove it.

    What processes that were killed have left so beside `path` is removed, too: the file of one at work is locked.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}{ASIDE}")
    try:
        _remove_abandoned(path.parent)
        with _locked_file(aside, mode) as file:
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


def _locked_file(path: Path, mode: str) -> IO:
    """A new file that is locked as long as it is open, where the file system can lock."""
    while True:
        file = path.open(mode, encoding=None if "b" in mode else "utf-8")
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:  # else it was taken for abandoned before it was locked
            return file
        file.close()


def _remove_abandoned(folder: Path) -> None:
    """Delete the files of `atomic_write` in a folder that nobody writes to."""
    for path in folder.glob(f".*{ASIDE}"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


@contextlib.contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """A new folder beside `path` to be filled; on success it takes the place of `path`, on any error it goes.

    Raises OSError that names `path` where the disk is full, whatever a library made of it.
    """
    path = Path(path)
    aside, old = path.with_name(f".{path.name}.tmp"), path.with_name(f".{path.name}.old.tmp")
    remove(aside)
    aside.mkdir(parents=True)
    try:
        with unwritten_is_oserror(path):
            yield aside
        remove(old)
        if os.path.lexists(path):  # renaming takes no time; deleting a large folder does, and could be cut short
            path.rename(old)
        aside.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            remove(aside)
        raise
    sync_folder(path.parent)
    remove(old)


@contextlib.contextmanager
def unwritten_is_oserror(path: Path | str) -> Iterator[None]:
    """Make one OSError that names `path` of what is raised within where a file could not be written.

    An OSError that names another file stays as it is.
    """
    try:
        yield
    except Exception as error:
        is_unnamed = isinstance(error, OSError) and error.filename is None
        unwritten = str(error) if any(sign in str(error) for sign in _UNWRITTEN) else None
        if not is_unnamed and unwritten is None:
            raise
        number, text = getattr(error, "errno", None), getattr(error, "strerror", None)
        if not number:
            number, text = errno.EIO, f"it could not be written ({unwritten or error}); is the disk full?"
        raise OSError(number, text, str(path)) from error


def remove(path: Path) -> None:
    """Delete a file or a folder with all that is in it, or nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path | str, message: str | None = None) -> Iterator[None]:
    """Hold the lock file `path`, whose folder is made. It ends with the process, however that ends.

    Where another process holds it: wait, or, with a `message`, raise FastptError that says it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=-1 if message is None else 0)
    except filelock.Timeout:
        raise FastptError(message or f"{path} is held by another process.") from None
    except OSError as error:
        if error.filename is not None:
            raise
        raise FastptError(
            f"{path} cannot be locked ({error.strerror}). Mend the file system, or work on one that has locks."
        ) from None
    try:
        yield
    finally:
        lock.release()


def cache_dir(kind: str) -> Path:
    """Where what can be made again is kept: $XDG_CACHE_HOME/fastpt/<kind>, by default ~/.cache/fastpt/<kind>.

    The folder is made. Raises FastptError if it cannot be.
    """
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastpt" / kind
    except RuntimeError:
        raise FastptError(
            "there is no folder to keep things in: HOME is not set, and the system does not know this user. "
            "Set XDG_CACHE_HOME to a folder."
        ) from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FastptError(
            f"{folder} cannot be made ({error.strerror}), where what can be made again is kept. "
            "Set XDG_CACHE_HOME to a folder that may be written."
        ) from None
    return folder


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


def is_sealed(value: dict) -> bool:
    """Whether a value read from JSON has the `self_sha256` of what else it holds."""
    return value.get("self_sha256") == _seal({key: one for key, one in value.items() if key != "self_sha256"})


def _seal(value: dict) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def sealed(value: dict) -> dict:
    """`value` plus `self_sha256`, the hash of the JSON without that field."""
    return {**value, "self_sha256": _seal(value)}


def write_sealed_json(path: Path | str, value: dict) -> None:
    """Write what `sealed` makes of `value`."""
    write_json(path, sealed(value))


def read_sealed_json(path: Path | str, version: int | str) -> dict:
    """Read what `write_sealed_json` wrote. Raises DamagedData if it changed, FastptError if its `format` is not
    `version`."""
    try:
        value = json.loads(Path(path).read_bytes())
        seal = value.pop("self_sha256")
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedData(f"{path} is damaged: it does not parse ({error}). Restore it or make it anew.") from None
    if _seal(value) != seal:
        raise DamagedData(f"{path} is damaged: its content does not match its self_sha256. Restore it or make it anew.")
    if value.get("format") != version:
        raise FastptError(
            f"{path} has format version {value.get('format')!r}; this fastpt reads version {version}. "
            "Use the fastpt that wrote it, or make it anew."
        )
    return value


def seal_folder(folder: Path, version: str, **facts: Any) -> None:
    """Sync the files below a folder, let others read them as the umask has it, and write its manifest.json, with
    `facts` about the whole."""
    sums = {}
    umask = os.umask(0)
    os.umask(umask)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        file.chmod(0o666 & ~umask)  # safetensors writes for the owner only
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        sums[str(file.relative_to(folder))] = file_sha256(file)
    write_sealed_json(folder / MANIFEST, {"format": version, **facts, "files": sums})


def find_damage(folder: Path, version: str) -> str | None:
    """The first thing that is wrong with the files of a sealed folder; None if each is as it was written.

    Raises FastptError if it is of another format, or cannot be read for reasons of the system's: that is no damage.
    """
    return next(damages(folder, version), None)


def damages(folder: Path, version: str) -> Iterator[str]:
    """All that is wrong with the files of a sealed folder. Raises FastptError as `find_damage`."""
    try:
        sums = read_sealed_json(folder / MANIFEST, version).get("files")
        if not sums or not isinstance(sums, dict) or any(re.search(r"\.\.|^/|\0", name) for name in sums):
            yield f"{MANIFEST} names no files of its folder"
            return
    except DamagedData as error:
        yield str(error)
        return
    except OSError as error:
        yield _unreadable(folder / MANIFEST, MANIFEST, error)
        return
    for name, expected in sums.items():
        try:
            if file_sha256(folder / name) != expected:
                yield f"{name} does not match its sha256"
        except OSError as error:
            yield _unreadable(folder / name, name, error)


def _unreadable(path: Path, name: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"{name} is missing"
    if isinstance(error, IsADirectoryError):
        return f"{name} is a folder"
    raise FastptError(f"{path} cannot be read ({error.strerror}). Mend that first.") from None
