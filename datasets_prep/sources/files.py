"""Named files in a folder or an archive, read in place: listing costs one pass, reading a file costs one seek."""

import errno
import os
import stat
import tarfile
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

from fastpt.errors import FastptError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".jp2")


@dataclass
class Files(ABC):
    """Files by name (relative, with `/`). `read` is safe in forked and spawned processes."""

    root: Path

    @abstractmethod
    def names(self) -> list[str]:
        """All names, sorted."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The whole file."""

    def images(self) -> list[str]:
        """The names of pictures, sorted, without hidden files. Raises FastptError if one is not UTF-8."""
        found = [name for name in self.names() if _is_image(name)]
        for name in found:
            if not name.isascii() and any("\ud800" <= char <= "\udfff" for char in name):
                raise FastptError(f"the file name {name!a} in {self.root} is not UTF-8. Rename the file.")
        return found


class Folder(Files):
    """A folder. Links are followed, but not round in a circle."""

    def names(self) -> list[str]:
        found = []
        for folder, folders, files in os.walk(self.root, followlinks=True, onerror=_unreadable):
            for name in folders:
                inside = Path(folder, name)
                if inside.is_symlink() and Path(folder).resolve().is_relative_to(inside.resolve()):
                    raise FastptError(f"{inside} links back to a folder that it lies in. Take the link away.")
            relative = Path(folder).relative_to(self.root)
            found += [(relative / name).as_posix() for name in files]
        return sorted(found)

    def read(self, name: str) -> bytes:
        # A pipe would be waited for without O_NONBLOCK, for ever.
        descriptor = os.open(self.root / name, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            return file.read()


def _unreadable(error: OSError) -> None:
    raise FastptError(f"the folder {error.filename} cannot be read ({error.strerror}). Mend its permissions.") from None


@dataclass
class Tar(Files):
    """An uncompressed tar. Only regular files count: links and devices are not followed."""

    where: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self):
        with tarfile.open(self.root, "r:") as tar:
            self.where = {
                member.name.removeprefix("./"): (member.offset_data, member.size) for member in tar if member.isreg()
            }

    def names(self) -> list[str]:
        return sorted(self.where)

    def read(self, name: str) -> bytes:
        offset, size = self.where[name]
        with self.root.open("rb") as file:
            return os.pread(file.fileno(), size, offset)


class TarOfTars(Tar):
    """A tar of tars, as ImageNet's train archive: `n01440764.tar` with `a.JPEG` inside is `n01440764/a.JPEG`."""

    def __post_init__(self):
        with tarfile.open(self.root, "r:") as outer:
            for member in outer:
                if member.isreg() and member.name.endswith(".tar"):
                    folder = member.name.removesuffix(".tar")
                    with tarfile.open(fileobj=outer.extractfile(member), mode="r:") as inner:
                        for file in inner:
                            if file.isreg():
                                self.where[f"{folder}/{file.name}"] = (member.offset_data + file.offset_data, file.size)


@dataclass(frozen=True)
class Reader:
    """`read` of a `SourceSplit` whose pictures are files: row i is the file `names[i]`."""

    files: Files
    names: list[str]

    def __call__(self, i: int) -> bytes:
        return self.files.read(self.names[i])


def open_files(path: Path) -> Files:
    """The files in a folder or a `.tar`. Raises FastptError if it cannot be read."""
    try:
        if path.is_dir():
            return Folder(path)
        if not path.exists():
            raise FastptError(f"--source {path} does not exist. Give a folder or a .tar.")
        return Tar(path)
    except (OSError, tarfile.TarError) as error:
        raise FastptError(
            f"--source {path} cannot be read as a folder or a .tar ({error}). Restore or unpack it."
        ) from None


def _is_image(name: str) -> bool:
    base = name.rpartition("/")[2]
    return not base.startswith(".") and base.lower().endswith(IMAGE_SUFFIXES)
