"""Tars, read where they lie. All that looks into a tar walks over it with `walk`, which tells whether it is whole.

Python's `tarfile` ends without a word where a header is damaged, and at the first end mark of joined tars.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from fastpt.errors import DamagedData, FastptError
from fastpt.printable import one_line
from fastpt.storage.kind import IGNORING, LONGEST, Archive
from fastpt.storage.names import IMAGE_SUFFIXES, hidden_part, normalised, well_formed
from fastpt.storage.opened import LARGEST_FILE, OpenedFile, check_size
from fastpt.storage.sniff import sniff

BLOCK = 512  # bytes; all in a tar begins at a multiple of it
ZEROS = bytes(BLOCK)
LARGEST_NOTE = 1 << 20  # bytes of a long name or of pax records; a hostile tar may claim more
CHUNK = 1 << 20  # bytes read at once where headers are looked for
LARGEST_KEPT = 1 << 16  # bytes of a file whose content is kept from the walk

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
PACKED = ("gzip", "bzip2", "xz", "Zstandard", "zip")
ENDING = re.compile(r"(\.tar(\.(gz|bz2|xz|zst))?|\.t(gz|bz2?|xz|zst)|\.[^.]*)$", re.IGNORECASE)
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
        if (
            held
            and read[:padding].strip(b"\0")
            and (inside := _next_header(file, held.start, min(end, at + BLOCK - 1))) < at
        ):
            tell(f"it is cut inside {held.name}, and joined to another")
            yield held._replace(kind=CUT, size=inside - held.start)
            held, at = None, inside
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
            if (
                held and (inside := _next_header(file, held.start, min(end, at + BLOCK - 1))) < at
            ):  # cut, and joined to another
                held, found = held._replace(kind=CUT, size=inside - held.start), inside
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


# --- files by name ------------------------------------------------------------------------------------------------


@dataclass
class Tar(Archive):
    """An uncompressed tar. Hard links, and symbolic links to what lies in it, are files like those they lead to.

    Of files whose name ends in one of `keep` the content is kept while the tar is walked over, if it is short: they are
    read without going back.
    """

    where: dict[str, tuple[int, int]] = field(default_factory=dict, init=False)  # offset and size, bytes
    keep: tuple[str, ...] = ()
    _kept: dict[str, bytes] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self):
        with self._listing() as file:
            damage = [] if self.ignore_damage else None
            self._list(file, self._stamp[0], damage)
            self.damage = tuple(damage or ())

    def _list(self, file: OpenedFile, end: int, damage: list[str] | None, start: int = 0) -> None:
        head = file.pread(BLOCK, start)
        kind = None if is_tar(head) else sniff(head)
        if kind and kind != "zeros":  # those end a tar
            raise DamagedData(self._no_tar(kind))
        self._add_members(self._keeping(file, walk(file, str(self.root), start, end, damage)))

    def _no_tar(self, kind: str) -> str:
        cure = "Unpack it" if kind in PACKED else "Fetch it anew"
        return f"{self.root} cannot be read as a .tar: it is {kind}. {cure}, or leave it out."

    def _keeping(self, file: OpenedFile, members: Iterator[Member]) -> Iterator[Member]:
        for member in members:
            if member.kind == FILE and member.size <= LARGEST_KEPT and member.name.lower().endswith(self.keep):
                self._kept[normalised(member.name)] = file.pread(member.size, member.start)
            yield member

    def _add_members(self, members: Iterator[Member], prefix: str = "") -> None:
        links, folders = {}, set()
        for member in members:
            name = prefix + normalised(member.name)
            target = prefix + normalised(member.target)
            if member.kind == FILE:
                self._add(name, (member.start, member.size), f"at byte {member.start:,}")
            elif member.kind == FOLDER:
                folders.add(name)
            elif member.kind == SYMBOLIC_LINK and member.target:
                base = "" if member.target.startswith("/") else normalised(member.name).rpartition("/")[0]
                links[name] = prefix + normalised(f"{base}/{member.target}")
            elif member.kind == HARD_LINK and target in self.where:
                self._add(name, self.where[target], f"a link to {target}")
            elif member.kind in (HARD_LINK, SYMBOLIC_LINK):
                self.odd[name] = self.odd.get(target, "a link to nothing")
            else:
                self.odd[name] = member.kind
        if links:
            self._follow(links)
        self._tell_empty(folders)

    def read(self, name: str) -> bytes:
        check_size(self.where[name][1])
        return self.head(name, LARGEST_FILE)

    def head(self, name: str, size: int = 64) -> bytes:
        start, length = self.where[name]
        if name in self._kept:
            return self._kept[name][:size]
        with self._reading() as file:
            return file.pread(min(size, length), start)


def open_tar(path: Path, ignore_damage: bool = False, keep: tuple[str, ...] = ()) -> Tar:
    """An uncompressed tar. Raises FastptError if it cannot be opened, DamagedData if it is not whole."""
    try:
        return Tar(path, ignore_damage, keep)
    except OSError as error:
        raise FastptError(
            f"{path} cannot be read as a .tar ({error.strerror or error}). Fetch it anew, or leave it out."
        ) from None


class TarOfTars(Tar):
    """A tar of tars, as ImageNet's train archive: `n01440764.tar` with `a.JPEG` inside is `n01440764/a.JPEG`."""

    def _list(self, file: OpenedFile, end: int, damage: list[str] | None, start: int = 0) -> None:
        tars: dict[str, str] = {}
        for member in walk(file, str(self.root), start, end, damage):
            name = normalised(member.name)
            folder = name.rpartition("/")[2].removesuffix(".tar")
            if member.kind == FOLDER:
                continue
            if member.kind not in (FILE, CUT) or not name.endswith(".tar"):
                self.odd[name] = "no tar" if member.kind == FILE else member.kind
                continue
            if folder in tars:
                raise FastptError(f"{self.root} holds two tars of one name: {tars[folder]} and {name}. Rename one.")
            tars[folder] = name
            inner = walk(file, f"{self.root}: {name}", member.start, member.start + member.size, damage)
            self._add_members(inner, f"{folder}/")


