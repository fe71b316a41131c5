"""Texts on disk or in a source, packed or not, read a line at a time."""

import bz2
import gzip
import io
import itertools
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fastpt.errors import DamagedData, FastptError
from fastpt.storage.address import ADDRESS
from fastpt.storage.kind import Storage

UNPACKERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
UNPACK_ERRORS = (EOFError, OSError, zlib.error, lzma.LZMAError)
OTHER_KINDS = {
    b"PK\3\4": "a zip or an Excel file. Save it as plain text",
    b"PAR1": "parquet. Name it .parquet",
    b"\x28\xb5\x2f\xfd": "packed by Zstandard. Unpack it",
    b"\xff\xfe": "written in UTF-16. Save it as UTF-8",
    b"\xfe\xff": "written in UTF-16. Save it as UTF-8",
}
HEAD = 8  # bytes
LARGEST_LINE = 1 << 28  # characters; what is packed may unpack to more than fits in memory


@dataclass(frozen=True)
class ListText:
    """A text that may be read again and again; it is unpacked while it is read. `name` is for messages."""

    name: str
    open: Callable[[], BinaryIO]

    def lines(self) -> Iterator[str]:
        """The lines with their ends, what is not UTF-8 as halves of characters. Raises FastptError for zero bytes."""
        with _unpacking(self.name), io.TextIOWrapper(self.open(), "utf-8-sig", "surrogateescape", newline="") as text:
            for number in itertools.count(1):
                line = text.readline(LARGEST_LINE + 1)
                if not line:
                    return
                if len(line) > LARGEST_LINE:
                    raise FastptError(
                        f"{self.name}: line {number:,} has more than {LARGEST_LINE:,} characters. Write one row a line."
                    )
                if "\0" in line:
                    raise FastptError(
                        f"{self.name} has a zero byte in line {number:,}: it is damaged, or written in UTF-16. Save it "
                        "as UTF-8."
                    )
                yield line

    def check(self) -> None:
        """Raises FastptError for what is known not to be text in UTF-8."""
        with _unpacking(self.name), self.open() as file:
            head = file.read(HEAD)
        for magic, what in OTHER_KINDS.items():
            if head.startswith(magic):
                raise FastptError(f"{self.name} is {what}.")


@contextmanager
def _unpacking(name: str) -> Iterator[None]:
    try:
        yield
    except UNPACK_ERRORS as error:
        raise DamagedData(f"{name} cannot be read: it is damaged ({error}). Restore it.") from None


def find_text(files: Storage | None, name: str, called: str = "") -> ListText:
    """The text `name`, looked up on disk, then in the source if there is one; `called` is for messages.

    Raises FastptError if it is in neither.
    """
    path = Path(name)
    content = None
    if not path.is_file():
        if files is None:
            what = "is no file" if path.exists() else "does not exist"
            raise FastptError(f"{called or name} {what}. Give the path of a file.")
        try:
            content = files.read(name)
        except (KeyError, OSError):
            hint = ""
            if path.is_dir():
                hint = " It is a folder: give the list in it."
            elif ADDRESS.match(name):
                hint = " It is an address: name a list inside the source by its path there, or fetch it first."
            elif re.search(r"[*?{\[]", name):
                hint = " It is a pattern: give each list by itself."
            raise FastptError(f"{name} was found neither on disk nor inside {files.root}.{hint}") from None

    def opened() -> BinaryIO:
        file = io.BytesIO(content) if content is not None else path.open("rb")
        head = file.read(HEAD)
        file.seek(0)
        unpacked = next((unpack for magic, unpack in UNPACKERS.items() if head.startswith(magic)), None)
        return unpacked(file) if unpacked else file  # pyright: ignore[reportReturnType]

    return ListText(called or name, opened)


def text_lines(path: Path, called: str) -> Iterator[str]:
    """The lines of a text file, packed or not, with their ends. `called` is for messages."""
    text = find_text(None, str(path), called)
    text.check()
    return text.lines()
