"""Numbers and lists of words as the page shows them."""

from fastpt.printable import percentage

NBSP = "\u00a0"  # between a number and its unit


def percent(share: float | None, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage without its sign, or a dash."""
    return "–" if share is None else f"{100 * share:.{digits}f}"


def rate(share: float | None) -> str:
    """A noise rate: 0.05 -> '5 %' (the space does not break); see `percentage`."""
    return "unknown rate" if share is None else percentage(share).replace(" ", NBSP)


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
