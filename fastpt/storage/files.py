"""Named files in a folder or an archive, read in place: listing costs one pass, reading a file costs one seek.

Names are only names: nothing is ever written under them, so an archive may call its members what it likes.
"""

import re
import zipfile
from collections.abc import Iterable, Sequence
from copy import copy
from pathlib import Path

from fastpt.errors import DamagedData, FastptError
from fastpt.storage.address import RemotePath
from fastpt.storage.folder import Folder
from fastpt.storage.kind import ARCHIVE_ERRORS, Storage, unreadable
from fastpt.storage.names import told_apart
from fastpt.storage.opened import SeekableFile, Stamp
from fastpt.storage.opening import open_regular
from fastpt.storage.packed import PACKINGS, UnpackedTar
from fastpt.storage.remote import RemoteFolder
from fastpt.storage.sniff import sniff
from fastpt.storage.tar import Tar
from fastpt.storage.tar_walk import BLOCK, is_tar
from fastpt.storage.zip import Zip

KNOWN = "a folder, a .tar, a .tar.gz or a .zip"
PART = re.compile(
    r"\.(z\d\d|\d{3}|part\d+(\.rar)?|r\d\d|tar\.?[a-z]{2})", re.IGNORECASE
)  # suffix of a part of an archive


def open_files(
    path: Path, unpack_dir: Path | None = None, tar: type[Tar] = Tar, ignore_damage: bool = False
) -> Storage:
    """The files in a folder, a `.tar`, a `.zip` or a `.tar.gz` (see `UnpackedTar`), told by its content, not its name.

    With `ignore_damage`, what can be read of a damaged archive; its `damage` tells the rest. Raises FastptError if it
    cannot be read, DamagedData if it is not whole.
    """
    if path.is_dir():
        return RemoteFolder(path) if isinstance(path, RemotePath) else Folder(path)
    if not path.exists():
        raise missing_place(path, KNOWN)
    if not path.is_file():
        raise FastptError(f"--source {path} is neither a folder nor a file. Give {KNOWN}.")
    try:
        with open_regular(path) as file:
            start = file.pread(BLOCK, 0)
            may_be_zip = start.startswith(b"PK") or (not is_tar(start) and zipfile.is_zipfile(SeekableFile(file)))
        if start.startswith(PACKINGS) and unpack_dir is not None:
            return UnpackedTar(path, ignore_damage, unpack_dir=unpack_dir)
        if may_be_zip:
            return Zip(path, ignore_damage)
        _check_archive(path, start)
        return tar(path, ignore_damage)
    except DamagedData:
        if PART.fullmatch(path.suffix):
            raise DamagedData(
                f"--source {path} is a part of an archive by its name. Join all parts, and give the whole."
            ) from None
        raise
    except ARCHIVE_ERRORS as error:
        message = f"{path} cannot be read as {KNOWN} ({error}). Restore or unpack it."
        raise unreadable(message, error) from None


def missing_place(path: Path, known: str) -> FastptError:
    """What to raise for a --source that does not exist, by what it seems to be meant as; `known` says what may."""
    text = str(path)
    if isinstance(path, RemotePath):
        return FastptError(f"--source {text} does not exist. Check the address, and give {known}.")
    if re.match(r"\w{2,}:", text):
        return FastptError(f"--source {text} is an address that is not read. Fetch what lies there, and give {known}.")
    if re.search(r"[*?{\[]", text):
        return FastptError(
            f"--source {text} is a pattern, and no such file exists. Give the folder, or each file by a --source "
            "of its own."
        )
    above = next(folder for folder in path.absolute().parents if folder.exists())
    return FastptError(f"--source {text} does not exist (there is {above}). Give {known}.")


def _check_archive(path: Path, start: bytes) -> None:
    """Raises DamagedData for a file whose first block says that it is no archive that can be read."""
    kind = None if is_tar(start) else sniff(start)
    if not start:
        raise DamagedData(f"--source {path} is empty. Fetch it anew.")
    if kind and kind != "zeros":  # those end a tar
        cure = "Unpack it, and give the folder" if kind in ("RAR", "7z", "Zstandard") else f"Give {KNOWN}"
        raise DamagedData(f"--source {path} is no archive that can be read, but {kind}. {cure}.")


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
        roots = [files.root for _, files in parts]
        self._called = dict(zip(roots, told_apart(roots), strict=True))
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
        return name if files.holder(inside) == inside else self._called[files.root]

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
