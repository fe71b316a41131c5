"""The files that a split's pictures are in, open to be read at positions."""

import errno
import os
import resource
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastpt.data.fetched import FetchedSplit, StillFetchedError
from fastpt.errors import DamagedData, FastptError


class Shards:
    """The shards of a split, each opened when it is first used, and open as long as this is there.

    `entries` are those of the manifest; `fetched` brings the ones of a split at an address; `advice` says what to do
    about damage.
    """

    def __init__(self, folder: Path, entries: Sequence[Mapping[str, Any]], fetched: FetchedSplit | None, advice: str):
        self.descriptors: dict[int, int] = {}
        """Of the files that are open, by shard."""
        self._folder, self._entries, self._fetched, self._advice = folder, entries, fetched, advice
        weakref.finalize(self, _close_all, self.descriptors)

    def path(self, index: int) -> Path:
        """Where a shard lies."""
        return self._folder / self._entries[index]["name"]

    def descriptor(self, index: int) -> int:
        """The file descriptor of a shard.

        Raises DamagedData if its length is wrong, StillFetchedError if it is on its way here.
        """
        if index not in self.descriptors:
            if self._fetched and not self._fetched.has(index):
                raise StillFetchedError(f"{self.path(index)} is still on its way. Read its pictures one by one.")
            try:
                opened = _open(self.path(index))
            except OSError as error:
                state = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be opened ({error.strerror})"
                raise DamagedData(f"{self.path(index)} {state}. {self._advice}") from None
            found = os.fstat(opened).st_size
            if found != self._entries[index]["bytes"]:
                os.close(opened)
                raise self._wrong_length(index, found)
            if self.descriptors.setdefault(index, opened) != opened:
                os.close(opened)  # another thread was quicker
        return self.descriptors[index]

    def read(self, index: int, offset: int, size: int) -> bytes:
        """`size` bytes of a shard, from its address where it is still on its way here.

        Raises DamagedData as `descriptor` does, FastptError if the disk fails.
        """
        try:
            if self._fetched and index not in self.descriptors and not self._fetched.has(index):
                stored = self._fetched.picture(index, offset, size)
            else:
                stored = os.pread(self.descriptor(index), size, offset)
        except OSError as error:
            raise FastptError(f"{self.path(index)} cannot be read: {error.strerror}. Mend the disk.") from None
        if len(stored) != size:
            raise self._wrong_length(index, os.fstat(self.descriptor(index)).st_size)
        return stored

    def _wrong_length(self, index: int, found: int) -> DamagedData:
        wanted = self._entries[index]["bytes"]
        return DamagedData(f"{self.path(index)} has {found} bytes instead of {wanted}. {self._advice}")


def _open(path: Path) -> int:
    """Open a file for reading. A split of thousands of shards may need more descriptors than the usual soft limit."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if error.errno != errno.EMFILE or soft == hard:
            raise
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _close_all(descriptors: dict[int, int]) -> None:
    for descriptor in descriptors.values():
        os.close(descriptor)
