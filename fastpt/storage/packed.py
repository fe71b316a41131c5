"""Compressed tars: `.tar.gz`, `.tar.bz2`, `.tar.xz`, `.tar.zst`."""

import bz2
import contextlib
import errno
import lzma
import os
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fastpt.errors import DamagedData, FastptError
from fastpt.storage.kind import IGNORING
from fastpt.storage.opened import LocalFile, OpenedFile, SeekableFile
from fastpt.storage.opening import open_regular
from fastpt.storage.tar import Tar
from fastpt.storage.tar_walk import next_data

LARGEST_RATIO = 100  # of what is unpacked to the file itself; JPEGs do not shrink at all
SLACK = 1 << 20  # bytes that any file may unpack to; headers of small files shrink by more than that ratio
CHUNK = 4096  # bytes unpacked at once; xz makes 30 MB of it, if somebody means it
ZSTANDARD_CHUNK = 1 << 16  # bytes read of what was unpacked
DECOMPRESSORS = {
    b"\x1f\x8b": lambda: zlib.decompressobj(31),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": lambda: lzma.LZMADecompressor(memlimit=1 << 30),
}
ZSTANDARD = b"\x28\xb5\x2f\xfd"
PACKINGS = (*DECOMPRESSORS, ZSTANDARD)


def is_packed(path: Path) -> bool:
    """Whether a file begins as those do that can be unpacked; False if it cannot be read."""
    try:
        with open_regular(path) as file:
            return file.pread(max(map(len, PACKINGS)), 0).startswith(PACKINGS)
    except OSError:
        return False


def nameless_file(folder: Path) -> IO[bytes]:
    """A file without a name in `folder`, which goes when the last process that has it open ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=folder)


@dataclass
class UnpackedTar(Tar):
    """A `.tar.gz`, `.tar.bz2`, `.tar.xz` or `.tar.zst`. It cannot be read at a position, so it is unpacked, once, at
    the end of a `file` without a name, its own in `unpack_dir` if none is given.

    An archive that unpacks to more than LARGEST_RATIO times its size is refused.
    """

    unpack_dir: Path = Path()
    file: IO[bytes] | None = None

    def _list(self, file: OpenedFile, end: int, damage: list[str] | None, start: int = 0) -> None:
        self._file = self.file or nameless_file(self.unpack_dir)
        start = self._file.seek(0, os.SEEK_END)
        limit = start + LARGEST_RATIO * end + SLACK
        try:
            for content in _unpacked(file, str(self.root), damage):
                if self._file.tell() + len(content) > limit:
                    raise FastptError(
                        f"{self.root} unpacks to more than {LARGEST_RATIO} times its size, as no archive of "
                        "pictures does. If it is meant to, unpack it and give the folder."
                    )
                self._file.write(content)
            self._file.flush()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise FastptError(
                f"{self.root} cannot be read in place, and there is no room to unpack it beside what is prepared. Make "
                "room, choose another --out, or unpack it elsewhere and give the folder."
            ) from None
        with self._reading() as unpacked:
            super()._list(unpacked, self._file.tell(), damage, start)

    def _no_tar(self, kind: str) -> str:
        return f"{self.root} is packed, and holds no tar, but {kind}. Unpack it, or leave it out."

    def _reading(self) -> OpenedFile:
        return LocalFile(os.dup(self._file.fileno()))

    def only(self, names: Iterable[str]) -> "UnpackedTar":
        return self  # the file without a name goes nowhere else

    def __reduce__(self):
        raise FastptError(f"{self.root} is unpacked for this machine only. For --ray, unpack it and give the folder.")


def _unpacked(file: OpenedFile, name: str, damage: list[str] | None) -> Iterator[bytes]:
    """What a compressed file holds, piece by piece: of all its parts, each held against its own checksum and length.

    What is damaged raises DamagedData, or goes to the list `damage`; then nothing behind it is unpacked.
    """

    def tell(what: str) -> None:
        if damage is None:
            raise DamagedData(f"{name} is damaged: {what}. Fetch it anew; {IGNORING}.")
        damage.append(f"{name}: {what}")

    at, end = 0, file.stamp[0]
    if file.pread(len(ZSTANDARD), 0) == ZSTANDARD:
        yield from _unpacked_zstandard(file, tell)
        return None
    kind = next(kind for kind in PACKINGS if file.pread(len(kind), 0) == kind)
    while at < end:
        unpacker = DECOMPRESSORS[kind]()
        while not unpacker.eof:
            chunk = file.pread(CHUNK, at)
            if not chunk:
                return tell(f"it is cut, behind {at:,} bytes the rest of what was compressed is missing")
            before = unpacker.copy() if damage is not None and hasattr(unpacker, "copy") else None
            try:
                content = unpacker.decompress(chunk)
            except (zlib.error, lzma.LZMAError, OSError, ValueError) as error:
                tell(f"what was compressed is not what it was ({error}), near byte {at:,}")
                yield from _singly(before, chunk)
                return None
            at += len(chunk) - len(unpacker.unused_data)
            yield content
        at = next_data(file, at, end)  # zeros may follow, as on tapes
        if at < end and file.pread(len(kind), at) != kind:
            return tell(f"other data lie behind its end, at byte {at:,}")
    return None


def _unpacked_zstandard(file: OpenedFile, tell: Callable[[str], None]) -> Iterator[bytes]:
    import pyarrow as pa

    with pa.input_stream(SeekableFile(file), compression="zstd") as stream:
        while True:
            try:
                content = stream.read(ZSTANDARD_CHUNK)
            except OSError as error:
                tell(f"what was compressed is cut, or not what it was ({error})")
                return
            if not content:
                return
            yield content


def _singly(unpacker: Any, chunk: bytes) -> Iterator[bytes]:
    """What can be had of a damaged chunk, byte by byte."""
    with contextlib.suppress(zlib.error):
        for byte in chunk if unpacker else b"":
            yield unpacker.decompress(bytes([byte]))
