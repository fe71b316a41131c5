"""The walk over a tar, entry by entry, which tells whether it is whole. All that looks into a tar walks so.

Python's `tarfile` ends without a word where a header is damaged, and at the first end mark of joined tars.
"""

from collections.abc import Iterator
from typing import NamedTuple

from fastpt.errors import DamagedData
from fastpt.printable import one_line
from fastpt.storage.kind import IGNORING, LONGEST
from fastpt.storage.opened import OpenedFile

BLOCK = 512  # bytes; all in a tar begins at a multiple of it
ZEROS = bytes(BLOCK)
LARGEST_NOTE = 1 << 20  # bytes of a long name or of pax records; a hostile tar may claim more
CHUNK = 1 << 20  # bytes read at once where headers are looked for

FILE, FOLDER, HARD_LINK, SYMBOLIC_LINK = "a file", "a folder", "a hard link", "a symbolic link"
CUT = "cut short"
KINDS = {  # by the type of a header; those that are missing have content behind them, as files have
    b"0": FILE,
    b"\0": FILE,
    b"7": FILE,  # contiguous, which no system knows
    b"1": HARD_LINK,
    b"2": SYMBOLIC_LINK,
    b"3": "a device",
    b"4": "a device",
    b"5": FOLDER,
    b"6": "a pipe",
    b"D": FOLDER,  # with its list of files, of GNU's incremental tars
    b"M": "the rest of a member of another tar",
    b"V": "the label of a tar",
}
WITHOUT_CONTENT = b"123456"  # whatever size their header states
NOTES = b"LKxXg"  # headers that tell of the next one: long names, and pax records


class Member(NamedTuple):
    """One entry of a tar; its content is `size` bytes from byte `start` of the file on."""

    name: str  # as it stands in the tar
    kind: str
    start: int
    size: int
    target: str = ""  # of links


class Damaged(Exception):
    """A header that is none. The message says why; `of_next` if it told of the next one, such as its long name."""

    def __init__(self, message: str, of_next: bool):
        super().__init__(message)
        self.of_next = of_next


def is_tar(start: bytes) -> bool:
    """Whether the first block of a file is the header of a tar."""
    return len(start) == BLOCK and _checksum_holds(start)


def walk(file: OpenedFile, name: str, start: int, end: int, damage: list[str] | None = None) -> Iterator[Member]:
    """All entries of the tar `name` that lies in an open file from byte `start` to byte `end`.

    A tar that is not whole (cut, joined to another, with a damaged header) raises DamagedData, which names it, its last
    good member and how many were read. If `damage` is a list, that goes there instead, and what can be read goes on.
    """
    at, count, last = start, 0, ""
    held: Member | None = None  # it ends at `at`, and is not handed out before what follows it is looked at
    common: dict[str, str] = {}  # pax records of all members from here on

    def tell(what: str) -> None:
        before = f"{count:,} members were read before, the last one is {last}" if count else "nothing was read before"
        if damage is None:
            verdict = "is damaged" if count else "cannot be read as a .tar"
            raise DamagedData(one_line(f"{name} {verdict}: {what}; {before}. Fetch it anew; {IGNORING}.", LONGEST))
        damage.append(one_line(f"{name}: {what}; {before}", LONGEST))

    while at + BLOCK <= end:
        padding = -held.size % BLOCK if held else 0
        read = file.pread(padding + BLOCK, at - padding)
        if held and read[:padding].strip(b"\0") and (cut := _cut_short(file, held, at, end)):
            tell(f"it is cut inside {held.name}, and joined to another")
            yield cut
            held, at = None, cut.start + cut.size
            continue
        if read[padding:] == ZEROS:
            data = next_data(file, at, end)
            if data == end:
                break
            at = data - (data - at) % BLOCK
            tell(f"data lie behind its end mark, at byte {at:,}, as where tars were joined")
        try:
            member, following = _entry(file, at, end, common)
        except Damaged as error:
            tell(f"{error}, at byte {at:,}")
            found = _next_header(file, at + 1, end)
            if error.of_next and found < end:
                found = _next_header(file, found + 1, end)
            if held and (cut := _cut_short(file, held, at, end)):
                held, found = cut, cut.start + cut.size
            if held:
                yield held
            held, at = None, found
            continue
        if held:
            yield held
        if member.start + member.size > end:
            tell(f"it is cut inside {member.name}")
            held = member._replace(kind=CUT, size=end - member.start)
            break
        held, at, count, last = member, following, count + 1, member.name
    else:
        tell("it is cut, its end mark is missing" if at >= end else f"it is cut inside a header, at byte {at:,}")
    if held:
        yield held


def _cut_short(file: OpenedFile, member: Member, at: int, end: int) -> Member | None:
    """What is there of a member that should end at byte `at`, if another tar's header lies inside it."""
    inside = _next_header(file, member.start, min(end, at + BLOCK - 1))
    return member._replace(kind=CUT, size=inside - member.start) if inside < at else None