# --- WebDataset: the files of one sample share a key and differ in suffix -----------------------------------------


class Keyed(NamedTuple):
    """A file of a sample. `suffix` is in lower case, with its dot; `name` is that of the file in its tar."""

    key: str
    suffix: str
    name: str
    is_picture: bool


def keyed_files(tar: Tar, image_member: str | None = None) -> Iterator[Keyed]:
    """The files of a tar, as they lie, by the key of their sample. Files whose base name begins with a dot are none.

    The picture is the file whose suffix is one of a picture, or `image_member` if that is given. Raises FastptError if
    two files are pictures of one key, have one key and suffix, or are told apart only by what is not UTF-8.
    """
    wanted = IMAGE_SUFFIXES if image_member is None else (f".{image_member.lstrip('.').lower()}",)
    pictures: dict[str, Keyed] = {}
    there: dict[tuple[str, str], str] = {}
    for name in tar.where:
        key, suffix = split_key(tar, name)
        if not key:
            continue
        file = Keyed(key, suffix, name, suffix in wanted)
        if file.is_picture and (other := pictures.setdefault(key, file)) is not file:
            suffixes = sorted({file.suffix[1:], other.suffix[1:]})
            choice = (
                f"Choose one (--image-member {' or '.join(suffixes)}), or rename" if len(suffixes) > 1 else "Rename"
            )
            raise FastptError(f"{tar.root} has two pictures of one key: {other.name} and {name}. {choice} one.")
        if (other := there.setdefault((key, suffix), name)) != name:
            raise FastptError(f"{tar.root} has two files {suffix} of one key: {other!a} and {name!a}. Rename one.")
        yield file


def tar_stem(path: Path) -> str:
    """The name of a tar without its suffix, `.tar` or that of a packed one: the same for both."""
    return ENDING.sub("", path.name) or path.stem


def split_key(tar: Tar, name: str) -> tuple[str, str]:
    """Key and suffix of a file of a tar; the key is "" for hidden files, which belong to no sample.

    The key is the name up to the first dot of its last part, below the tar's own stem, since tars may repeat keys. The
    suffix is the rest, in lower case.
    """
    folder, _, base = name.rpartition("/")
    stem, dot, rest = base.partition(".")
    if hidden_part(name):
        stem = ""
    return well_formed(
        "/".join(filter(None, (tar_stem(tar.root), folder, stem)))
    ) if stem else "", f"{dot}{rest}".lower()


def no_picture(key: str, suffixes: list[str]) -> list[tuple[str, str]]:
    """What is left out, and why, where a key has files of these suffixes and none is its picture.

    A dot in a base name ends its key, so `a.b.jpg` is a file `.b.jpg` of the key `a`: each such file is named.
    """
    dotted = [suffix for suffix in suffixes if suffix.endswith(IMAGE_SUFFIXES)]
    return [
        (f"{key}{suffix}", f"no picture: its key ends at the first dot (--image-member {suffix[1:]} would take it)")
        for suffix in dotted
    ] or [(key, "no picture")]
