"""Bars with their ranges as a small SVG, for pages."""

from html import escape
from typing import Any

from tools.bench.contest import number

LABELS, BARS, VALUES, ROW = 250, 330, 90, 22  # px: width of the three columns, height of a row
OURS, THEIRS, RANGE, TEXT = "#0072b2", "#9aa0a6", "#333333", "#222222"


def svg(unit: str, entries: list[dict[str, Any]]) -> str:
    """A bar an entry, from `label`, `median`, `values` and `package`; those of fastpt in its colour."""
    top = max(max(entry["values"]) for entry in entries)
    height = ROW * len(entries) + 30
    width = LABELS + BARS + VALUES
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for row, entry in enumerate(entries):
        middle = ROW * row + 16
        ends, low, high = (
            BARS * value / top for value in (entry["median"], min(entry["values"]), max(entry["values"]))
        )
        colour = OURS if entry["package"] == "fastpt" else THEIRS
        parts += [
            f'<text x="{LABELS - 8}" y="{middle + 4}" text-anchor="end" fill="{TEXT}">{escape(entry["label"])}</text>',
            f'<rect x="{LABELS}" y="{middle - 8}" width="{max(ends, 1):.1f}" height="16" fill="{colour}"/>',
            f'<path d="M{LABELS + low:.1f} {middle}H{LABELS + high:.1f}" stroke="{RANGE}"/>',
            f'<text x="{LABELS + high + 6:.1f}" y="{middle + 4}" fill="{TEXT}">{number(entry["median"])}</text>',
        ]
    parts.append(f'<text x="{LABELS}" y="{height - 8}" fill="{TEXT}">{escape(unit)}</text>')
    return "\n".join([*parts, "</svg>\n"])
