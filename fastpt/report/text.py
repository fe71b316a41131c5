"""Words and numbers as the page shows them. Text from data is cleaned here and escaped by the template."""

import math
import re
import unicodedata
from typing import Any

NBSP = "\u00a0"  # between a number and its unit
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
_BIDI = dict.fromkeys([0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF])


def clean(value: Any, longest: int = 400) -> str:
    """One line of printable text: no ANSI codes, control characters, direction marks or lone surrogates.

    Markup stays as it is: escaping it is the template's part (and matplotlib's in figures).
    """
    text = _ANSI.sub("", str(value)).translate(_BIDI)
    text = " ".join("".join(" " if _is_control(char) else char for char in text).split())
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def clean_block(value: Any) -> str:
    """Like `clean`, for text of several lines whose line ends and indents mean something."""
    text = _ANSI.sub("", str(value)).translate(_BIDI).replace("\r\n", "\n").replace("\t", "    ")
    return "".join(char for char in text if char == "\n" or not _is_control(char))


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs", "Cn", "Zl", "Zp")


def number(value: Any) -> float | None:
    """A finite number, or None: logs may hold null, NaN or words where a number should be."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def percent(share: float | None, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage without its sign, or a dash."""
    return "–" if share is None else f"{100 * share:.{digits}f}"


def rate(share: float | None) -> str:
    """A noise rate: 0.05 -> '5 %' (the space does not break). No digits beyond those that were given, up to four."""
    return "unknown rate" if share is None else f"{100 * share:.4g}{NBSP}%"


def count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """Seconds in the two largest units: 3 725 -> '1 h 2 min'."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f}{NBSP}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{NBSP}min {rest}{NBSP}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{NBSP}h {minutes}{NBSP}min"


def listing(words: list[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1] if words else ""


def plural(n: int, noun: str) -> str:
    """'1 run', '3 runs'."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def is_share(metric: str) -> bool:
    """Whether a metric of this name is a share of samples, to be shown as a percentage."""
    return any(word in metric.lower() for word in ("top", "acc", "recall", "per_class"))


def metric_value(metric: str, value: float) -> str:
    """'61.0 %' for accuracies, three significant digits for the rest."""
    return f"{percent(value)}{NBSP}%" if is_share(metric) and 0 <= value <= 1 else f"{value:.3g}"
