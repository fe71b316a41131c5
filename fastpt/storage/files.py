"""Named files in a folder or an archive, read in place: listing costs one pass, reading a file costs one seek.

Names are only names: nothing is ever written under them, so an archive may call its members what it likes.
"""

import errno
import os
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastpt.errors import FastptError
from fastpt.storage.names import IMAGE_SUFFIXES

LARGEST_FILE = 1 << 28  # bytes; no picture or list is larger, but a member of a hostile archive may claim to be
LARGEST_RATIO = 100  # of an unpacked .tar.gz to the file itself; JPEGs do not shrink at all
ARCHIVE_ERRORS = (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile)


@dataclass
class Storage(ABC):
    """Files by name (relative, with `/`). `read` is safe in forked and spawned processes."""

    root: Path

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
        found = [name for name in self.names() if _is_image(name)]
        for name in found:
            if not name.isascii() and any("\ud800" <= char <= "\udfff" for char in name):
                raise FastptError(f"the file name {name!a} in {self.root} is not UTF-8. Rename the file.")
        return found


class Folder(Storage):
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
            _check_size(os.fstat(descriptor).st_size)
            return file.read()


def _check_size(size: int) -> None:
    if size > LARGEST_FILE:
        raise OSError(errno.EFBIG, f"larger than {LARGEST_FILE >> 20} MiB")


def _unreadable(error: OSError) -> None:
    raise FastptError(f"the folder {error.filename} cannot be read ({error.strerror}). Mend its permissions.") from None


@dataclass
class Tar(Storage):
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
        _check_size(size)
        with self.root.open("rb") as file:
            return os.pread(file.fileno(), size, offset)

    def only(self, names: Iterable[str]) -> "Tar":
        few = object.__new__(type(self))
        few.root, few.where = self.root, {name: self.where[name] for name in names if name in self.where}
        return few


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


@dataclass
class UnpackedTar(Storage):
    """A `.tar.gz`. It cannot be read at a position, so its files are unpacked, once, into one file without a name.

    That file lies in the folder `spill` and goes when the last process that has it open ends, however it ends. It is
    no larger than the unpacked archive; an archive of more than LARGEST_RATIO times its size is refused.
    """

    unpack_dir: Path
    where: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self):
        self.unpack_dir.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=self.unpack_dir)  # noqa: SIM115 - open as long as there are readers
        limit = LARGEST_RATIO * self.root.stat().st_size
        try:
            with tarfile.open(self.root, "r|gz") as tar:
                for member in tar:
                    if not member.isreg():
                        continue
                    offset = self._file.tell()
                    if offset + member.size > limit:
                        raise FastptError(
                            f"{self.root} unpacks to more than {LARGEST_RATIO} times its size, as no archive of "
                            "pictures does. If it is meant to, unpack it and give the folder."
                        )
                    shutil.copyfileobj(tar.extractfile(member), self._file)
                    self.where[member.name.removeprefix("./")] = offset, self._file.tell() - offset
            self._file.flush()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise FastptError(
                f"{self.root} cannot be read in place, and {self.unpack_dir} has no room to unpack it. Make room, "
                "choose another --out, or unpack it elsewhere and give the folder."
            ) from None

    def names(self) -> list[str]:
        return sorted(self.where)

    def read(self, name: str) -> bytes:
        offset, size = self.where[name]
        _check_size(size)
        return os.pread(self._file.fileno(), size, offset)

    def __reduce__(self):
        raise FastptError(f"{self.root} is unpacked for this machine only. For --ray, unpack it and give the folder.")


