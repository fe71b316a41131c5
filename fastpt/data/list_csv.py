"""CSV and TSV: cells, and whether quotes enclose them or are plain characters."""

import csv
import io
import re
from collections.abc import Iterator
from typing import Literal

from fastpt.data import list_text
from fastpt.data.list_text import ListText
from fastpt.errors import FastptError

Quotes = Literal["csv", "plain"]
DOUBLED = re.compile(r'(?:^|\t)"(?:[^"\t]|"")*""(?:[^"\t]|"")*"(?:\t|$)')  # a field that CSV's rules made of quotes


def read_csv(text: ListText, delimiter: str, quotes: Quotes | None) -> tuple[Iterator[list[str]], list[str]]:
    """The rows of cells, that of the header first, and what to say of them; see `lists.open_list` of quotes.

    Raises FastptError where quotes may mean two things.
    """
    csv.field_size_limit(list_text.LARGEST_LINE)  # a caption of a megabyte is odd, but no reason to stop
    warnings: list[str] = []
    if quotes is None:
        quotes = "csv" if delimiter == "," else _quotes_of(text, delimiter, warnings)
    return _cells(text, delimiter, quotes), warnings


def _cells(text: ListText, delimiter: str, quotes: Quotes) -> Iterator[list[str]]:
    """The rows, without empty lines. Raises FastptError where quotes do not fit."""
    quoting = csv.QUOTE_MINIMAL if quotes == "csv" else csv.QUOTE_NONE
    rows = csv.reader(text.lines(), delimiter=delimiter, quoting=quoting, strict=True)
    try:
        yield from filter(None, rows)
    except csv.Error as error:
        raise FastptError(
            f"{text.name} cannot be read near line {rows.line_num:,}: {error}. Mend its quotes (in a list of "
            "pictures, --list-quotes plain says that they are plain characters)."
        ) from None


def _quotes_of(text: ListText, delimiter: str, warnings: list[str]) -> Quotes:
    """Whether quotes in a TSV enclose fields or are plain; see `open_list`."""
    found = next((line for line in text.lines() if line.startswith('"') or f'{delimiter}"' in line), None)
    if found is None:
        return "plain"
    again = _written_again(text, delimiter)
    doubled = any(DOUBLED.search(line.rstrip("\r\n")) for line in text.lines())
    in_header = next(text.lines()).startswith('"')
    if again is not None and (in_header or (again and not _lines_are_rows(text, delimiter))):
        warnings.append(
            f"{text.name}: quotes enclose fields, as pandas writes them (--list-quotes plain says that they do not)"
        )
        return "csv"
    if again is None and not doubled:
        warnings.append(f"{text.name}: quotes are plain characters (--list-quotes csv says that they enclose fields)")
        return "plain"
    raise FastptError(
        f"{text.name}: do quotes enclose fields, or are they plain characters? {found.strip()[:80]!r} can be read in "
        "two ways. Say --list-quotes csv or --list-quotes plain."
    )


def _lines_are_rows(text: ListText, delimiter: str) -> bool:
    """Whether some quotes enclose line breaks by CSV's rules, and yet every line is a row where they are plain."""
    if not any("\n" in cell for cells in _cells(text, delimiter, "csv") for cell in cells):
        return False
    return len({line.count(delimiter) for line in text.lines() if line.strip()}) == 1


def _written_again(text: ListText, delimiter: str) -> bool | None:
    """Whether a TSV that is read by CSV's rules and written again is the same; None if it cannot be read by them."""
    taken: list[str] = []

    def kept() -> Iterator[str]:
        for line in text.lines():
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
