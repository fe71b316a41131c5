"""Lists of pictures: CSV, TSV, JSON lines, a JSON array or parquet, packed or not, read a row at a time."""

import bz2
import csv
import gzip
import io
import itertools
import json
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from fastpt.errors import DamagedData, FastptError, suggestion
from fastpt.storage.address import ADDRESS
from fastpt.storage.kind import Storage
from fastpt.storage.names import is_image

Quotes = Literal["csv", "plain"]
DELIMITERS = {".csv": ",", ".tsv": "\t"}
OBJECTS = (".jsonl", ".ndjson", ".json")
KINDS = ".csv, .tsv, .jsonl, .ndjson, .json or .parquet"
UNPACKERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
PACKED_SUFFIXES = (".gz", ".bz2", ".xz")
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
LARGEST_ARRAY = 1 << 31  # characters of a JSON array, which is read at once
DOUBLED = re.compile(r'(?:^|\t)"(?:[^"\t]|"")*""(?:[^"\t]|"")*"(?:\t|$)')  # a field that CSV's rules made of quotes
OTHER_COLUMNS = "its row in the list has other columns than the header"


class Row(NamedTuple):
    """A row: its number from 1, its values by column, and what is wrong with it as a whole."""

    number: int
    values: dict[str, object]
    problem: str | None = None


@dataclass
class ListFile:
    """A list, opened. `columns` are those of its header, or those of the rows so far that are JSON objects."""

    name: str
    columns: list[str]
    rows: Iterator[Row]
    warnings: list[str] = field(default_factory=list)

    def require(self, columns: Collection[str]) -> None:
        """Raise FastptError if one of these columns is not there, or twice."""
        for column in columns:
            if self.columns.count(column) > 1:
                raise FastptError(f"{self.name} has {self.columns.count(column)} columns {column!r}. Rename one.")
            if column not in self.columns:
                raise FastptError(
                    f"{self.name} has no column {column!r}; {_nearest(column, self.columns)}{self._hint()}"
                )

    def _hint(self) -> str:
        """What the header may be instead of one."""
        if any(is_image(cell) or re.fullmatch(r"-?\d+(\.\d+)?", cell) for cell in self.columns):
            return " Its first line looks like a row: write the names of the columns above it."
        if len(self.columns) == 1:
            for delimiter, called in {";": "semicolons", "\t": "tabs", ",": "commas", "|": "bars"}.items():
                if delimiter in self.columns[0]:
                    return f" Its columns are separated by {called}: save it with commas as .csv, with tabs as .tsv."
        return ""


def _nearest(column: str, columns: list[str]) -> str:
    near = suggestion(repr(column), [repr(one) for one in columns])
    return (
        f"it has: {', '.join(columns[:20])}. {near[0].upper()}{near[1:]}"
        if near.startswith("did")
        else (f"it has: {', '.join(columns[:20])}{' ...' * (len(columns) > 20)}.")
    )


def open_list(files: Storage | None, name: str, columns: Collection[str], quotes: Quotes | None = None) -> ListFile:
    """The list `name`, looked up on disk, then in the source if there is one.

    `columns` are those that are wanted of a parquet file. In a CSV, quotes enclose fields and are doubled inside, as
    pandas writes them. In a TSV they do so too if every field that begins with one can be read so, and writing it again
    gives the same text, or the header is quoted; if none can be read so they are plain characters; else `quotes` has to
    say it. Raises FastptError for what is none of these lists, DamagedData for a damaged one.
    """
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    kind = next((suffix for suffix in reversed(suffixes) if suffix not in PACKED_SUFFIXES), "")
    opened = _finder(files, name)
    if kind == ".parquet":
        return _parquet(name, opened, columns)
    if kind not in (*DELIMITERS, *OBJECTS):
        raise FastptError(f"{name} is none of {KINDS}, which may be packed as .gz. Name it after what it is.")
    _check_text(name, opened)
    if kind in OBJECTS:
        listed = ListFile(name, [], iter(()))
        listed.rows = _objects(listed, opened)
        return listed
    return _table(name, opened, DELIMITERS[kind], quotes)


def text_lines(path: Path, called: str) -> Iterator[str]:
    """The lines of a text file, packed or not, with their ends; see `open_list`. `called` is for messages."""
    opened = _finder(None, str(path), called)
    _check_text(called, opened)
    return _lines(called, opened)


Opener = Callable[[], BinaryIO]


def _finder(files: Storage | None, name: str, called: str = "") -> Opener:
    """What opens the list, which is unpacked while it is read."""
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

    return opened


