"""Labels as they stand in a list, a table or beside pictures, made into classes and class numbers.

Whole numbers are numbers of classes, in text too; other text names classes, which are sorted. -1, null, NaN and ""
mean that there is no label. What cannot be meant as a label is an error.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fastpt.data.labels import CODE, INFINITIES, NUMBER, PERHAPS_NO_LABEL, LabelReader, looks_like_id, shown
from fastpt.errors import FastptError
from fastpt.printable import plural

MOST_NAMED = 3  # values in a warning
FEW_ROWS = 20  # fewer may have a class each by chance
NUMBER_LIKE = re.compile(r"[-+\u2212]?\d[\d\s.,_'\u2019]*%?|0x[0-9a-f]+", re.IGNORECASE)  # as people write numbers

Key = tuple[type, object]  # 1, 1.0 and True are equal, and not the same


@dataclass(frozen=True)
class Labels:
    """The classes of a column, and of each row its class.

    `numbers` is int64 [N] into `classes`, -1 where a row has no label; `missing` says why, by row. `warnings` are what
    the user should know, one line each.
    """

    classes: list[str]
    numbers: np.ndarray
    missing: dict[int, str]
    warnings: tuple[str, ...] = ()


def read_labels(
    values: Sequence[object], column: str, keys: Sequence[str], names: Sequence[str] | None = None
) -> Labels:
    """Read the labels of all rows that share their classes, those of all splits together.

    `values` are as they were found: numbers, texts, None. `column` is how messages call the column ("column 'kind'"),
    and `keys` how they call the rows. `names` are those of the classes by number, where the source knows them; else
    numbers are called by their digits, from 0 to the largest. Raises FastptError for what is no label: a fraction, an
    infinity, a list, a negative number but -1, a number without a name in `names`, one so large that it is an id.
    """
    warnings: tuple[str, ...] = ()
    if names is not None:
        names, warnings = _plain_names(names, column)
    read, first = LabelReader(column, keys.__getitem__), dict[Key, int]()
    for row, value in enumerate(values):
        try:
            first.setdefault((type(value), value), row)
        except TypeError:  # it cannot be hashed
            raise read.refused(row, value, f"is a {type(value).__name__}") from None
    found = {key: read.plain(key[1], row) for key, row in first.items()}
    if _all_numbers(list(found.values())):
        found = {key: read.number(value, first[key]) for key, value in found.items()}
        classes = _numbered_classes(read, first, found, len(values), names)
        codes = {key: -1 if number is None else number for key, number in found.items()}
    else:
        found = {key: None if value in (-1, "-1", None) else str(value) for key, value in found.items()}
        classes = _named_classes(read, first, found, names)
        number_of = {name: i for i, name in enumerate(classes)}
        codes = {key: -1 if name is None else number_of[name] for key, name in found.items()}
        warnings += _warnings(column, values, found, bool(names))
    numbers = np.array([codes[type(value), value] for value in values], np.int64)
    if names is None:
        warnings += _rows_told(column, numbers[numbers >= 0])
    missing = {row: _why_missing(values[row]) for row in np.flatnonzero(numbers < 0).tolist()}
    return Labels(classes, numbers, missing, warnings)


def _plain_names(names: Sequence[str], column: str) -> tuple[list[str], tuple[str, ...]]:
    """The names of classes by number without blanks around them; an empty one is called by its number, which is told.

    Raises FastptError if two are the same.
    """
    plain = [name.strip() or str(i) for i, name in enumerate(names)]
    if len(set(plain)) < len(plain):
        twice = next(name for i, name in enumerate(plain) if name in plain[:i])
        raise FastptError(f"{column}: two of its {len(plain)} classes are called {shown(twice)}. Rename one.")
    changed = [f"{shown(name)} is {shown(to)}" for name, to in zip(names, plain, strict=True) if name != to]
    return plain, (f"{column}: names of classes are empty or have blanks around them: {changed[0]}",) if changed else ()


def _all_numbers(found: Sequence[int | str | None]) -> bool:
    """Whether a column holds numbers, in text or not, and nothing else."""
    texts = [value for value in found if isinstance(value, str)]
    numbers = [text for text in texts if NUMBER.fullmatch(text)]
    others = {text.lower() for text in texts if not NUMBER.fullmatch(text)}
    there = len(numbers) > 0 or any(isinstance(value, int) for value in found) or not texts
    return there and others <= PERHAPS_NO_LABEL | INFINITIES and not any(map(CODE.fullmatch, numbers))


def _numbered_classes(
    read: LabelReader, first: dict[Key, int], found: dict[Key, int | None], rows: int, names: Sequence[str] | None
) -> list[str]:
    """The classes of a column of numbers. Raises FastptError if the largest is no number of a class."""
    most, row = max(((value, first[key]) for key, value in found.items() if value is not None), default=(-1, -1))
    if names is not None:
        if most >= len(names):
            raise read.refused(
                row, most, f"has no name: {len(names)} classes are named, from 0", "Mend the names or the label."
            )
        return list(names)
    if looks_like_id(most, rows):
        raise read.refused(
            row,
            most,
            f"would make {shown(most + 1)} classes of {rows:,} rows: it looks like an id",
            "Name another column, or write classes as names.",
        )
    return [str(i) for i in range(most + 1)]


def _named_classes(
    read: LabelReader, first: dict[Key, int], found: dict[Key, str | None], names: Sequence[str] | None
) -> list[str]:
    """The classes of a column of texts. Raises FastptError if one is not in `names`, or two cannot be told apart."""
    raw: dict[str, object] = {}
    for key, name in found.items():
        if name is None:
            continue
        value, row = key[1], first[key]
        if names is not None and name not in names:
            raise read.refused(row, value, f"is none of the {len(names)} classes that are known", "Mend it.")
        other = raw.setdefault(name, value)
        if isinstance(value, str) and isinstance(other, str) and value.strip() != other.strip():
            raise read.refused(
                row, value, f"differs from {other[:50]!a} only in what is not UTF-8", "Mend the encoding of the list."
            )
    return list(names) if names is not None else sorted(raw)


def _warnings(column: str, values: Sequence[object], found: dict[Key, str | None], named: bool) -> tuple[str, ...]:
    """What to say of a column of names."""
    counted: dict[str, int] = {}
    for value in values:
        text = found[type(value), value]
        if isinstance(text, str):
            counted[text] = counted.get(text, 0) + 1
    padded = [value for value in values if isinstance(value, str) and value != value.strip() and value.strip()]
    broken = [text for text in counted if "\N{REPLACEMENT CHARACTER}" in text]
    numbers = [text for text in counted if NUMBER.fullmatch(text)]
    warnings = []
    if padded:
        warnings.append(f"{column}: blanks around {len(padded):,} labels are left out, such as {shown(padded[0])}")
    if broken:
        count = sum(counted[text] for text in broken)
        warnings.append(
            f"{column}: {count:,} labels hold what is not UTF-8, stored as U+FFFD, such as {shown(broken[0])}"
        )
    if numbers and not named:
        others = len(counted) - len(numbers)
        what = (
            f"{plural(len(numbers), 'number')} and {plural(others, 'name')}" if others else "numbers that begin with 0"
        )
        warnings.append(f"{column}: {what}, all are taken for names, which are sorted as text ('10' before '9')")
    odd_numbers = [text for text in counted if NUMBER_LIKE.fullmatch(text) and text not in numbers]
    if odd_numbers and not named:
        warnings.append(
            f"{column}: {plural(len(odd_numbers), 'name')} may be meant as numbers, such as {shown(odd_numbers[0])}"
        )
    for text in counted:
        if text.lower() in PERHAPS_NO_LABEL:
            warnings.append(
                f"{column}: {text!r} is a class, of {counted[text]:,} rows. Leave it empty if it means none"
            )
    several = [text for text in counted if counted.keys() & {part.strip() for part in re.split(r"[|;,]", text)[1:]}]
    if several:
        warnings.append(f"{column}: {shown(several[0])} is a class of its own. It seems to hold several labels")
    warnings += name_warnings(column, counted)
    return tuple(warnings)


def _rows_told(column: str, numbers: np.ndarray) -> tuple[str, ...]:
    """What to say of labels, int64 [N], that may be those of rows."""
    if len(np.unique(numbers)) < max(len(numbers), FEW_ROWS):
        return ()
    return (f"{column}: each of {len(numbers):,} rows has a class of its own. Is it the label?",)


def name_warnings(column: str, names: Iterable[str]) -> list[str]:
    """What to say of names of classes that differ in case, in blanks, in quotes or in how Unicode writes them only, or
    hold characters that do not show."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_folded(name), []).append(name)
    found = [" and ".join(map(_distinct, sorted(group))) for group in groups.values() if len(group) > 1]
    hidden = [name for group in groups.values() for name in group if not name.isprintable()]
    warnings = []
    if found:
        more = f", and {len(found) - MOST_NAMED:,} more" if len(found) > MOST_NAMED else ""
        warnings.append(f"{column}: these are classes apart: {'; '.join(found[:MOST_NAMED])}{more}")
    if hidden:
        what = "name of a class holds" if len(hidden) == 1 else "names of classes hold"
        warnings.append(f"{column}: {len(hidden):,} {what} characters that do not show, such as {shown(hidden[0])}")
    return warnings


def _folded(name: str) -> str:
    """A name without what may be chance in it."""
    text = unicodedata.normalize("NFKC", name).casefold()
    text = "".join(" " if char in "_-" or char.isspace() else char * char.isprintable() for char in text)
    text = " ".join(text.split()).strip("\"'`")
    return f"{float(text):g}" if NUMBER.fullmatch(text) else text


def _distinct(name: str) -> str:
    """A name as a message shows what tells it from others."""
    return shown(name) if unicodedata.is_normalized("NFC", name) and name.isprintable() else ascii(name)


def _why_missing(value: object) -> str:
    return "no label" if value is None or value == "" else f"no label ({shown(value)})"
