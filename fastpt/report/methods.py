"""How tuning methods are called and drawn: as the results that have them say, so that no method is known here."""

import colorsys
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fastpt.printable import listed, mapping, one_line
from fastpt.report.plots import INK, RATE_COLOURS
from fastpt.runs import Run

MARKERS = ["o", "s", "^", "v", "P", "X", "<", ">", "p", "h"]


@dataclass(frozen=True)
class Method:
    """A tuning method, or what its stage of the features is called: name in the results, label, colour, marker."""

    name: str
    label: str
    colour: str  # '#rrggbb', on paper
    marker: str


ENCODER = Method("encoder", "Encoder", INK, "D")  # the stage before any method


def methods_of(runs: Sequence[Run]) -> dict[str, Method]:
    """Every method in the results of `runs` by name, in the order that the results give them.

    One that the results do not describe has its name for a label, and a colour of the noise rates.
    """
    tunes = [tune for run in runs for tune in run.tunes]
    described: dict[str, dict[str, Any]] = {}
    for tune in tunes:
        described = {**_described(tune), **described}
    names = _merged([*([*_described(tune)] for tune in tunes), *([*_used(tune)] for tune in tunes)])
    return {name: _method(index, name, described.get(name, {})) for index, name in enumerate(names)}


def _described(tune: dict[str, Any]) -> dict[str, dict[str, Any]]:
    entries = mapping(tune.get("methods")).items()
    return {one_line(name): entry for name, entry in entries if isinstance(entry, dict)}


def _used(tune: dict[str, Any]) -> Iterable[str]:
    for records, key in (("rows", "method"), ("spectra", "stage")):
        found = tune.get(records)
        for record in listed(found):
            if isinstance(record, dict) and (name := one_line(record.get(key))) != ENCODER.name:
                yield name


def _merged(lists: Iterable[Sequence[str]]) -> list[str]:
    """All names once; each new one behind its forerunner in its own list."""
    merged: list[str] = []
    for names in lists:
        place = 0
        for name in names:
            if name not in merged:
                merged.insert(place, name)
            place = merged.index(name) + 1
    return merged


def _method(index: int, name: str, entry: dict[str, Any]) -> Method:
    colour = entry.get("colour")
    if not isinstance(colour, str) or not re.fullmatch("#[0-9a-fA-F]{6}", colour):
        colour = RATE_COLOURS[2 * index % len(RATE_COLOURS)]
    return Method(name, one_line(entry.get("label", name)), colour.lower(), MARKERS[index % len(MARKERS)])


def on_dark(colour: str) -> str:
    """The lighter tone of a colour of paper that is read on a dark page."""
    red, green, blue = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    channels = colorsys.hls_to_rgb(hue, 0.38 + 0.6 * lightness, 0.65 * saturation)
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in channels)
