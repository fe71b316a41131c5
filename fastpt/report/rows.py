"""What every head reached on every test: all of it as CSV, and what was measured beside accuracy as a table."""

from collections.abc import Sequence
from typing import Any

from fastpt.intervals import Interval
from fastpt.printable import finite, mapping, one_line
from fastpt.report.compare import DOMAINS, Family, accuracies, records, suites
from fastpt.report.tables import Cell, Group, Row, Table, csv_text, mean_half, times_100
from fastpt.runs import Run

_COLUMNS = "suite recipe run noise rate noise_seed seed domain set test metric method fraction head_seed percent"


def measures_table(family: Family, suite: str) -> Table | None:
    """What else was measured of the heads: a row for each method, averages over common sets."""
    known = _known([run for one in family.conditions for run in one.runs])
    groups = []
    for domain, words in DOMAINS.items():
        found = {name: accuracies(family, suite, domain, measure=name) for name in known}
        for condition in family.conditions:
            rows = []
            for method, shown in family.methods.items():
                cells = [one.cell(condition, None, method) if one else None for one in found.values()]
                if any(cells):
                    texts = [_measure_text(cell, known[name]) for cell, name in zip(cells, found, strict=True)]
                    rows.append(Row(shown.label, [*map(Cell, texts)]))
            groups += [Group(f"{words}, {condition.label}", rows)] if rows else []
    if not groups:
        return None
    columns = [f"{one_line(entry.get('label'))}{', %' if entry.get('is_share') else ''}" for entry in known.values()]
    note = (
        "Averages over the sets that every run and method has a value on. ECE: expected calibration error of 15 bins; "
        "NLL in nats; neither is there (–) of methods that give no probabilities."
    )
    return Table(f"Beside accuracy: {family.label}", columns, groups, note, "Method")


def _known(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """The measures that results describe, by name: their label, and whether they are shares."""
    described = [mapping(tune.get("measures")) for run in runs for tune in run.tunes]
    return {name: mapping(entry) for one in described for name, entry in one.items()}


def _measure_text(cell: Interval | None, entry: dict[str, Any]) -> str:
    if cell is None or entry.get("is_share"):
        return mean_half(cell)
    return f"{cell.mean:.3f}" if cell.ci95_half is None else f"{cell.mean:.3f} ± {cell.ci95_half:.3f}"


def rows_csv(runs: Sequence[Run]) -> str:
    """What every head of every run reached on every test, in per cent, unrounded: what all else is computed from."""
    known = _known(runs)
    measures = [f"{name}_percent" if entry.get("is_share") else name for name, entry in known.items()]
    rows: list[list[Any]] = [[*_COLUMNS.split(), *map(one_line, measures)]]
    for suite in suites(runs):
        for run in runs:
            noise = run.noise or {}
            where = [suite, run.recipe_name, run.name, run.kind or "clean", run.rate, noise.get("seed"), run.seed]
            for row in records(run, suite, "rows"):
                value = finite(row.get("value"))
                told = [row.get(key) for key in ("domain", "set", "test", "metric", "method", "fraction", "seed")]
                found = {name: finite(mapping(row.get("measures")).get(name)) for name in known}
                more = [times_100(one) if known[name].get("is_share") else one for name, one in found.items()]
                rows.append([*map(_plain, [*where, *told]), times_100(value), *more])
    return csv_text(rows)


def _plain(value: Any) -> Any:
    """Numbers as they are, other things as a line of text."""
    return value if value is None or finite(value) is not None else one_line(value)
