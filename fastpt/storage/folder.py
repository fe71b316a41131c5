"""A folder of files."""

import errno
import os
import stat
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, field

from fastpt.errors import FastptError
from fastpt.storage.kind import MOST_WAYS, Storage, check_utf8
from fastpt.storage.opened import Stamp, check_size
from fastpt.storage.opening import open_unchanged

ODD_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass
class Folder(Storage):
    """A folder and all folders below it. Links are followed, but not round in a circle."""

    _names: list[str] = field(default_factory=list, init=False, repr=False)  # sorted
    _sizes: array = field(default_factory=lambda: array("q"), init=False, repr=False)  # bytes, of each
    _times: array = field(default_factory=lambda: array("q"), init=False, repr=False)  # ns

    def __post_init__(self):
        found: list[tuple[str, int, int]] = []
        ways = Counter[tuple[int, int]]()
        todo = [("", frozenset[tuple[int, int]]())]  # a folder, and those that it lies in, by device and inode
        while todo:
            folder, above = todo.pop()
            status = self._stat(folder)
            identity = (status.st_dev, status.st_ino)
            if identity in above:
                raise FastptError(f"{self.root / folder} links back to a folder that it lies in. Take the link away.")
            ways[identity] += 1
            if ways[identity] > MOST_WAYS:
                raise FastptError(f"more than {MOST_WAYS} links lead to {self.root / folder}. Take some away.")
            entries = self._entries(folder)
            if not entries and folder:
                self.odd[f"{folder}/"] = "an empty folder"
            for entry in entries:
                name = f"{folder}/{entry.name}" if folder else entry.name
                status = _status(entry)
                if isinstance(status, str):
                    self.odd[name] = status
                elif stat.S_ISDIR(status.st_mode):
                    todo.append((name, above | {identity}))
                else:
                    found.append((name, status.st_size, status.st_mtime_ns))
        check_utf8(self.root, (name for name, _, _ in found))
        found.sort()
        self._names = [name for name, _, _ in found]
        self._sizes = array("q", (size for _, size, _ in found))
        self._times = array("q", (time for _, _, time in found))

    def names(self) -> list[str]:
        return list(self._names)

    def read(self, name: str) -> bytes:
        return self._read(name)

    def head(self, name: str, size: int = 64) -> bytes:
        return self._read(name, size)

    def stamp(self, name: str) -> Stamp:
        i = self._place(name)
        return self._sizes[i], self._times[i]

    def _place(self, name: str) -> int:
        i = bisect_left(self._names, name)
        if i == len(self._names) or self._names[i] != name:
            raise KeyError(name)
        return i

    def holder(self, name: str) -> str:
        return name

    def only(self, names: Iterable[str]) -> "Folder":
        few = copy(self)
        few._names = sorted(set(names).intersection(self._names))
        places = [self._place(name) for name in few._names]
        few._sizes = array("q", (self._sizes[i] for i in places))
        few._times = array("q", (self._times[i] for i in places))
        few.odd = {}
        return few

    def _read(self, name: str, size: int | None = None) -> bytes:
        listed = self.stamp(name)
        with open_unchanged(self.root / name, listed) as file:
            if size is not None:
                return file.pread(size, 0)
            check_size(listed[0])
            return file.pread(listed[0], 0)

    def _stat(self, folder: str) -> os.stat_result:
        try:
            return (self.root / folder).stat()
        except OSError as error:
            raise _unreadable(error) from None

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.root / folder) as entries:
                return list(entries)
        except OSError as error:
            raise _unreadable(error) from None


def _status(entry: os.DirEntry[str]) -> os.stat_result | str:
    """What stands at an entry, through links; or what it is, in words, if that is no file and no folder."""
    try:
        status = entry.stat()
    except OSError as error:
        if not entry.is_symlink():
            raise _unreadable(error) from None
        return "a link to itself" if error.errno == errno.ELOOP else "a link to nothing"
    return ODD_KINDS.get(stat.S_IFMT(status.st_mode), status)


def _unreadable(error: OSError) -> FastptError:
    return FastptError(f"{error.filename} cannot be read ({error.strerror}). Mend its permissions.")
