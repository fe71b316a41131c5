"""What comes from data, made safe to show: nothing acts on a terminal, a page or a reader's eyes."""

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
_BIDI = dict.fromkeys([0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF])


def printable(text: str) -> str:
    """Text that may quote file names or captions, without control characters that would act on the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)


def plural(n: int, noun: str) -> str:
    """'1 run', '3 runs'."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def first_few(names: Sequence[str], most: int) -> str:
    """'a, b' of two names, 'a, b, ...' of more, if `most` is 2."""
    return ", ".join(names[:most]) + ", ..." * (len(names) > most)


def percentage(share: float) -> str:
    """A share in [0, 1]: 0.05 -> '5 %', 0.001 -> '0.1 %'. No digits beyond those that were given, up to four."""
    return f"{100 * share:.4g} %"


def one_line(value: Any, longest: int = 400) -> str:
    """One line of printable text: no ANSI codes, control characters, direction marks or lone surrogates.

    Markup stays as it is: escaping it is the template's part (and matplotlib's in figures).
    """
    text = _ANSI.sub("", str(value)).translate(_BIDI)
    text = " ".join("".join(" " if _is_control(char) else char for char in text).split())
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def block(value: Any) -> str:
    """Like `one_line`, for text of several lines whose line ends and indents mean something."""
    text = _ANSI.sub("", str(value)).translate(_BIDI).replace("\r\n", "\n").replace("\t", "    ")
    return "".join(char for char in text if char == "\n" or not _is_control(char))


def finite(value: Any) -> float | None:
    """A finite number, or None: logs may hold null, NaN or words where a number should be."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def csv_cell(value: Any) -> Any:
    """A value as a cell of a CSV: before a text that a spreadsheet would compute stands an apostrophe, as OWASP has it.

    Numbers stay as they are, written as texts too.
    """
    if not isinstance(value, str) or value[:1] not in tuple("=+-@\t\r"):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def mapping(value: Any) -> dict[str, Any]:
    """A mapping, or an empty one: files that are read tolerantly may hold anything where one should be."""
    return value if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    """A list, or an empty one: see `mapping`."""
    return value if isinstance(value, list) else []


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs", "Cn", "Zl", "Zp")
