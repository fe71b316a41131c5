"""The walk over a zip. What lies in one is said before each file and in the directory at the end: both must agree."""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from fastpt.errors import DamagedData
from fastpt.printable import one_line
from fastpt.storage.kind import IGNORING, LONGEST
from fastpt.storage.names import normalised
from fastpt.storage.opened import OpenedFile

END = struct.Struct("<4s4H2LH")  # signature, disk, disk of the directory, entries here, entries, size, start, comment
END_64 = struct.Struct("<4sQ2H2L4Q")  # signature, size, versions, disks, entries here, entries, size, start
LOCATOR_64 = struct.Struct("<4sLQL")  # signature, disk, start of END_64, disks
ENTRY = struct.Struct("<4s6H3L5H2L")
HEADER = struct.Struct("<4s5H3L2H")
MOST_COMMENT = 1 << 16
ENCRYPTED, SIZE_FOLLOWS, UTF_8 = 1, 8, 1 << 11  # flags
UNKNOWN = 0xFFFFFFFF  # a size or a start that stands in the extra field
WITH_BACKSLASHES = (0, 6, 10, 14)  # systems that write them between folders: DOS, OS/2, Windows
UNIX = (3, 19)


class Member(NamedTuple):
    """What is said of a file; sizes and `start`, of its own header, in bytes."""

    start: int
    packed: int
    size: int
    crc: int
    method: int


class Entry(NamedTuple):
    name: str  # with `/`, and one at its end for a folder
    raw: bytes  # the name as it stands there
    member: Member
    flags: int
    mode: int = 0  # of the file as Unix has it, 0 if it is not known


class _Damaged(Exception):
    """A directory that is none; the message says why."""


