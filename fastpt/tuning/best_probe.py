"""The probe that others are compared with: of each set and share of the data the one that validated best.

A probe is a method that answers on the features as they are. The choice is a function of the validation parts of the
training data alone, so it is made before a test is read, whichever would have been best there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from fastpt.tuning.results import Row

NAME = "best-probe"
"""Under which its rows stand in the results."""


def best_probes(rows: Sequence[Row]) -> dict[tuple[str, str, float], str]:
    """Of each domain, set and fraction the method with the best mean validation over its heads; of equals, the first.

    Empty unless the rows are of two probes at least, all heads of which have a validation.
    """
    validation: dict[tuple[str, str, float], dict[str, list[float | None]]] = {}
    for row in rows:
        validation.setdefault((row.domain, row.set, row.fraction), {}).setdefault(row.method, []).append(row.validation)
    found = {}
    for key, methods in validation.items():
        means = {
            method: fmean(one for one in values if one is not None)
            for method, values in methods.items()
            if None not in values
        }
        if len(means) > 1:
            found[key] = max(means, key=means.__getitem__)
    return found


def with_best_probe(rows: Sequence[Row]) -> list[Row]:
    """The rows, and behind them those of the best probes again, as of a method whose setting says which probe it is."""
    chosen = best_probes(rows)
    best = [
        replace(row, method=NAME, settings={"probe": row.method})
        for row in rows
        if chosen.get((row.domain, row.set, row.fraction)) == row.method
    ]
    return [*rows, *best]


def described(rows: Sequence[Row], methods: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the results say of it as of a method: which probes it is chosen from, and how many settings they try."""
    probes = [name for name in methods if any(row.method == name and row.validation is not None for row in rows)]
    tried = [methods[name]["settings"].get("tried") for name in probes]
    settings = {"of": probes, "tried": tried}
    return {"label": "Best probe", "colour": "#444444", "settings": settings, "derived": True}
