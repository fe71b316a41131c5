"""A label as it was found, in a list, a table or beside a picture: a whole number, a name, or none.

Whole numbers are numbers of classes, in text too; other text is a name. Null, NaN and "" mean that there is no label,
and so does -1, which is read as the number that it is. What cannot be meant as a label is an error.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from fastpt.errors import FastptError
from fastpt.storage.names import well_formed

NO_LABEL = frozenset({"", "nan", "<na>", "nat", "null", "#n/a"})  # in lower case
PERHAPS_NO_LABEL = frozenset({"na", "n/a", "none"})  # none of the numbers of a column, but names that classes do have
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
INFINITIES = frozenset({"inf", "-inf", "+inf", "infinity", "-infinity"})  # among numbers; alone they are names
LIST = re.compile(r"\[.*\]|\{.*\}", re.DOTALL)  # several labels, written as one text
MOST_CLASSES = 1_000_000  # a label beyond is an id, and so is one in a column with far fewer rows
FEW_CLASSES = 10_000  # so many may be there, however few rows there are
ROWS_A_CLASS = 0.1
CODE = re.compile(r"[+-]?0\d+", re.ASCII)  # a number does not begin with 0


@dataclass(frozen=True)
class LabelReader:
    """Reads the labels of a column; errors name it, as in "column 'kind'", and the row."""

    column: str
    row_name: Callable[[int], str]

    def refused(
        self, row: int, value: object, what: str, cure: str = "A label is a whole number or a name."
    ) -> FastptError:
        return FastptError(f"{self.column}: the label of {self.row_name(row)}, {shown(value)}, {what}. {cure}")

    def plain(self, value: object, row: int) -> int | str | None:
        """A number, a text without blanks around it, or None for no label."""
        if value is None or value != value:  # NaN
            return None
        if isinstance(value, bool):
            return str(value)
        if isinstance(value, int):
            return self.whole(value, row)
        if isinstance(value, float | Decimal):
            return self.number(str(value), row)
        if not isinstance(value, str):
            raise self.refused(row, value, f"is a {type(value).__name__}")
        text = well_formed(value).strip()
        if LIST.fullmatch(text):
            raise self.refused(row, value, "is a list" if text.startswith("[") else "is an object")
        return None if text.lower() in NO_LABEL else text

    def number(self, value: int | str | None, row: int) -> int | None:
        """The whole number that a text is, or None for no label."""
        if value is None or isinstance(value, int):
            return value
        if value.lower() in PERHAPS_NO_LABEL:
            return None
        if re.fullmatch(r"[+-]?\d+", value):
            return self.whole(int(value[:100]), row)  # what has more digits is no number of a class anyway
        number = float(value)
        if not math.isfinite(number) or number != int(number):
            raise self.refused(row, value, "is no whole number")
        return self.whole(int(number), row)

    def whole(self, value: int, row: int) -> int:
        if value < -1:
            raise self.refused(row, value, "is negative", "Only -1 is known, for no label.")
        return value


def looks_like_id(label: int, rows: int) -> bool:
    """Whether a number, the largest of a column of so many rows, is too large to be that of a class."""
    return label >= MOST_CLASSES or (label >= FEW_CLASSES and rows < ROWS_A_CLASS * label)


def text_of(content: bytes) -> str:
    """The text of a file that holds a target, with U+FFFD for what is not UTF-8 and without the mark at its start.

    Raises ValueError if it is no such text, with what is wrong.
    """
    if b"\0" in content:
        raise ValueError("holds zero bytes: it is UTF-16, or no text")
    return content.decode("utf-8-sig", errors="replace")


def shown(value: object) -> str:
    """A value in a message, cut where it is long."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**40:
        return "a number of more than 40 digits"
    text = repr(value[:50]) if isinstance(value, str | bytes) else str(value)
    return f"{text[:60]}..." if len(text) > 60 or (isinstance(value, str) and len(value) > 50) else text
