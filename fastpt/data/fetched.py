"""A prepared split at an address: what it says of itself is fetched when it is opened, shards when they are first used.

They lie in a cache of this machine, which all its processes share:

~/.cache/fastpt/splits/
  .lock                 held while room is made
  <address>-<seal>/     one prepared split, as on a disk; another dataset.json at the address is another folder
    .used               held by all who have it open; what nobody holds may go, the longest unused first
    images/NAME.lock    held by who fetches a shard

Until a shard is here its pictures are read from the address, each by itself, so nobody waits for a whole one. The order
of samples does not depend on what is here.
"""

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fastpt.errors import DamagedData, FastptError
from fastpt.files import atomic_write, cache_dir, file_sha256, locked, remove
from fastpt.storage import transfer
from fastpt.storage.address import RemotePath
from fastpt.storage.ranges import RemoteFile

log = logging.getLogger("fastpt.data")

CACHE_GB = "FASTPT_CACHE_GB"
DEFAULT_GB = 200.0
LOOK_AGAIN_SECONDS = 0.2  # for a shard that another process fetches


class StillFetchedError(FastptError):
    """A shard that is not here yet; its pictures can be read from where it is."""


class FetchedSplit:
    """The folder of a split that lies at an address; see above.

    Raises FastptError if nothing is prepared there or the cache has no room for it, DamagedData if what came is not
    what was written.
    """

    def __init__(self, address: RemotePath):
        transfer.forget()
        self.address = address.pinned()
        sealed = self._content("dataset.json")
        if sealed is None:
            raise FastptError(
                f"{address} is no prepared split: it has no dataset.json. Copy a folder there that `fastpt prep` made."
            )
        self.folder = cache_dir("splits") / f"{_short(str(address).encode())}-{_short(sealed)}"
        with _written():
            self._used = _hold(self.folder / ".used")
        weakref.finalize(self, os.close, self._used)
        with _written(), locked(self.folder / ".lock"):
            (self.folder / "images").mkdir(exist_ok=True)
            if not _is(self.folder / "dataset.json", sealed):
                _write(self.folder / "dataset.json", sealed)
            self._fetch_plans()
        self._shards: list[Mapping[str, Any]] = []
        self._fetching = _Fetching(self)

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Fetch the files beside the shards that the manifest names, and see that the shards have room."""
        self._shards = manifest["shards"]
        need, limit = sum(shard["bytes"] for shard in self._shards), _limit()
        if need > limit:
            raise FastptError(
                f"{self.address} has {need / 1e9:,.1f} GB of pictures, and the cache {self.folder.parent} may have "
                f"{limit / 1e9:,.1f} GB. Set {CACHE_GB} to more, or copy a part of the split."
            )
        with _written(), locked(self.folder / ".lock"):
            for entry in manifest["files"]:
                path = self.folder / entry["name"]
                if not (path.is_file() and path.stat().st_size == entry["bytes"]):
                    content = self._content(entry["name"])
                    if content is None or hashlib.sha256(content).hexdigest() != entry["sha256"]:
                        raise self._damaged(entry["name"])
                    _write(path, content)

    def has(self, index: int) -> bool:
        """Whether a shard is here; one that is not is fetched from now on, in the background."""
        return self._is_here(index) or self._fetching.want(index)

    def picture(self, index: int, offset: int, size: int) -> bytes:
        """The bytes of a picture of a shard that is not here yet. Raises FastptError."""
        shard = self._shards[index]
        file = RemoteFile(self.address / "images" / shard["name"], self._stamp(f"images/{shard['name']}"))
        if file.stamp[0] != shard["bytes"]:
            raise self._damaged(f"images/{shard['name']}")
        return file.pread(size, offset)

    def fetch(self, index: int) -> bool:
        """Bring a shard here, held to its sha256. False if another process is at it."""
        shard, path = self._shards[index], self._path(index)
        with _try_lock(path.with_name(f"{path.name}.lock")) as mine:
            if not mine or self._is_here(index):
                return self._is_here(index)
            file = RemoteFile(self.address / "images" / shard["name"], self._stamp(f"images/{shard['name']}"))
            if file.stamp[0] != shard["bytes"]:
                raise self._damaged(f"images/{shard['name']}")
            with atomic_write(path) as aside:
                with locked(self.folder.parent / ".lock"):
                    make_room(self.folder.parent, shard["bytes"])
                    os.posix_fallocate(aside.fileno(), 0, shard["bytes"])  # its room is taken from here on
                digest = hashlib.sha256()
                for piece in file.pieces(0, file.stamp[0]):
                    digest.update(piece)
                    aside.write(piece)
                if digest.hexdigest() != shard["sha256"]:
                    raise self._damaged(f"images/{shard['name']}")
        return True

    def _is_here(self, index: int) -> bool:
        """Whether a shard is here with all of its bytes: a crash of the machine may leave a file cut."""
        try:
            return self._path(index).stat().st_size == self._shards[index]["bytes"]
        except OSError:
            return False

    def _path(self, index: int) -> Path:
        return self.folder / "images" / self._shards[index]["name"]

    def _fetch_plans(self) -> None:
        """The noise plans that are at the address now. They are held to their own sums when they are read."""
        noise, here = self.address / "noise", self.folder / "noise"
        there = dict(transfer.find(noise)) if transfer.look_up(noise) == "folder" else {}
        here.mkdir(exist_ok=True)
        for path in here.iterdir():
            if path.name not in there:
                path.unlink()
        for name in sorted(name for name in there if name.endswith(".json")):
            array = f"{name.removesuffix('.json')}.npy"
            plan = self._content(f"noise/{name}")
            if plan is None or (_is(here / name, plan) and _has_sum(here / array, plan)):
                continue
            content = self._content(f"noise/{array}")
            if content is not None:
                _write(here / array, content)
            _write(here / name, plan)

    def _content(self, name: str) -> bytes | None:
        """A whole small file; None if there is none."""
        found = transfer.look_up(self.address / name)
        return RemoteFile(self.address / name, found).pread(found[0], 0) if isinstance(found, tuple) else None

    def _stamp(self, name: str) -> Any:
        found = transfer.look_up(self.address / name)
        if not isinstance(found, tuple):
            raise DamagedData(f"{self.address / name} is missing. Copy the split there anew.")
        return found

    def _damaged(self, name: str) -> DamagedData:
        return DamagedData(
            f"{self.address / name} is not the file that {self.address}/dataset.json names: its length or its sha256 "
            "is another one. Copy the split there anew."
        )


class _Fetching:
    """The shards that this process wants, brought by a thread of its own, one after the other."""

    def __init__(self, split: FetchedSplit):
        self._split = weakref.proxy(split)
        self._lock = threading.Lock()
        self._wanted: deque[int] = deque()
        self._failed: Exception | None = None
        self._process = 0  # that the thread is of

    def want(self, index: int) -> bool:
        """Ask for a shard; False, as it is not here. Raises what ended the thread."""
        with self._lock:
            if self._failed:
                raise self._failed
            if index not in self._wanted:
                self._wanted.append(index)
            if self._process != os.getpid():
                self._process = os.getpid()
                threading.Thread(target=self._work, name="fastpt-fetch", daemon=True).start()
        return False

    def _work(self) -> None:
        try:
            while True:
                with self._lock:
                    if not self._wanted:
                        self._process = 0
                        return
                    index = self._wanted[0]
                with _written():
                    done = self._split.fetch(index)
                with self._lock:
                    self._wanted.popleft()
                    if not done:
                        self._wanted.append(index)
                if not done:
                    time.sleep(LOOK_AGAIN_SECONDS)
        except ReferenceError:  # the dataset is gone
            return
        except FastptError as error:
            failed = error
        with self._lock:
            self._failed, self._process = failed, 0


def make_room(cache: Path, need: int) -> None:
    """Delete splits that nobody has open, the longest unused first, until `need` bytes more are within the limit.

    Raises FastptError if those in use leave too little.
    """
    limit = _limit()
    folders = sorted((path for path in cache.iterdir() if path.is_dir()), key=_last_used)
    sizes = {folder: _size(folder) for folder in folders}
    for folder in folders:
        if sum(sizes.values()) + need <= limit:
            return
        with _try_lock(folder / ".used") as mine:
            if mine:
                log.info("%s is deleted from the cache of splits, to make room", folder)
                remove(folder.rename(folder.with_name(f".{folder.name.lstrip('.')}.{os.getpid()}.gone")))
                del sizes[folder]
    if (held := sum(sizes.values())) + need > limit:
        raise FastptError(
            f"the cache {cache} may have {limit / 1e9:,.1f} GB; splits in use take {held / 1e9:,.1f} GB of it, and "
            f"{need / 1e9:,.1f} GB more are needed. Set {CACHE_GB} to more."
        )


def _limit() -> int:
    """Bytes that the cache may have."""
    text = os.environ.get(CACHE_GB, str(DEFAULT_GB))
    try:
        limit = float(text)
    except ValueError:
        limit = float("nan")
    if not 0 < limit < float("inf"):
        raise FastptError(f"{CACHE_GB} is the size of the cache of splits in GB, such as 200; found {text!r}.")
    return int(limit * 1e9)


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def _last_used(folder: Path) -> float:
    try:
        return (folder / ".used").stat().st_mtime
    except OSError:
        return 0.0


def _hold(path: Path) -> int:
    """A file that says that its folder is in use, as long as it is open."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if os.fstat(descriptor).st_nlink:  # else the folder was deleted meanwhile
            os.utime(descriptor)
            return descriptor
        os.close(descriptor)


@contextlib.contextmanager
def _try_lock(path: Path) -> Iterator[bool]:
    """Whether a lock file could be had, which is held inside."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _written() -> Iterator[None]:
    """Raise FastptError for a file of the cache that cannot be written."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            mend = f"Make room, or set {CACHE_GB} to less."
        else:
            mend = "Set XDG_CACHE_HOME to a folder that may be written."
        raise FastptError(
            f"{error.filename or cache_dir('splits')} cannot be written ({error.strerror}). {mend}"
        ) from None


def _is(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def _has_sum(array: Path, plan: bytes) -> bool:
    """Whether a plan's array is the one that the plan, its JSON, names."""
    return array.is_file() and file_sha256(array).encode() in plan


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path) as file:
        file.write(content)


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