def _lines(name: str, opened: Opener) -> Iterator[str]:
    """The lines with their ends, what is not UTF-8 as halves of characters. Raises FastptError for zero bytes."""
    with _unpacking(name), io.TextIOWrapper(opened(), "utf-8-sig", errors="surrogateescape", newline="") as text:
        for number in itertools.count(1):
            line = text.readline(LARGEST_LINE + 1)
            if not line:
                return
            if len(line) > LARGEST_LINE:
                raise FastptError(
                    f"{name}: line {number:,} has more than {LARGEST_LINE:,} characters. Write one row a line."
                )
            if "\0" in line:
                raise FastptError(
                    f"{name} has a zero byte in line {number:,}: it is damaged, or written in UTF-16. Save it as UTF-8."
                )
            yield line


@contextmanager
def _unpacking(name: str) -> Iterator[None]:
    try:
        yield
    except UNPACK_ERRORS as error:
        raise DamagedData(f"{name} cannot be read: it is damaged ({error}). Restore it.") from None


def _check_text(name: str, opened: Opener) -> None:
    """Raises FastptError for what is known not to be text in UTF-8."""
    with _unpacking(name), opened() as file:
        head = file.read(HEAD)
    for magic, what in OTHER_KINDS.items():
        if head.startswith(magic):
            raise FastptError(f"{name} is {what}.")


# --- CSV and TSV --------------------------------------------------------------------------------------------------


def _table(name: str, opened: Opener, delimiter: str, quotes: Quotes | None) -> ListFile:
    csv.field_size_limit(LARGEST_LINE)  # a caption of a megabyte is odd, but no reason to stop
    warnings: list[str] = []
    if quotes is None:
        quotes = "csv" if delimiter == "," else _quotes_of(name, opened, delimiter, warnings)
    rows = _cells(name, opened, delimiter, quotes)
    header = next(rows, None)
    if header is None:
        raise FastptError(f"{name} is empty.")
    return ListFile(name, header, _records(header, rows), warnings)


def _cells(name: str, opened: Opener, delimiter: str, quotes: Quotes) -> Iterator[list[str]]:
    """The rows, without empty lines. Raises FastptError where quotes do not fit."""
    quoting = csv.QUOTE_MINIMAL if quotes == "csv" else csv.QUOTE_NONE
    rows = csv.reader(_lines(name, opened), delimiter=delimiter, quoting=quoting, strict=True)
    try:
        yield from filter(None, rows)
    except csv.Error as error:
        raise FastptError(
            f"{name} cannot be read near line {rows.line_num:,}: {error}. Mend its quotes (in a list of "
            "pictures, --list-quotes plain says that they are plain characters)."
        ) from None


def _records(header: list[str], rows: Iterator[list[str]]) -> Iterator[Row]:
    for number, cells in enumerate(rows, 1):
        values: dict[str, object] = dict(zip(header, cells, strict=False))
        yield Row(number, values, None if len(cells) == len(header) else OTHER_COLUMNS)


def _quotes_of(name: str, opened: Opener, delimiter: str, warnings: list[str]) -> Quotes:
    """Whether quotes in a TSV enclose fields or are plain; see `open_list`."""
    found = next((line for line in _lines(name, opened) if line.startswith('"') or f'{delimiter}"' in line), None)
    if found is None:
        return "plain"
    again = _written_again(name, opened, delimiter)
    doubled = any(DOUBLED.search(line.rstrip("\r\n")) for line in _lines(name, opened))
    in_header = next(_lines(name, opened)).startswith('"')
    if again is not None and (in_header or (again and not _lines_are_rows(name, opened, delimiter))):
        warnings.append(
            f"{name}: quotes enclose fields, as pandas writes them (--list-quotes plain says that they do not)"
        )
        return "csv"
    if again is None and not doubled:
        warnings.append(f"{name}: quotes are plain characters (--list-quotes csv says that they enclose fields)")
        return "plain"
    raise FastptError(
        f"{name}: do quotes enclose fields, or are they plain characters? {found.strip()[:80]!r} can be read in "
        "two ways. Say --list-quotes csv or --list-quotes plain."
    )


def _lines_are_rows(name: str, opened: Opener, delimiter: str) -> bool:
    """Whether some quotes enclose line breaks by CSV's rules, and yet every line is a row where they are plain."""
    if not any("\n" in cell for cells in _cells(name, opened, delimiter, "csv") for cell in cells):
        return False
    return len({line.count(delimiter) for line in _lines(name, opened) if line.strip()}) == 1


