"""What a kind of storage offers: named files, read in place."""

import errno
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from fastpt.errors import DamagedData, FastptError
from fastpt.storage.names import is_image, is_utf8

LARGEST_FILE = 1 << 28  # bytes; no picture or list is larger, but a member of a hostile archive may claim to be
ARCHIVE_ERRORS = (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile)


@dataclass
class Storage(ABC):
    """Files by name (relative, with `/`). `read` is safe in forked and spawned processes."""

    root: Path  # as messages name it

    @abstractmethod
    def names(self) -> list[str]:
        """All names, sorted."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The whole file. Raises KeyError if there is none, OSError if it cannot be read."""

    def only(self, names: Iterable[str]) -> "Storage":
        """The same for a few names, without what is known of the others: to be sent to another machine."""
        return self

    def images(self) -> list[str]:
        """The names of pictures, sorted, without hidden files. Raises FastptError if one is not UTF-8."""
        found = [name for name in self.names() if is_image(name)]
        for name in found:
            if not is_utf8(name):
                raise FastptError(f"the file name {name!a} in {self.root} is not UTF-8. Rename the file.")
        return found


@dataclass
class Archive(Storage):
    """A file that holds others: `where` says of each name what is needed to read it."""

    where: dict[str, Any] = field(default_factory=dict)

    def names(self) -> list[str]:
        return sorted(self.where)

    def only(self, names: Iterable[str]) -> Self:
        few = copy(self)
        few.where = {name: self.where[name] for name in names if name in self.where}
        return few


def check_size(size: int) -> None:
    """Raises OSError if a file of `size` bytes is not to be read."""
    if size > LARGEST_FILE:
        raise OSError(errno.EFBIG, f"larger than {LARGEST_FILE >> 20} MiB")


def unreadable(message: str, error: Exception) -> FastptError:
    """What to raise for one of ARCHIVE_ERRORS: DamagedData, unless it is the system that refused the file."""
    return (FastptError if isinstance(error, OSError) and error.errno else DamagedData)(message)