@dataclass
class ZipWalk:
    """All that lies in the zip `name`, an open file of `end` bytes.

    A zip that is not whole (cut, joined to another, its directory and its headers at odds) raises DamagedData. If
    `damage` is a list, that goes there instead, and what can be read goes on; `lost` names what cannot.
    """

    file: OpenedFile
    name: str
    end: int
    damage: list[str] | None
    lost: dict[str, str] = field(default_factory=dict)
    count: int = 0
    last: str = ""

    def entries(self) -> Iterator[Entry]:
        for entry in self._all():
            self.count, self.last = self.count + 1, entry.name
            yield entry

    def _all(self) -> Iterator[Entry]:
        try:
            listed, top = self._directory()
        except _Damaged as error:
            self._tell(str(error))
            yield from self._scanned(0, self.end)
            return
        at = 0
        for entry in sorted(listed, key=lambda entry: entry.member.start):
            start = entry.member.start
            yield from self._between(at, start)
            following = self._following(entry)
            if start < at or not start < following <= top:
                what = "lies inside another" if start < at else "has a damaged header"
                self._tell(f"{entry.name} at byte {start:,} {what}")
                self.lost[normalised(entry.name)] = "damaged in its zip"
                at = max(at, min(top, start + HEADER.size + entry.member.packed))
                continue
            yield entry
            at = following
        yield from self._between(at, top)

    def _tell(self, what: str) -> None:
        before = f"{self.count:,} members are whole, the last one is {self.last}" if self.count else "nothing was read"
        if self.damage is None:
            message = f"{self.name} is damaged: {what}; {before}. Fetch it anew; {IGNORING}."
            raise DamagedData(one_line(message, LONGEST))
        self.damage.append(one_line(f"{self.name}: {what}; {before}", LONGEST))

    def _directory(self) -> tuple[list[Entry], int]:
        """The entries of the directory, and where it begins."""
        end, comment = self._end_record()
        _, disk, _, _, count, size, start, _ = END.unpack(self.file.pread(END.size, end))
        top = end
        locator = self.file.pread(LOCATOR_64.size, max(0, end - LOCATOR_64.size))
        if locator.startswith(b"PK\6\7"):
            stated = LOCATOR_64.unpack(locator)[2]
            there = max(0, end - LOCATOR_64.size - END_64.size)
            top = next((at for at in (stated, there) if at < end and self._pread(4, at) == b"PK\6\6"), -1)
            if top < 0:
                raise _Damaged("its end record is damaged")
            _, _, _, _, disk, _, _, count, size, start = END_64.unpack(self._pread(END_64.size, top))
        if disk:
            raise _Damaged("it is one part of a zip in several, which have to be joined")
        first = top - size
        if not 0 <= start <= first:
            raise _Damaged("its end record is damaged, or it is cut in front")
        entries = self._read_directory(first, size, count)
        if first > start:
            self._tell(f"{first - start:,} bytes of other data lie in front of it, as where zips were joined")
            moved = first - start
            entries = [one._replace(member=one.member._replace(start=one.member.start + moved)) for one in entries]
        if end + END.size + comment < self.end:
            self._tell(f"other data lie behind its end, at byte {end + END.size + comment:,}")
        return entries, first

    def _end_record(self) -> tuple[int, int]:
        """Where the end record lies, and the length of its comment: the one that ends with the file, else the last."""
        begin = max(0, self.end - END.size - MOST_COMMENT)
        tail = self._pread(self.end - begin, begin)
        found = []
        at = tail.rfind(b"PK\5\6")
        while at >= 0:
            record = tail[at : at + END.size]
            if len(record) == END.size and at + END.size + (comment := END.unpack(record)[-1]) <= len(tail):
                found.append((begin + at, comment))
                if at + END.size + comment == len(tail):
                    return found[-1]
            at = tail.rfind(b"PK\5\6", 0, at)
        if not found:
            raise _Damaged("its end is missing: it is cut, or other data were joined to it")
        return found[0]

    def _read_directory(self, at: int, size: int, count: int) -> list[Entry]:
        content = self._pread(size, at)
        entries, at = [], 0
        while at + ENTRY.size <= size and content[at : at + 4] == b"PK\1\2":
            _, made, _, flags, method, _, _, crc, packed, full, n, m, k, _, _, external, start = ENTRY.unpack_from(
                content, at
            )
            raw = content[at + ENTRY.size : at + ENTRY.size + n]
            extra = _extra(content[at + ENTRY.size + n : at + ENTRY.size + n + m])
            full, packed, start = _long(extra, full, packed, start)
            at += ENTRY.size + n + m + k
            system = made >> 8
            mode = external >> 16 if system in UNIX else 0
            name = _decoded(raw, flags, extra, system)
            entries.append(Entry(name, raw, Member(start, packed, full, crc, method), flags, mode))
        if at > size or len(entries) != count or (at < size and content[at : at + 4] != b"PK\5\5"):  # a signature
            raise _Damaged(f"its directory is damaged, {len(entries):,} of {count:,} entries could be read")
        return entries

    def _following(self, entry: Entry) -> int:
        """Where an entry's content ends; -1 if its own header is not as the directory says."""
        header = self._pread(HEADER.size + len(entry.raw), entry.member.start)
        if len(header) < HEADER.size + len(entry.raw):
            return -1
        signature, _, flags, method, _, _, crc, packed, size, n, m = HEADER.unpack_from(header)
        _, wanted_packed, wanted_size, wanted_crc, wanted_method = entry.member
        same = all(
            found in (wanted, UNKNOWN) or (flags & SIZE_FOLLOWS and found == 0)
            for found, wanted in ((packed, wanted_packed), (size, wanted_size), (crc, wanted_crc))
        )
        if signature != b"PK\3\4" or header[HEADER.size :] != entry.raw or n != len(entry.raw) or not same:
            return -1
        if method != wanted_method or (flags ^ entry.flags) & ENCRYPTED:
            return -1
        return entry.member.start + HEADER.size + n + m + wanted_packed

    def _between(self, at: int, end: int) -> Iterator[Entry]:
        """What lies where no entry of the directory is."""
        if end - at < HEADER.size or (at > 0 and self._find(b"PK\3\4", at, end) == end):
            return  # it has room for no file, or holds none; writers align files, and sign them
        self._tell(f"{end - at:,} bytes at byte {at:,} are not in its directory, as where zips were joined")
        yield from self._scanned(at, end)

    def _scanned(self, at: int, end: int) -> Iterator[Entry]:
        """What headers of files tell between two bytes."""
        while (at := self._find(b"PK\3\4", at, end)) + HEADER.size <= end:
            _, _, flags, method, _, _, crc, packed, size, n, m = HEADER.unpack(self._pread(HEADER.size, at))
            raw, extra = self._pread(n, at + HEADER.size), _extra(self._pread(m, at + HEADER.size + n))
            size, packed, _ = _long(extra, size, packed, 0)
            content = at + HEADER.size + n + m
            name = _decoded(raw, flags, extra, -1)
            member: Member | None = Member(at, packed, size, crc, method)
            if flags & SIZE_FOLLOWS and not flags & ENCRYPTED:
                member = self._measured(member, content, end)
            if member and content + member.packed <= end and name:
                yield Entry(name, raw, member, flags)
                at = content + member.packed
            else:
                self.lost[normalised(name) or f"(at byte {at:,})"] = "cut short"
                at += 4

    def _measured(self, member: Member, start: int, end: int) -> Member | None:
        """A file whose sizes are told behind it, with them; None if it does not end."""
        if member.method == zipfile.ZIP_DEFLATED:
            unpacker, size, crc, at = zlib.decompressobj(-15), 0, 0, start
            while not unpacker.eof:
                chunk = self._pread(min(1 << 16, end - at), at)
                try:
                    content = unpacker.decompress(chunk)
                except zlib.error:
                    return None
                if not chunk or size > end * 1032:
                    return None
                size, crc, at = size + len(content), zlib.crc32(content, crc), at + len(chunk)
            return member._replace(packed=at - len(unpacker.unused_data) - start, size=size, crc=crc)
        at = self._find(b"PK\7\x08", start, end)
        while at < end:
            crc, packed, size = struct.unpack("<3L", self._pread(12, at + 4).ljust(12, b"\0"))
            if packed == at - start == size:
                return member._replace(packed=packed, size=size, crc=crc)
            at = self._find(b"PK\7\x08", at + 4, end)
        return None

    def _find(self, signature: bytes, at: int, end: int) -> int:
        """Where a signature stands first between two bytes; `end` if nowhere."""
        while at < end:
            chunk = self._pread(min(1 << 20, end - at), at)
            found = chunk.find(signature)
            if found >= 0:
                return at + found
            if len(chunk) < 1 << 20:
                break
            at += len(chunk) - len(signature) + 1
        return end

    def _pread(self, size: int, at: int) -> bytes:
        return self.file.pread(size, at) if size > 0 and 0 <= at < self.end else b""