def _written_again(name: str, opened: Opener, delimiter: str) -> bool | None:
    """Whether a TSV that is read by CSV's rules and written again is the same; None if it cannot be read by them."""
    taken: list[str] = []

    def kept() -> Iterator[str]:
        for line in _lines(name, opened):
            taken.append(line)
            yield line

    same, width = True, None
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\n")
    try:
        for cells in csv.reader(kept(), delimiter=delimiter, strict=True):
            width = width or len(cells)
            if cells and len(cells) != width:
                return None
            writer.writerow(cells)
            same = same and buffer.getvalue().rstrip("\r\n") == "".join(taken).rstrip("\r\n")
            taken.clear()
            buffer.seek(0)
            buffer.truncate()
    except csv.Error:
        return None
    return same


# --- JSON ---------------------------------------------------------------------------------------------------------


def _objects(listed: ListFile, opened: Opener) -> Iterator[Row]:
    """The objects of JSON lines, or of one array. Raises FastptError for what is none."""
    lines = _lines(listed.name, opened)
    first = next((line for line in lines if line.strip()), "")
    records = _array(listed.name, opened) if first.lstrip().startswith("[") else _json_lines(listed.name, opened)
    columns: dict[str, None] = {}
    for number, record in enumerate(records, 1):
        if number == 1:
            _check_rows(listed.name, record)
        if not record.keys() <= columns.keys():
            columns |= dict.fromkeys(record)
            listed.columns[:] = columns
        yield Row(number, record)


def _check_rows(name: str, record: dict[str, object]) -> None:
    """Raises FastptError if the first object of a list is the whole list in another form."""
    if record and all(isinstance(value, dict) for value in record.values()):
        raise FastptError(f"{name} holds columns, not rows. Write it with pandas' orient='records'.")
    for column, value in record.items():
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            raise FastptError(
                f"{name} holds an object with {len(value):,} objects in {column!r}, not rows. Write an object with all "
                "that belongs to a picture a line, or an array of them."
            )
    if record and all(map(is_image, record)):
        raise FastptError(
            f'{name} holds one object of pictures\' names. Write an object a picture: {{"file": ..., "class": ...}}.'
        )


def _json_lines(name: str, opened: Opener) -> Iterator[dict[str, object]]:
    for number, line in enumerate(_lines(name, opened), 1):
        if line.strip():
            try:
                yield parse_record(line)
            except ValueError as error:
                raise FastptError(
                    f"{name}, line {number:,}, is no JSON object: {error}. Write one object a line (pandas: "
                    "orient='records', lines=True)."
                ) from None


def _array(name: str, opened: Opener) -> Iterator[dict[str, object]]:
    try:
        for record in json.loads(_whole(name, opened), object_pairs_hook=unique_keys):
            yield as_record(record)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise FastptError(f"{name} is no JSON array of objects: {reason}. Mend it.") from None


def _whole(name: str, opened: Opener) -> str:
    lines, size = [], 0
    for line in _lines(name, opened):
        lines.append(line)
        size += len(line)
        if size > LARGEST_ARRAY:
            raise FastptError(f"{name} is a JSON array of more than {LARGEST_ARRAY:,} characters. Write JSON lines.")
    return "".join(lines)


def parse_record(text: str | bytes) -> dict[str, object]:
    """A record in JSON. Raises ValueError if it is no JSON object, or names a key twice."""
    try:
        return as_record(json.loads(text, object_pairs_hook=unique_keys))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None


def as_record(value: object) -> dict[str, object]:
    """A value of JSON that is an object. Raises ValueError if it is not."""
    if not isinstance(value, dict):
        raise ValueError(f"found {type(value).__name__}")
    return value


def unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON. Raises ValueError if two values have one key, of which json would keep the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} stands there twice")
    return found


# --- parquet ------------------------------------------------------------------------------------------------------


def _parquet(name: str, opened: Opener, columns: Collection[str]) -> ListFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(opened(), page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DamagedData(f"{name} cannot be read as parquet ({error}). Restore it.") from None
    names = parquet.schema_arrow.names

    def rows() -> Iterator[Row]:
        wanted = [column for column in dict.fromkeys(columns) if column in names]
        numbers = itertools.count(1)
        try:
            for batch in parquet.iter_batches(10_000, columns=wanted):
                for record in batch.to_pylist():
                    yield Row(next(numbers), record)
        except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: text that is not UTF-8
            raise DamagedData(f"{name} is damaged ({error}). Restore it.") from None

    return ListFile(name, names, rows())
