"""Compressed tars: `.tar.gz`, `.tar.bz2`, `.tar.xz`."""

import bz2
import contextlib
import errno
import lzma
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fastpt.errors import DamagedData, FastptError
from fastpt.storage.kind import IGNORING
from fastpt.storage.tar import Tar, next_data

LARGEST_RATIO = 100  # of what is unpacked to the file itself; JPEGs do not shrink at all
SLACK = 1 << 20  # bytes that any file may unpack to; headers of small files shrink by more than that ratio
CHUNK = 4096  # bytes unpacked at once; xz makes 30 MB of it, if somebody means it
DECOMPRESSORS = {
    b"\x1f\x8b": lambda: zlib.decompressobj(31),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": lambda: lzma.LZMADecompressor(memlimit=1 << 30),
}
PACKINGS = tuple(DECOMPRESSORS)


@dataclass
class UnpackedTar(Tar):
    """A `.tar.gz`, `.tar.bz2` or `.tar.xz`. It cannot be read at a position, so it is unpacked, once, into one file
    without a name.

    That file lies in `unpack_dir` and goes when the last process that has it open ends, however it ends. An archive
    that unpacks to more than LARGEST_RATIO times its size is refused.
    """

    unpack_dir: Path = Path()

    def _list(self, descriptor: int, end: int, damage: list[str] | None) -> None:
        self.unpack_dir.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=self.unpack_dir)  # noqa: SIM115 - open as long as there are readers
        limit = LARGEST_RATIO * end + SLACK
        try:
            for content in _unpacked(descriptor, str(self.root), damage):
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
                f"{self.root} cannot be read in place, and {self.unpack_dir} has no room to unpack it. Make room, "
                "choose another --out, or unpack it elsewhere and give the folder."
            ) from None
        super()._list(self._file.fileno(), self._file.tell(), damage)

    @contextmanager
    def _reading(self) -> Iterator[IO[bytes]]:
        yield self._file

    def only(self, names: Iterable[str]) -> "UnpackedTar":
        return self  # the file without a name goes nowhere else

    def __reduce__(self):
        raise FastptError(f"{self.root} is unpacked for this machine only. For --ray, unpack it and give the folder.")


def _unpacked(descriptor: int, name: str, damage: list[str] | None) -> Iterator[bytes]:
    """What a compressed file holds, piece by piece: of all its parts, each held against its own checksum and length.

    What is damaged raises DamagedData, or goes to the list `damage`; then nothing behind it is unpacked.
    """

    def tell(what: str) -> None:
        if damage is None:
            raise DamagedData(f"{name} is damaged: {what}. Fetch it anew; {IGNORING}.")
        damage.append(f"{name}: {what}")

    at, end = 0, os.fstat(descriptor).st_size
    kind = next(kind for kind in PACKINGS if os.pread(descriptor, len(kind), 0) == kind)
    while at < end:
        unpacker = DECOMPRESSORS[kind]()
        while not unpacker.eof:
            chunk = os.pread(descriptor, CHUNK, at)
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
        at = next_data(descriptor, at, end)  # zeros may follow, as on tapes
        if at < end and os.pread(descriptor, len(kind), at) != kind:
            return tell(f"other data lie behind its end, at byte {at:,}")
    return None


def _singly(unpacker: Any, chunk: bytes) -> Iterator[bytes]:
    """What can be had of a damaged chunk, byte by byte."""
    with contextlib.suppress(zlib.error):
        for byte in chunk if unpacker else b"":
            yield unpacker.decompress(bytes([byte]))
