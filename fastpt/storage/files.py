"""Named files in a folder or an archive, read in place: listing costs one pass, reading a file costs one seek.

Names are only names: nothing is ever written under them, so an archive may call its members what it likes.
"""

import zipfile
from collections.abc import Iterable, Sequence
from copy import copy
from pathlib import Path

from fastpt.errors import FastptError
from fastpt.storage.folder import Folder
from fastpt.storage.kind import ARCHIVE_ERRORS, Stamp, Storage, unreadable
from fastpt.storage.packed import PACKINGS, UnpackedTar
from fastpt.storage.tar import Tar, is_tar
from fastpt.storage.zip import Zip

KNOWN = "a folder, a .tar, a .tar.gz or a .zip"


def open_files(
    path: Path, unpack_dir: Path | None = None, tar: type[Tar] = Tar, ignore_damage: bool = False
) -> Storage:
    """The files in a folder, a `.tar`, a `.zip` or a `.tar.gz` (see `UnpackedTar`), told by its content, not its name.

    With `ignore_damage`, what can be read of a damaged archive; its `damage` tells the rest. Raises FastptError if it
    cannot be read, DamagedData if it is not whole.
    """
    if path.is_dir():
        return Folder(path)
    if not path.exists():
        raise FastptError(f"--source {path} does not exist. Give {KNOWN}.")
    if not path.is_file():
        raise FastptError(f"--source {path} is neither a folder nor a file. Give {KNOWN}.")
    try:
        with path.open("rb") as file:
            start = file.read(512)
        if start.startswith(PACKINGS) and unpack_dir is not None:
            return UnpackedTar(path, ignore_damage, unpack_dir=unpack_dir)
        if start.startswith(b"PK") or (not is_tar(start) and zipfile.is_zipfile(path)):
            return Zip(path, ignore_damage)
        return tar(path, ignore_damage)
    except ARCHIVE_ERRORS as error:
        message = f"{path} cannot be read as {KNOWN} ({error}). Restore or unpack it."
        raise unreadable(message, error) from None


def open_all(
    paths: Sequence[Path], unpack_dir: Path | None = None, prefix: str = "", ignore_damage: bool = False
) -> Storage:
    """The files of several places as one; their names stand below `prefix`, if there is one. See `open_files`."""
    parts = [(prefix, open_files(path, unpack_dir, ignore_damage=ignore_damage)) for path in paths]
    return parts[0][1] if len(parts) == 1 and not prefix else Merged(parts)


class Merged(Storage):
    """Several places as one. The names of each stand below its prefix, if it has one (`train` for `train/...`)."""

    where: dict[str, tuple[Storage, str]]

    def __init__(self, parts: Sequence[tuple[str, Storage]]):
        super().__init__(Path(", ".join(str(files.root) for _, files in parts)))
        self.where = {}
        self.damage = tuple(damage for _, files in parts for damage in files.damage)
        places: dict[str, Path] = {}
        for prefix, files in parts:
            for name in (*files.names(), *files.odd):
                full = f"{prefix}/{name}" if prefix else name
                if full.endswith("/"):
                    self.odd[full] = files.odd[name]
                    continue
                if full in places:
                    raise FastptError(
                        f"{full} is in {places[full]} and in {files.root}. Rename one, or prepare them apart."
                    )
                places[full] = files.root
                if name in files.odd:
                    self.odd[full] = files.odd[name]
                else:
                    self.where[full] = (files, name)

    def names(self) -> list[str]:
        return sorted(self.where)

    def read(self, name: str) -> bytes:
        files, inside = self.where[name]
        return files.read(inside)

    def head(self, name: str, size: int = 64) -> bytes:
        files, inside = self.where[name]
        return files.head(inside, size)

    def stamp(self, name: str) -> Stamp:
        files, inside = self.where[name]
        return files.stamp(inside)

    def holder(self, name: str) -> str:
        files, inside = self.where[name]
        holder = files.holder(inside)
        return name if holder == inside else holder

    def only(self, names: Iterable[str]) -> "Merged":
        few = copy(self)
        few.where = {name: self.where[name] for name in names if name in self.where}
        few.odd = {}
        parts: dict[int, list[str]] = {}
        for name, (files, _) in few.where.items():
            parts.setdefault(id(files), []).append(name)
        for group in parts.values():
            part = few.where[group[0]][0].only([few.where[name][1] for name in group])
            few.where |= {name: (part, few.where[name][1]) for name in group}
        return few
