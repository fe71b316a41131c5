"""Tars, read where they lie: their files by name."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fastpt.errors import DamagedData, FastptError
from fastpt.storage.kind import Archive
from fastpt.storage.names import normalised
from fastpt.storage.opened import LARGEST_FILE, OpenedFile, check_size
from fastpt.storage.sniff import sniff
from fastpt.storage.tar_walk import BLOCK, CUT, FILE, FOLDER, HARD_LINK, SYMBOLIC_LINK, Member, is_tar, walk

LARGEST_KEPT = 1 << 16  # bytes of a file whose content is kept from the walk
PACKED = ("gzip", "bzip2", "xz", "Zstandard", "zip")


@dataclass
class Tar(Archive):
    """An uncompressed tar. Hard links, and symbolic links to what lies in it, are files like those they lead to.

    Of files whose name ends in one of `keep` the content is kept while the tar is walked over, if it is short: they are
    read without going back.
    """

    where: dict[str, tuple[int, int]] = field(default_factory=dict, init=False)  # offset and size, bytes
    keep: tuple[str, ...] = ()
    _kept: dict[str, bytes] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self):
        with self._listing() as file:
            damage = [] if self.ignore_damage else None
            self._list(file, self._stamp[0], damage)
            self.damage = tuple(damage or ())

    def _list(self, file: OpenedFile, end: int, damage: list[str] | None, start: int = 0) -> None:
        head = file.pread(BLOCK, start)
        kind = None if is_tar(head) else sniff(head)
        if kind and kind != "zeros":  # those end a tar
            raise DamagedData(self._no_tar(kind))
        self._add_members(self._keeping(file, walk(file, str(self.root), start, end, damage)))

    def _no_tar(self, kind: str) -> str:
        cure = "Unpack it" if kind in PACKED else "Fetch it anew"
        return f"{self.root} cannot be read as a .tar: it is {kind}. {cure}, or leave it out."

    def _keeping(self, file: OpenedFile, members: Iterator[Member]) -> Iterator[Member]:
        for member in members:
            if member.kind == FILE and member.size <= LARGEST_KEPT and member.name.lower().endswith(self.keep):
                self._kept[normalised(member.name)] = file.pread(member.size, member.start)
            yield member

    def _add_members(self, members: Iterator[Member], prefix: str = "") -> None:
        links, folders = {}, set()
        for member in members:
            name = prefix + normalised(member.name)
            target = prefix + normalised(member.target)
            if member.kind == FILE:
                self._add(name, (member.start, member.size), f"at byte {member.start:,}")
            elif member.kind == FOLDER:
                folders.add(name)
            elif member.kind == SYMBOLIC_LINK and member.target:
                base = "" if member.target.startswith("/") else normalised(member.name).rpartition("/")[0]
                links[name] = prefix + normalised(f"{base}/{member.target}")
            elif member.kind == HARD_LINK and target in self.where:
                self._add(name, self.where[target], f"a link to {target}")
            elif member.kind in (HARD_LINK, SYMBOLIC_LINK):
                self.odd[name] = self.odd.get(target, "a link to nothing")
            else:
                self.odd[name] = member.kind
        if links:
            self._follow(links)
        self._tell_empty(folders)

    def read(self, name: str) -> bytes:
        check_size(self.where[name][1])
        return self.head(name, LARGEST_FILE)

    def head(self, name: str, size: int = 64) -> bytes:
        start, length = self.where[name]
        if name in self._kept:
            return self._kept[name][:size]
        with self._reading() as file:
            return file.pread(min(size, length), start)


def open_tar(path: Path, ignore_damage: bool = False, keep: tuple[str, ...] = ()) -> Tar:
    """An uncompressed tar. Raises FastptError if it cannot be opened, DamagedData if it is not whole."""
    try:
        return Tar(path, ignore_damage, keep)
    except OSError as error:
        raise FastptError(
            f"{path} cannot be read as a .tar ({error.strerror or error}). Fetch it anew, or leave it out."
        ) from None


class TarOfTars(Tar):
    """A tar of tars, as ImageNet's train archive: `n01440764.tar` with `a.JPEG` inside is `n01440764/a.JPEG`."""

    def _list(self, file: OpenedFile, end: int, damage: list[str] | None, start: int = 0) -> None:
        tars: dict[str, str] = {}
        for member in walk(file, str(self.root), start, end, damage):
            name = normalised(member.name)
            folder = name.rpartition("/")[2].removesuffix(".tar")
            if member.kind == FOLDER:
                continue
            if member.kind not in (FILE, CUT) or not name.endswith(".tar"):
                self.odd[name] = "no tar" if member.kind == FILE else member.kind
                continue
            if folder in tars:
                raise FastptError(f"{self.root} holds two tars of one name: {tars[folder]} and {name}. Rename one.")
            tars[folder] = name
            inner = walk(file, f"{self.root}: {name}", member.start, member.start + member.size, damage)
            self._add_members(inner, f"{folder}/")
