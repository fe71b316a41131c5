"""What a kind of storage offers: named files, read in place."""

import zipfile
import zlib
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from fastpt.errors import DamagedData, FastptError
from fastpt.storage.names import is_utf8
from fastpt.storage.opened import OpenedFile, Stamp
from fastpt.storage.opening import open_unchanged, open_walked

LONGEST = 2000  # characters of a message that quotes names of files
MOST_WAYS = 100  # by which links may lead to one folder, or a few links would make names without end
ARCHIVE_ERRORS = (OSError, EOFError, zlib.error, zipfile.BadZipFile)
IGNORING = "--ignore-damage (ignore_damage=True) goes on with what can be read"


@dataclass
class Storage(ABC):
    """Files by name: relative, with `/`, without `.` and empty parts, each once. They are listed when it is made.

    `odd` is what is there and cannot be read as a file: its name, which ends in `/` for a folder, and what it is ("a
    pipe", "a link to nothing", "an empty folder"). `damage` tells of each damage that `ignore_damage` went on over.
    `read` and `head` are safe in forked and spawned processes. Both raise KeyError if there is no such file, OSError if
    it cannot be read, and FastptError if it is no longer the one that was listed.
    """

    root: Path  # as messages name it
    odd: dict[str, str] = field(default_factory=dict, init=False)
    damage: tuple[str, ...] = field(default=(), init=False)

    @abstractmethod
    def names(self) -> list[str]:
        """The names of all regular files, hidden ones too, sorted. Raises FastptError if one is not UTF-8."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The whole file."""

    @abstractmethod
    def head(self, name: str, size: int = 64) -> bytes:
        """The first `size` bytes of the file, fewer if it has fewer."""

    @abstractmethod
    def stamp(self, name: str) -> Stamp:
        """By what the file that holds `name` is known again, as it was when it was listed."""

    def holder(self, name: str) -> str:
        """The file that holds `name`, as one that stays where it is in its source is known again."""
        return self.root.name

    @abstractmethod
    def only(self, names: Iterable[str]) -> "Storage":
        """The same for a few names, without what is known of the others: to be sent to another machine."""


@dataclass
class Archive(Storage):
    """A file that holds others: `where` says of each name what is needed to read it, as they lie.

    Raises DamagedData for an archive that is not whole, unless `ignore_damage`; then if nothing can be read.
    """

    ignore_damage: bool = False
    where: dict[str, Any] = field(default_factory=dict, init=False)
    _stamp: Stamp = field(default=(0, 0), init=False)

    def names(self) -> list[str]:
        check_utf8(self.root, self.where)
        return sorted(self.where)

    def stamp(self, name: str) -> Stamp:
        return self._stamp

    def only(self, names: Iterable[str]) -> Self:
        few = copy(self)
        few.where = {name: self.where[name] for name in names if name in self.where}
        few.odd = {}
        return few

    @contextmanager
    def _listing(self) -> Iterator[OpenedFile]:
        """The archive, open to be listed."""
        with open_walked(self.root) as file:
            self._stamp = file.stamp
            yield file
        if self.damage and not self.where:
            raise DamagedData(f"{self.root} holds nothing that can be read: {self.damage[0]}.")

    def _reading(self) -> OpenedFile:
        """The archive, open to be read, as long as it is the one that was listed."""
        return open_unchanged(self.root, self._stamp)

    def _add(self, name: str, where: Any, place: str) -> None:
        """A file of the archive; `place` says where it lies, and so does `_place` of the files before."""
        if not name:
            self.odd[f"({place})"] = "a file without a name"
            return
        if name in self.where or name in self.odd:
            before = self._place(self.where[name]) if name in self.where else self.odd[name]
            raise FastptError(
                f"{self.root} holds {name} twice: {before} and {place}. Unpack it and give the folder (what comes last "
                "stays then), or make the archive anew."
            )
        self.where[name] = where

    def _place(self, where: Any) -> str:
        return f"at byte {where[0]:,}"

    def _follow(self, links: Mapping[str, str]) -> None:
        """Add the files that symbolic links lead to: from names to names inside the archive, both normalised."""
        names, ways = sorted(self.where), Counter[str]()
        for name, target in links.items():
            passed = {name}
            while target in links and target not in passed:
                passed.add(target)
                target = links[target]
            first = bisect_left(names, f"{target}/")
            if target in self.where and target not in links:
                self._add(name, self.where[target], f"a link to {target}")
            elif target in links:
                self.odd[name] = "a link to itself"
            elif not target or name.startswith(f"{target}/"):
                raise FastptError(
                    f"{name} in {self.root} links back to a folder that it lies in. Make it anew without the link."
                )
            elif first < len(names) and names[first].startswith(f"{target}/"):
                ways[target] += 1
                if ways[target] > MOST_WAYS:
                    raise FastptError(f"more than {MOST_WAYS} links in {self.root} lead to {target}. Take some away.")
                while first < len(names) and names[first].startswith(f"{target}/"):
                    inside = names[first]
                    self._add(f"{name}{inside[len(target) :]}", self.where[inside], f"a link to {inside}")
                    first += 1
            else:
                self.odd[name] = "a link to nothing"

    def _tell_empty(self, folders: Iterable[str]) -> None:
        """Note which of the folders have nothing in them."""
        parents = {parent for name in (*self.where, *self.odd, *folders) for parent in [name.rpartition("/")[0]]}
        self.odd |= {f"{name}/": "an empty folder" for name in folders if name and name not in parents}


def check_utf8(root: Path, names: Iterable[str]) -> None:
    """Raises FastptError if one of the names in `root` is not UTF-8."""
    for name in names:
        if not is_utf8(name):
            raise FastptError(f"the file name {name!a} in {root} is not UTF-8. Rename the file.")


def unreadable(message: str, error: Exception) -> FastptError:
    """What to raise for one of ARCHIVE_ERRORS: DamagedData, unless it is the system that refused the file."""
    return (FastptError if isinstance(error, OSError) and error.errno else DamagedData)(message)