@dataclass
class Zip(Storage):
    """A zip. Members are stored or deflated; links do not count."""

    where: dict[str, tuple[int, int, int, int, int]] = field(default_factory=dict)

    def __post_init__(self):
        with zipfile.ZipFile(self.root) as archive:
            for member in archive.infolist():
                kind = stat.S_IFMT(member.external_attr >> 16)
                if not member.is_dir() and kind in (0, stat.S_IFREG):
                    self.where[member.filename.removeprefix("./")] = (
                        member.header_offset,
                        member.compress_size,
                        member.file_size,
                        member.CRC,
                        member.compress_type,
                    )

    def names(self) -> list[str]:
        return sorted(self.where)

    def read(self, name: str) -> bytes:
        start, packed, size, crc, method = self.where[name]
        _check_size(max(packed, size))
        with self.root.open("rb") as file:
            header = os.pread(file.fileno(), 30, start)
            if header[:4] != b"PK\3\4" or struct.unpack("<H", header[6:8])[0] & 1:
                raise OSError(errno.EINVAL, "damaged or encrypted in its zip")
            lengths = struct.unpack("<HH", header[26:30])  # of the name and the extra field
            content = os.pread(file.fileno(), packed, start + 30 + sum(lengths))
        if method == zipfile.ZIP_DEFLATED:
            try:
                content = zlib.decompressobj(-15).decompress(content, size + 1)
            except zlib.error as error:
                raise OSError(errno.EINVAL, f"damaged in its zip: {error}") from None
        elif method != zipfile.ZIP_STORED:
            raise OSError(errno.EINVAL, f"compressed by method {method}, which is not read")
        if len(content) != size or zlib.crc32(content) != crc:
            raise OSError(errno.EINVAL, "damaged in its zip: its checksum differs")
        return content

    def only(self, names: Iterable[str]) -> "Zip":
        few = object.__new__(Zip)
        few.root, few.where = self.root, {name: self.where[name] for name in names if name in self.where}
        return few


class Merged(Storage):
    """Several places as one. The names of each stand below its prefix, if it has one (`train` for `train/...`)."""

    def __init__(self, parts: Sequence[tuple[str, Storage]]):
        super().__init__(Path(", ".join(str(files.root) for _, files in parts)))  # as messages name it
        self.where: dict[str, tuple[Storage, str]] = {}
        for prefix, files in parts:
            for name in files.names():
                full = f"{prefix}/{name}" if prefix else name
                if full in self.where:
                    other = self.where[full][0].root
                    raise FastptError(f"{full} is in {other} and in {files.root}. Rename one, or prepare them apart.")
                self.where[full] = (files, name)

    def names(self) -> list[str]:
        return sorted(self.where)

    def read(self, name: str) -> bytes:
        files, inside = self.where[name]
        return files.read(inside)

    def only(self, names: Iterable[str]) -> "Merged":
        few = object.__new__(Merged)
        mine: dict[int, list[str]] = {}
        for name in names:
            if name in self.where:
                mine.setdefault(id(self.where[name][0]), []).append(name)
        few.root, few.where = self.root, {}
        for group in mine.values():
            part = self.where[group[0]][0].only([self.where[name][1] for name in group])
            few.where |= {name: (part, self.where[name][1]) for name in group}
        return few


@dataclass(frozen=True)
class Reader:
    """`read` of a `SplitListing` whose pictures are files: row i is the file `names[i]`."""

    files: Storage
    names: list[str]

    def __call__(self, i: int) -> bytes:
        return self.files.read(self.names[i])

    def take(self, rows: Iterable[int]) -> "Reader":
        names = [self.names[i] for i in rows]
        return Reader(self.files.only(names), names)


def open_files(path: Path, unpack_dir: Path | None = None, tar: type[Tar] = Tar) -> Storage:
    """The files in a folder, a `.tar`, a `.zip` or a `.tar.gz` (see `UnpackedTar`), told by its content, not its name.

    Raises FastptError if it cannot be read.
    """
    if path.is_dir():
        return Folder(path)
    if not path.exists():
        raise FastptError(f"--source {path} does not exist. Give a folder, a .tar, a .tar.gz or a .zip.")
    try:
        magic = _first_bytes(path)
        if magic.startswith(b"PK\3\4"):
            return Zip(path)
        if magic.startswith(b"\x1f\x8b") and unpack_dir is not None:
            return UnpackedTar(path, unpack_dir)
        return tar(path)
    except ARCHIVE_ERRORS as error:
        raise FastptError(
            f"{path} cannot be read as a folder, a .tar, a .tar.gz or a .zip ({error}). Restore or unpack it."
        ) from None


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def _is_image(name: str) -> bool:
    base = name.rpartition("/")[2]
    return not base.startswith(".") and base.lower().endswith(IMAGE_SUFFIXES)
