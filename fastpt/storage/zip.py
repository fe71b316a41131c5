"""Zip archives."""

import errno
import os
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import NamedTuple

from fastpt.storage.kind import Archive, check_size
from fastpt.storage.names import normalised


class Member(NamedTuple):
    """What the directory of a zip says of a file; sizes and `start`, of its own header, in bytes."""

    start: int
    packed: int
    size: int
    crc: int
    method: int


@dataclass
class Zip(Archive):
    """A zip. Members are stored or deflated; links do not count."""

    where: dict[str, Member] = field(default_factory=dict, init=False)

    def __post_init__(self):
        with self._listing() as file, zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if not info.is_dir() and kind in (0, stat.S_IFREG):
                    member = Member(
                        info.header_offset, info.compress_size, info.file_size, info.CRC, info.compress_type
                    )
                    self._add(normalised(info.filename), member, f"at byte {info.header_offset:,}")

    def head(self, name: str, size: int = 64) -> bytes:
        return self.read(name)[:size]

    def read(self, name: str) -> bytes:
        start, packed, size, crc, method = self.where[name]
        check_size(max(packed, size))
        with self._reading() as file:
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
