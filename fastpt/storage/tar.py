"""Tars, read where they lie. All that looks into a tar walks over it with `regular_files`."""

import errno
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from fastpt.errors import FastptError
from fastpt.storage.kind import Archive, check_size, unreadable
from fastpt.storage.names import IMAGE_SUFFIXES, well_formed

LARGEST_RATIO = 100  # of an unpacked .tar.gz to the file itself; JPEGs do not shrink at all


def regular_files(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The regular files of a tar, as they lie. Links and devices do not count: nothing is followed."""
    return (member for member in tar if member.isreg())


def opened(tar: tarfile.TarFile, file: tarfile.TarInfo) -> IO[bytes]:
    """A regular file of a tar, for reading."""
    return cast(IO[bytes], tar.extractfile(file))


# --- files by name ------------------------------------------------------------------------------------------------


@dataclass
class Tar(Archive):
    """An uncompressed tar."""

    where: dict[str, tuple[int, int]] = field(default_factory=dict)  # offset and size, bytes

    def __post_init__(self):
        with tarfile.open(self.root, "r:") as tar:
            self.where = {_name(file): (file.offset_data, file.size) for file in regular_files(tar)}

    def read(self, name: str) -> bytes:
        offset, size = self.where[name]
        check_size(size)
        with self.root.open("rb") as file:
            return os.pread(file.fileno(), size, offset)


class TarOfTars(Tar):
    """A tar of tars, as ImageNet's train archive: `n01440764.tar` with `a.JPEG` inside is `n01440764/a.JPEG`."""

    def __post_init__(self):
        with tarfile.open(self.root, "r:") as outer:
            for member in regular_files(outer):
                if member.name.endswith(".tar"):
                    folder = member.name.removesuffix(".tar")
                    with tarfile.open(fileobj=opened(outer, member), mode="r:") as inner:
                        for file in regular_files(inner):
                            self.where[f"{folder}/{file.name}"] = (member.offset_data + file.offset_data, file.size)


@dataclass
class UnpackedTar(Archive):
    """A `.tar.gz`. It cannot be read at a position, so its files are unpacked, once, into one file without a name.

    That file lies in `unpack_dir` and goes when the last process that has it open ends, however it ends. It is no
    larger than the unpacked archive; an archive of more than LARGEST_RATIO times its size is refused.
    """

    unpack_dir: Path = Path()
    where: dict[str, tuple[int, int]] = field(default_factory=dict)  # offset and size, bytes

    def __post_init__(self):
        self.unpack_dir.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=self.unpack_dir)  # noqa: SIM115 - open as long as there are readers
        limit = LARGEST_RATIO * self.root.stat().st_size
        try:
            with tarfile.open(self.root, "r|gz") as tar:
                for member in regular_files(tar):
                    offset = self._file.tell()
                    if offset + member.size > limit:
                        raise FastptError(
                            f"{self.root} unpacks to more than {LARGEST_RATIO} times its size, as no archive of "
                            "pictures does. If it is meant to, unpack it and give the folder."
                        )
                    shutil.copyfileobj(opened(tar, member), self._file)
                    self.where[_name(member)] = offset, self._file.tell() - offset
            self._file.flush()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise FastptError(
                f"{self.root} cannot be read in place, and {self.unpack_dir} has no room to unpack it. Make room, "
                "choose another --out, or unpack it elsewhere and give the folder."
            ) from None

    def read(self, name: str) -> bytes:
        offset, size = self.where[name]
        check_size(size)
        return os.pread(self._file.fileno(), size, offset)

    def only(self, names) -> "UnpackedTar":
        return self  # the file without a name goes nowhere else

    def __reduce__(self):
        raise FastptError(f"{self.root} is unpacked for this machine only. For --ray, unpack it and give the folder.")


def _name(file: tarfile.TarInfo) -> str:
    return file.name.removeprefix("./")


# --- WebDataset: the files of one sample share a key and differ in suffix -----------------------------------------


@contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """An uncompressed tar. Raises FastptError if it cannot be opened, or read further inside the `with`."""
    try:
        with tarfile.open(path, "r:") as tar:
            yield tar
    except (OSError, tarfile.TarError) as error:
        message = f"{path} cannot be read as a .tar ({error}). Fetch it anew, or leave it out."
        raise unreadable(message, error) from None


def keyed_files(tar: tarfile.TarFile) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
    """(key, suffix, file) of each regular file of a tar, as they lie.

    The key is the name up to the first dot of its last part, below the tar's own stem, since tars may repeat keys; the
    suffix is the rest in lower case. Raises FastptError if two files are pictures of one key.
    """
    path = Path(cast(str, tar.name))
    pictures: dict[str, str] = {}
    for file in regular_files(tar):
        folder, _, base = file.name.rpartition("/")
        stem, dot, rest = base.partition(".")
        if not stem:
            continue
        key = well_formed("/".join(filter(None, (path.stem, folder, stem))))
        suffix = f"{dot}{rest}".lower()
        if suffix in IMAGE_SUFFIXES:
            if key in pictures:
                raise FastptError(
                    f"{path} has two pictures of one key: {pictures[key]} and {file.name}. Take one out, or rename it."
                )
            pictures[key] = file.name
        yield key, suffix, file
