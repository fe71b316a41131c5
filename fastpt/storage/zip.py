"""Zip archives, read where they lie: their files by name."""

import errno
import stat
import zipfile
import zlib
from dataclasses import dataclass, field

from fastpt.storage.kind import Archive
from fastpt.storage.names import normalised
from fastpt.storage.opened import OpenedFile, check_size
from fastpt.storage.zip_walk import ENCRYPTED, HEADER, Entry, Member, ZipWalk

NAMES = 512  # bytes that the name and the extra field of a file take, but for few
LONGEST_TARGET = 4096  # bytes of a link


@dataclass
class Zip(Archive):
    """A zip. Members are stored or deflated; symbolic links to what lies in it are files like those they lead to."""

    where: dict[str, Member] = field(default_factory=dict, init=False)

    def __post_init__(self):
        with self._listing() as file:
            damage = [] if self.ignore_damage else None
            walked = ZipWalk(file, str(self.root), self._stamp[0], damage)
            links, folders = {}, set()
            for entry in walked.entries():
                name, member = normalised(entry.name), entry.member
                kind = stat.S_IFMT(entry.mode)
                if entry.name.endswith("/"):
                    folders.add(name)
                elif odd := _odd(entry):
                    self.odd[name] = odd
                elif kind == stat.S_IFLNK:
                    links[name] = _target(file, name, member)
                else:
                    self._add(name, member, f"at byte {member.start:,}")
            self.odd |= walked.lost
            self._follow(links)
            self._tell_empty(folders)
            self.damage = tuple(damage or ())

    def read(self, name: str) -> bytes:
        member = self.where[name]
        check_size(max(member.packed, member.size))
        with self._reading() as file:
            content = _content(file, member, member.size + 1)
        if len(content) != member.size or zlib.crc32(content) != member.crc:
            raise OSError(errno.EINVAL, "damaged in its zip: its checksum differs")
        return content

    def head(self, name: str, size: int = 64) -> bytes:
        with self._reading() as file:
            return _content(file, self.where[name], size)


def _target(file: OpenedFile, name: str, member: Member) -> str:
    """Where a symbolic link leads to, inside the archive."""
    try:
        target = _content(file, member, LONGEST_TARGET).decode("utf-8", "surrogateescape")
    except OSError:
        return "a damaged link"  # to nothing
    return normalised(target if target.startswith("/") else f"{name.rpartition('/')[0]}/{target}")


def _odd(entry: Entry) -> str:
    """What an entry is that cannot be read as a file, if it is such a one."""
    kind, method = stat.S_IFMT(entry.mode), entry.member.method
    if kind not in (0, stat.S_IFREG, stat.S_IFLNK):
        return {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}.get(kind, "a device")
    if entry.flags & ENCRYPTED:
        return "an encrypted file"
    if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"a file compressed by method {method}, which is not read"
    return ""


def _content(file: OpenedFile, member: Member, size: int) -> bytes:
    """The first `size` bytes of a file, which its checksum has not been held against. Raises OSError."""
    wanted = min(member.packed, size if member.method == zipfile.ZIP_STORED else 2 * size + 1024)
    found = file.pread(HEADER.size + NAMES + wanted, member.start)  # at an address, a read is a request
    if len(found) < HEADER.size or found[:4] != b"PK\3\4":
        raise OSError(errno.EINVAL, "damaged in its zip")
    start = HEADER.size + sum(HEADER.unpack_from(found)[-2:])  # lengths of the name and the extra field
    content = found[start : start + wanted]
    if len(content) < wanted:
        content += file.pread(wanted - len(content), member.start + start + len(content))
    if member.method == zipfile.ZIP_STORED:
        return content
    unpacker = zlib.decompressobj(-15)
    try:
        return unpacker.decompress(content, size)
    except zlib.error as error:
        raise OSError(errno.EINVAL, f"damaged in its zip: {error}") from None