def _extra(content: bytes) -> dict[int, bytes]:
    """The extra fields by their number."""
    fields, at = {}, 0
    while at + 4 <= len(content):
        number, size = struct.unpack_from("<2H", content, at)
        fields.setdefault(number, content[at + 4 : at + 4 + size])
        at += 4 + size
    return fields


def _long(extra: dict[int, bytes], size: int, packed: int, start: int) -> tuple[int, int, int]:
    """Size, packed size and start, from the extra field of Zip64 where the header has no room for them."""
    values = extra.get(1, b"")
    found = []
    for value in (size, packed, start):
        if value == UNKNOWN and len(values) >= 8:
            value, values = int.from_bytes(values[:8], "little"), values[8:]
        found.append(value)
    return found[0], found[1], found[2]


def _decoded(raw: bytes, flags: int, extra: dict[int, bytes], system: int) -> str:
    """A name, in which Windows wrote backslashes. Unix writes UTF-8 without saying so; others write code page 437."""
    told = extra.get(0x7075, b"")
    if len(told) > 5 and told[0] == 1 and int.from_bytes(told[1:5], "little") == zlib.crc32(raw):
        raw, flags = told[5:], UTF_8
    try:
        name = raw.decode("utf-8" if flags & UTF_8 or system not in WITH_BACKSLASHES else "cp437")
    except UnicodeDecodeError:
        name = raw.decode("utf-8", "surrogateescape") if flags & UTF_8 else raw.decode("cp437")
    if system in WITH_BACKSLASHES or (system < 0 and "/" not in name):
        name = name.replace("\\", "/")
    return name.partition("\0")[0]
