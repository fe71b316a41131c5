"""Named files in a folder or an archive, read in place: listing costs one pass, reading a file costs one seek.

Names are only names: nothing is ever written under them, so an archive may call its members what it likes.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from fastpt.errors import FastptError
from fastpt.storage.folder import Folder
from fastpt.storage.kind import ARCHIVE_ERRORS, Archive, Storage, unreadable
from fastpt.storage.tar import Tar, UnpackedTar
from fastpt.storage.zip import Zip


def open_files(path: Path, unpack_dir: Path | None = None, tar: type[Tar] = Tar) -> Storage:
    """The files in a folder, a `.tar`, a `.zip` or a `.tar.gz` (see `UnpackedTar`), told by its content, not its name.

    Raises FastptError if it cannot be read.
    """
    if path.is_dir():
        return Folder(path)
    if not path.exists():
        raise FastptError(f"--source {path} does not exist. Give a folder, a .tar, a .tar.gz or a .zip.")
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        if magic == b"PK\3\4":
            return Zip(path)
        if magic.startswith(b"\x1f\x8b") and unpack_dir is not None:
            return UnpackedTar(path, unpack_dir=unpack_dir)
        return tar(path)
    except ARCHIVE_ERRORS as error:
        message = f"{path} cannot be read as a folder, a .tar, a .tar.gz or a .zip ({error}). Restore or unpack it."
        raise unreadable(message, error) from None


def open_all(paths: Sequence[Path], unpack_dir: Path | None = None, prefix: str = "") -> Storage:
    """The files of several places as one; their names stand below `prefix`, if there is one. See `open_files`."""
    parts = [(prefix, open_files(path, unpack_dir)) for path in paths]
    return parts[0][1] if len(parts) == 1 and not prefix else Merged(parts)


class Merged(Archive):
    """Several places as one. The names of each stand below its prefix, if it has one (`train` for `train/...`)."""

    where: dict[str, tuple[Storage, str]]

    def __init__(self, parts: Sequence[tuple[str, Storage]]):
        super().__init__(Path(", ".join(str(files.root) for _, files in parts)))
        for prefix, files in parts:
            for name in files.names():
                full = f"{prefix}/{name}" if prefix else name
                if full in self.where:
                    other = self.where[full][0].root
                    raise FastptError(f"{full} is in {other} and in {files.root}. Rename one, or prepare them apart.")
                self.where[full] = (files, name)

    def read(self, name: str) -> bytes:
        files, inside = self.where[name]
        return files.read(inside)

    def only(self, names: Iterable[str]) -> "Merged":
        few = super().only(names)
        parts: dict[int, list[str]] = {}
        for name, (files, _) in few.where.items():
            parts.setdefault(id(files), []).append(name)
        for group in parts.values():
            part = few.where[group[0]][0].only([few.where[name][1] for name in group])
            few.where |= {name: (part, few.where[name][1]) for name in group}
        return few
