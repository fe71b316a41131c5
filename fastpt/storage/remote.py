"""A folder at an address."""

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, field

from fastpt.storage import transfer
from fastpt.storage.address import RemotePath
from fastpt.storage.kind import Storage, check_utf8
from fastpt.storage.names import normalised
from fastpt.storage.opened import Stamp, check_size
from fastpt.storage.ranges import RemoteFile


@dataclass
class RemoteFolder(Storage):
    """All files below an address."""

    _stamps: dict[str, Stamp] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self):
        for name, stamp in transfer.find(self._root):
            if name != normalised(name):
                self.odd[name] = "a name that is no path"
            else:
                self._stamps[name] = stamp
        check_utf8(self.root, self._stamps)

    @property
    def _root(self) -> RemotePath:
        assert isinstance(self.root, RemotePath)
        return self.root

    def names(self) -> list[str]:
        return sorted(self._stamps)

    def read(self, name: str) -> bytes:
        check_size(self.stamp(name)[0])
        return self.head(name, self.stamp(name)[0])

    def head(self, name: str, size: int = 64) -> bytes:
        return RemoteFile(self._root / name, self.stamp(name)).pread(size, 0)

    def stamp(self, name: str) -> Stamp:
        return self._stamps[name]

    def holder(self, name: str) -> str:
        return name

    def only(self, names: Iterable[str]) -> "RemoteFolder":
        few = copy(self)
        few._stamps = {name: self._stamps[name] for name in names if name in self._stamps}
        few.odd = {}
        return few
