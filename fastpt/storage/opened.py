"""A file that is open to be read at positions, wherever it lies, and how it is known to be the one that was listed."""

import errno
import io
import os
import stat
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

from fastpt.errors import FastptError

LARGEST_FILE = 1 << 28  # bytes; no picture or list is larger, but a member of a hostile archive may claim to be

Stamp = tuple[int, int | str]
"""Of a file: its length in bytes, and when it was changed in ns; where it is not on a disk, its ETag, or else that time
as the server writes it."""


class OpenedFile(ABC):
    """Bytes at positions, safe to read from several threads. To be closed, or used in a `with`."""

    stamp: Stamp

    @abstractmethod
    def pread(self, size: int, at: int) -> bytes:
        """`size` bytes from byte `at` on, fewer at the end of the file. Raises OSError."""

    def data_from(self, at: int) -> int:
        """Where data lie at the earliest, `at` or behind it: a hole may be of many gigabytes. Raises OSError if
        nothing but holes follows."""
        return at

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LocalFile(OpenedFile):
    """An open file of this machine."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self.stamp = stamp_of(os.fstat(descriptor))

    def pread(self, size: int, at: int) -> bytes:
        return os.pread(self._descriptor, size, at)

    def data_from(self, at: int) -> int:
        return os.lseek(self._descriptor, at, os.SEEK_DATA)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class SeekableFile(io.RawIOBase):
    """An `OpenedFile` as Python's libraries want one."""

    def __init__(self, file: OpenedFile):
        self._file, self._at = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._file.stamp[0]}[whence]
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._file.stamp[0] - self._at)
        content = self._file.pread(left if size is None or size < 0 else min(size, left), self._at)
        self._at += len(content)
        return content

    def close(self) -> None:
        self._file.close()
        super().close()


def open_on_disk(path: Path) -> LocalFile:
    """A file for reading. Raises OSError if it is no regular file: a pipe would be waited for, for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return LocalFile(descriptor)


def stamp_of(status: os.stat_result) -> Stamp:
    return status.st_size, status.st_mtime_ns


def changed(path: Path, before: Stamp, now: Stamp) -> FastptError:
    """What to raise for a file that is not as it was when it was listed."""
    return FastptError(
        f"{path} changed while it was read ({what_changed(before, now)}). Let nothing write to the source, and begin "
        "anew."
    )


def gone(path: Path) -> FastptError:
    """What to raise for a file that was listed and is no longer there."""
    return FastptError(f"{path} is gone since the source was listed. Let nothing write to the source, and begin anew.")


def what_changed(before: Stamp, now: Stamp) -> str:
    """How a file differs from what it was, in words."""
    if before[0] != now[0]:
        return f"it had {before[0]:,} bytes and has {now[0]:,} now"
    is_etag = isinstance(now[1], str) and not now[1].endswith(" GMT")
    return f"its {'ETag' if is_etag else 'time of change'} is another one"


def check_size(size: int) -> None:
    """Raises OSError if a file of `size` bytes is not to be read."""
    if size > LARGEST_FILE:
        raise OSError(errno.EFBIG, f"larger than {LARGEST_FILE >> 20} MiB")
