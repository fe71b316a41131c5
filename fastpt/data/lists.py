"""Lists of pictures: CSV, TSV, JSON lines, a JSON array or parquet, packed or not, read a row at a time."""

import itertools
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from fastpt.data.json_records import as_record, parse_record, unique_keys
from fastpt.data.list_csv import Quotes, read_csv
from fastpt.data.list_text import ListText, find_text
from fastpt.errors import DamagedData, FastptError, suggestion
from fastpt.storage.kind import Storage
from fastpt.storage.names import is_image

DELIMITERS = {".csv": ",", ".tsv": "\t"}
OBJECTS = (".jsonl", ".ndjson", ".json")
KINDS = ".csv, .tsv, .jsonl, .ndjson, .json or .parquet"
PACKED_SUFFIXES = (".gz", ".bz2", ".xz")
LARGEST_ARRAY = 1 << 31  # characters of a JSON array, which is read at once
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
    text = find_text(files, name)
    if kind == ".parquet":
        return _parquet(text, columns)
    if kind not in (*DELIMITERS, *OBJECTS):
        raise FastptError(f"{name} is none of {KINDS}, which may be packed as .gz. Name it after what it is.")
    text.check()
    if kind in OBJECTS:
        listed = ListFile(name, [], iter(()))
        listed.rows = _objects(listed, text)
        return listed
    cells, warnings = read_csv(text, DELIMITERS[kind], quotes)
    header = next(cells, None)
    if header is None:
        raise FastptError(f"{name} is empty.")
    return ListFile(name, header, _records(header, cells), warnings)


def _records(header: list[str], rows: Iterator[list[str]]) -> Iterator[Row]:
    for number, cells in enumerate(rows, 1):
        values: dict[str, object] = dict(zip(header, cells, strict=False))
        yield Row(number, values, None if len(cells) == len(header) else OTHER_COLUMNS)


def _objects(listed: ListFile, text: ListText) -> Iterator[Row]:
    """The objects of JSON lines, or of one array. Raises FastptError for what is none."""
    lines = text.lines()
    first = next((line for line in lines if line.strip()), "")
    records = _array(text) if first.lstrip().startswith("[") else _json_lines(text)
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


def _json_lines(text: ListText) -> Iterator[dict[str, object]]:
    for number, line in enumerate(text.lines(), 1):
        if line.strip():
            try:
                yield parse_record(line)
            except ValueError as error:
                raise FastptError(
                    f"{text.name}, line {number:,}, is no JSON object: {error}. Write one object a line (pandas: "
                    "orient='records', lines=True)."
                ) from None


def _array(text: ListText) -> Iterator[dict[str, object]]:
    try:
        for record in json.loads(_whole(text), object_pairs_hook=unique_keys):
            yield as_record(record)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise FastptError(f"{text.name} is no JSON array of objects: {reason}. Mend it.") from None


def _whole(text: ListText) -> str:
    lines, size = [], 0
    for line in text.lines():
        lines.append(line)
        size += len(line)
        if size > LARGEST_ARRAY:
            raise FastptError(
                f"{text.name} is a JSON array of more than {LARGEST_ARRAY:,} characters. Write JSON lines."
            )
    return "".join(lines)


def _parquet(text: ListText, columns: Collection[str]) -> ListFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(text.open(), page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DamagedData(f"{text.name} cannot be read as parquet ({error}). Restore it.") from None
    names = parquet.schema_arrow.names

    def rows() -> Iterator[Row]:
        wanted = [column for column in dict.fromkeys(columns) if column in names]
        numbers = itertools.count(1)
        try:
            for batch in parquet.iter_batches(10_000, columns=wanted):
                for record in batch.to_pylist():
                    yield Row(next(numbers), record)
        except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: text that is not UTF-8
            raise DamagedData(f"{text.name} is damaged ({error}). Restore it.") from None

    return ListFile(text.name, names, rows())