def _entry(file: OpenedFile, at: int, end: int, common: dict[str, str]) -> tuple[Member, int]:
    """The entry whose header, or what tells of its header, begins at byte `at`; and where the next one begins."""
    notes: dict[str, str] = {}
    while True:
        block = file.pread(BLOCK, at) if at + BLOCK <= end else b""
        if not block:
            raise Damaged("it is cut inside a header", False)
        kind, start = block[156:157], at + BLOCK
        if not _checksum_holds(block):
            looks = kind in NOTES or b"@LongLink" in block or b"PaxHeader" in block
            raise Damaged("a header has a wrong checksum", looks)
        size = _number(block[124:136])
        if size < 0:
            raise Damaged("a header has no size", kind in NOTES)
        at = start + size + -size % BLOCK
        if kind not in NOTES:
            break
        if size > LARGEST_NOTE:
            raise Damaged(f"a header has a name of {size:,} bytes", True)
        if at > end:
            raise Damaged("it is cut inside a header", True)
        content = file.pread(size, start)
        if kind == b"L":
            notes["path"] = _text(content)
        elif kind == b"K":
            notes["linkpath"] = _text(content)
        else:
            (common if kind == b"g" else notes).update(_pax_records(content))
    notes = {**common, **notes}
    if "size" in notes:
        if not (notes["size"].isdecimal() and len(notes["size"]) < 20):
            raise Damaged("a header has no size", False)
        size = int(notes["size"])
    name = notes.get("GNU.sparse.name") or notes.get("path") or _name(block)
    what = KINDS.get(kind, f"a member of the unknown type {kind.decode('latin-1')!a}")
    if kind == b"S":
        more = block[482]
        while more:
            more = (file.pread(BLOCK, start) if start + BLOCK <= end else ZEROS)[504:505] > b"\0"
            start += BLOCK
        what = f"a sparse member of {_number(block[483:495]):,} bytes"
    elif sparse := [key for key in notes if key.startswith("GNU.sparse.")]:
        of = notes.get("GNU.sparse.realsize") or notes.get("GNU.sparse.size") or notes[sparse[0]]
        what = f"a sparse member of {of[:30]} bytes"
    elif what == FILE and name.endswith("/") and size == 0:
        what = FOLDER
    if kind in WITHOUT_CONTENT:
        size = 0
    target = notes.get("linkpath") or _text(block[157:257])
    return Member(name, what, start, size, target), start + size + -size % BLOCK


def _checksum_holds(block: bytes) -> bool:
    stated = _number(block[148:156])
    rest = block[:148] + b" " * 8 + block[156:]
    total = sum(rest)
    return stated == total or stated == total - 256 * sum(byte > 127 for byte in rest)  # of signed bytes, in old ones


def _number(digits: bytes) -> int:
    """A number of a header; -1 if it is none."""
    if digits[0] == 0x80:
        return int.from_bytes(digits[1:])
    try:
        return int(digits.strip(b"\0 ") or b"0", 8)
    except ValueError:
        return -1


def _name(block: bytes) -> str:
    """The name in a header: two parts in POSIX's; GNU's has other things where the first one lies."""
    name = _text(block[:100])
    before = _text(block[345 : 476 if block.endswith(b"tar\0") else 500])
    return f"{before}/{name}" if before and block[257:263] == b"ustar\0" else name


def _text(content: bytes) -> str:
    return content.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _pax_records(content: bytes) -> dict[str, str]:
    """Records of the form `length key=value\\n`."""
    records = {}
    content = content.rstrip(b"\0")
    while content:
        digits = content[:20].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        key, equals, value = content[len(digits) + 1 : length].partition(b"=")
        if not equals or not value.endswith(b"\n") or length > len(content):
            raise Damaged("a header has damaged pax records", True)
        records[key.decode("utf-8", "surrogateescape")] = value[:-1].decode("utf-8", "surrogateescape")
        content = content[length:]
    return records


def next_data(file: OpenedFile, at: int, end: int) -> int:
    """The first byte from `at` on that is not zero, `end` if there is none."""
    while at < end:
        try:
            at = max(at, min(end, file.data_from(at)))
        except OSError:  # nothing but holes
            return end
        chunk = file.pread(min(CHUNK, end - at), at)
        rest = chunk.lstrip(b"\0")
        if rest:
            return at + len(chunk) - len(rest)
        at += len(chunk)
    return end


def _next_header(file: OpenedFile, at: int, end: int) -> int:
    """Where the next header begins, `end` if there is none: only a magic number and a checksum that holds make one."""
    while at + BLOCK <= end:
        chunk = file.pread(min(CHUNK, end - at), at)
        magic = chunk.find(b"ustar")
        while magic >= 0:
            block = chunk[magic - 257 : magic - 257 + BLOCK] if magic >= 257 else b""
            if is_tar(block):
                return at + magic - 257
            magic = chunk.find(b"ustar", magic + 1)
        if len(chunk) < BLOCK:
            return end
        at += len(chunk) - BLOCK + 1
    return end
