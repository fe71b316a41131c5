"""Opening a file wherever it lies: on a disk, or at an address."""

import errno
from pathlib import Path

from fastpt.storage import transfer
from fastpt.storage.address import RemotePath
from fastpt.storage.opened import OpenedFile, SeekableFile, Stamp, changed, gone, open_on_disk, stamp_of
from fastpt.storage.ranges import RemoteFile, WalkedFile


def open_regular(path: Path) -> OpenedFile:
    """A file for reading at positions. Raises OSError if it is no regular file."""
    return RemoteFile(path, stamp_at(path)) if isinstance(path, RemotePath) else open_on_disk(path)


def open_walked(path: Path) -> OpenedFile:
    """The same for what goes through the file in small steps."""
    return WalkedFile(path, stamp_at(path)) if isinstance(path, RemotePath) else open_on_disk(path)


def open_unchanged(path: Path, listed: Stamp) -> OpenedFile:
    """The same as long as it is the file that was `listed`. Raises FastptError if it changed or is gone."""
    if isinstance(path, RemotePath):
        return RemoteFile(path, listed)  # whose reads ask for no other
    try:
        file = open_on_disk(path)
    except FileNotFoundError:
        raise gone(path) from None
    if file.stamp != listed:
        file.close()
        raise changed(path, listed, file.stamp)
    return file


def for_arrow(path: Path) -> Path | SeekableFile:
    """A file as pyarrow reads it."""
    return SeekableFile(open_regular(path)) if isinstance(path, RemotePath) else path


def stamp_at(path: Path) -> Stamp:
    """By what a file is known. Raises OSError if there is none."""
    if not isinstance(path, RemotePath):
        return stamp_of(path.stat())
    found = transfer.look_up(path)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
    if found == "folder":
        raise IsADirectoryError(errno.EISDIR, "not a file", str(path))
    return found
