"""The page's tables as plain cells of text, and the same numbers as CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from fastpt.intervals import Interval, interval
from fastpt.printable import csv_cell, finite, mapping, one_line, plural
from fastpt.report import StepCost
from fastpt.report.apart import Comparison
from fastpt.report.compare import (
    DOMAINS,
    Accuracies,
    Condition,
    Family,
    Key,
    fractions,
    metric_words,
    records,
    row_labels,
)
from fastpt.report.effects import Effect, points
from fastpt.report.measures import measures_of, memorization_of, memorized
from fastpt.report.text import NBSP, count, duration, percent, rate
from fastpt.runs import Run

_ACCURACY_COLUMNS = "suite recipe condition domain set test metric fraction method mean_percent ci95_half_percent n"
_EFFECT_COLUMNS = "suite recipe domain condition method minus difference_points se_points df ci95_half_points p"
MOST_ROWS, MOST_COLUMNS = 40, 4
"""Of a table that is shown unfolded, and beside another."""


@dataclass(frozen=True)
class Cell:
    text: str
    best: bool = False


@dataclass(frozen=True)
class Row:
    label: str
    cells: list[Cell]
    average: bool = False


@dataclass(frozen=True)
class Group:
    """The rows of one condition."""

    label: str
    rows: list[Row]


@dataclass(frozen=True)
class Table:
    title: str
    columns: list[str]
    groups: list[Group]
    note: str
    corner: str = "Set"

    @property
    def is_wide(self) -> bool:
        """Whether it takes more than half of the page's width."""
        return len(self.columns) > MOST_COLUMNS

    @property
    def is_long(self) -> bool:
        """Whether the page folds it."""
        return sum(len(group.rows) for group in self.groups) > MOST_ROWS


def run_cells(run: Run) -> list[tuple[str, str]]:
    """One run's row of the table of runs: (column, text)."""
    noise = run.noise or {}
    epochs = finite(mapping(run.recipe.get("schedule")).get("epochs"))
    done = [finite(record.get("epoch")) for record in (*run.train, *run.evals)]
    return [
        ("Run", run.name),
        ("Task", run.task),
        ("Model", run.model),
        ("Noise plan", one_line(noise.get("plan", "–")) if run.noise else "clean"),
        ("Rate asked", rate(run.rate)),
        ("Rate realised", _realised(run)),
        ("Epochs", f"{epochs:g}" if epochs is not None else f"{max(filter(None, done), default=0):g}"),
        ("Steps", count(run.last_step) + ("" if run.end else " (unfinished)")),
        ("Final evaluation", _final(run)),
        ("Training time", duration(run.seconds) + ("" if run.end or run.seconds is None else " so far")),
        ("Images/s", count(run.mean("images_per_second"))),
        ("Data wait", "–" if run.mean("data_wait") is None else f"{percent(run.mean('data_wait'))} %"),
    ]


def _realised(run: Run) -> str:
    if run.noise is None:
        return rate(0)
    realised = finite(run.noise.get("realised_rate"))
    return "–" if realised is None else rate(realised)


def _final(run: Run) -> str:
    """The numbers of the last evaluation of each split, accuracies first."""
    parts = []
    for record in run.last_evals:
        split = " in ".join(one_line(record[key]) for key in ("split", "precision") if record.get(key))
        values = [(measure, finite(record.get(measure.name))) for measure in measures_of([run])]
        words = [f"{measure.label} {measure.text(value)}" for measure, value in values if value is not None][:4]
        if words:  # of the training split there may be what was memorised only, which has its own table
            parts.append(f"{split}: {', '.join(words)}" if split else ", ".join(words))
    return "; ".join(parts) or "none logged"


def averages_table(family: Family, numbers: Sequence[Accuracies]) -> Table | None:
    """The averages over sets side by side: a column for each condition, ID and OOD one below the other."""
    numbers = [table for table in numbers if table.averages]
    groups = []
    for table in numbers:
        rows = [
            Row(
                family.methods[method].label,
                [Cell(mean_half(table.cell(condition, None, method))) for condition in family.conditions],
            )
            for method in table.methods
        ]
        groups.append(Group(f"{DOMAINS[table.domain]}, average of {plural(len(table.common), 'test')}", rows))
    if not groups or len(family.conditions) == 1:
        return None
    title = f"Average accuracy by noise: {family.label}"
    return Table(
        title,
        [one.label for one in family.conditions],
        groups,
        f"{_unit(numbers)}. {spread_words(numbers[0])}",
        "Method",
    )


def accuracy_table(family: Family, table: Accuracies) -> Table:
    """Set x method for each condition, the average last, the best of a row marked."""
    groups, labels = [], row_labels(table.domain, table.keys)
    for condition in table.conditions:
        keys = [key for key in table.keys if any(table.cell(condition, key, method) for method in table.methods)]
        rows = [_accuracy_row(table, condition, key, labels[key]) for key in keys]
        if table.averages:
            rows.append(
                _accuracy_row(table, condition, None, f"average ({plural(len(table.common), 'test')})", average=True)
            )
        groups.append(Group(condition.label, rows))
    title = f"{DOMAINS[table.domain]}: {family.label}"
    return Table(title, [family.methods[method].label for method in table.methods], groups, _accuracy_note(table))


def _accuracy_row(table: Accuracies, condition: Condition, key: Key | None, label: str, average: bool = False) -> Row:
    best = table.best(condition, key)
    cells = [Cell(mean_half(table.cell(condition, key, method)), method in best) for method in table.methods]
    return Row(label, cells, average)


def mean_half(cell: Interval | None) -> str:
    if cell is None:
        return "–"
    return percent(cell.mean) if cell.ci95_half is None else f"{percent(cell.mean)} ± {percent(cell.ci95_half)}"


def _accuracy_note(table: Accuracies) -> str:
    labels = row_labels(table.domain, table.keys)
    left_out = [label for key, label in labels.items() if key not in table.common]
    words = [f"{_unit([table])}; the best method of a row is bold.", spread_words(table)]
    if not table.common:
        words.append("No test has a result for every run and method, so there is no average.")
    elif left_out:
        words.append(f"Not in the averages, because not every run and method has it: {', '.join(left_out)}.")
    return " ".join(words)


def _unit(tables: Sequence[Accuracies]) -> str:
    """'In percent', with the metric where it is not accuracy."""
    words = metric_words([key for table in tables for key in table.keys])
    return f"In percent{'' if words == 'accuracy' else f', {words}'}{part_words(tables[0])}"


def part_words(table: Accuracies) -> str:
    """Said only where it is not all of the data."""
    return "" if table.fraction == 1 else f", heads trained on {rate(table.fraction)} of the data"


def spread_words(table: Accuracies) -> str:
    """What ± is, and over which seeds: those of the head say nothing of how far another pre-training would differ."""
    counts = sorted({cell.n for cell in table.cells.values()} - {1})
    if not counts:
        return "One seed: small differences may be chance."
    many = " or ".join(map(str, counts))
    any_alone = any(cell.n == 1 for cell in table.cells.values())
    if table.over_heads:
        alone = " Without ±: one head, or heads that are all alike." if any_alone else ""
        return (
            f"± is a 95 % interval (Student's t) over {many} seeds of the head: "
            f"it says nothing of another pre-training.{alone}"
        )
    alone = " Without ±: one seed." if any_alone else ""
    return f"± is a 95 % interval (Student's t) over {many} pre-training seeds.{alone}"


def effects_table(family: Family, found: Sequence[Effect]) -> Table | None:
    """A column for each condition; ID and OOD, each method against clean pre-training, then against other methods."""
    groups = []
    for domain, words in DOMAINS.items():
        mine = [one for one in found if one.domain == domain]
        for title, kind in (("minus clean pre-training", True), ("between methods", False)):
            pairs = dict.fromkeys((one.method, one.other) for one in mine if (one.other is None) == kind)
            rows = [_effect_row(family, mine, *pair) for pair in pairs]
            groups += [Group(f"{words}, {title}", rows)] if rows else []
    if not groups:
        return None
    alone = " Without ±: not enough runs, from which nothing can be concluded."
    note = (
        "Differences of average accuracy, in points: of one mean a condition, with one variance over all conditions. "
        "Runs of two conditions count as independent; methods are compared within each run. ± is a 95 % interval "
        "(Student's t), not corrected for the number of comparisons."
        + (alone if any(one.difference.se is None for one in found) else "")
    )
    return Table(f"Effects: {family.label}", [one.label for one in family.conditions], groups, note, "Effect")


def _effect_row(family: Family, found: Sequence[Effect], method: str, other: str | None) -> Row:
    mine = {one.condition: one for one in found if (one.method, one.other) == (method, other)}
    label = " − ".join(family.methods[name].label for name in (method, other) if name)
    return Row(label, [Cell(points(mine[one].difference) if one in mine else "–") for one in family.conditions])


def effects_csv(found: Sequence[tuple[str, Family, Sequence[Effect]]]) -> str:
    """The effects of every suite and family in long form; points of a percentage, unrounded."""
    rows: list[list[Any]] = [_EFFECT_COLUMNS.split()]
    for suite, family, mine in found:
        for one in mine:
            where = [suite, family.label, one.domain, one.condition.label]
            found_ = one.difference
            numbers = [times_100(found_.value), times_100(found_.se), found_.df, times_100(found_.half()), found_.p()]
            rows.append([*where, one.method, one.other or "clean pre-training", *numbers])
    return csv_text(rows)


def memorization_table(family: Family) -> Table | None:
    """What the last evaluation found in the training pictures, a row for each run."""
    measures = memorization_of([run for one in family.conditions for run in one.runs])
    if not measures:
        return None
    groups = []
    for one in family.conditions:
        found = {run: memorized(run) for run in one.runs}
        rows = [
            Row(
                f"seed {one_line(run.seed)}" + ("" if run.end else " (unfinished)"),
                [Cell(percent(shares.get(measure.name))) for measure in measures],
            )
            for run, shares in found.items()
        ]
        if len(found) > 1:
            ended = [shares for run, shares in found.items() if run.end]
            every = [[shares[measure.name] for shares in ended if measure.name in shares] for measure in measures]
            means = [Cell(mean_half(interval(shares) if shares else None)) for shares in every]
            rows.append(Row("mean", means, average=True))
        groups += [Group(one.label, rows)] if any(found.values()) else []
    note = (
        "Shares of the training samples looked at by the last evaluation, in percent; ± is a 95 % interval over runs. "
        "Means are over those whose training has ended."
    )
    return Table(f"What was memorised: {family.label}", [measure.label for measure in measures], groups, note, "Run")


def cost_summary(costs: Sequence[StepCost]) -> Table:
    """What a step of each kind takes, and all of them."""
    rows = []
    for kind in dict.fromkeys(one.kind for one in costs):
        mine = [one for one in costs if one.kind == kind]
        done = [one for one in mine if one.state == "done"]
        times = [one.seconds for one in done if one.seconds is not None]
        middle, longest, total = (of(times) if times else None for of in (median, max, sum))
        disk = f"{sum(one.bytes or 0 for one in done) / 1e6:,.1f} MB"
        told = [f"{len(done):,} of {len(mine):,}", duration(middle), duration(longest), duration(total), disk]
        rows.append(Row(kind, [*map(Cell, told)]))
    note = (
        "Time by the clock, of a step that was resumed that of its last stretch. One that was paused, or ran beside "
        "others, took longer than it would have alone: the median is moved little by a few such, the total is not."
    )
    columns = ["Done", "Median time", "Longest", "Total time", "Disk"]
    return Table("Cost", columns, [Group("Steps", rows)], note, "Kind")


def cost_table(costs: Sequence[StepCost]) -> Table:
    """Time and disk of every step of a study, with totals by kind; steps that are not done say so."""
    groups = []
    for kind in dict.fromkeys(one.kind for one in costs):
        mine = [one for one in costs if one.kind == kind]
        done = [one for one in mine if one.state == "done"]
        rows = [Row(one_line(one.step), _cost_cells(one)) for one in mine]
        words = f"{plural(len(done), 'step')} done"
        total = StepCost(words, kind, sum(one.seconds or 0 for one in done), sum(one.bytes or 0 for one in done))
        groups.append(Group(kind, [*rows, Row(words, _cost_cells(total), average=True)]))
    return Table("Cost of every step", ["Time", "Disk"], groups, "As recorded when the step was done.", "Step")


def _cost_cells(one: StepCost) -> list[Cell]:
    if one.state != "done":
        return [Cell(one.state), Cell("–")]
    return [Cell(duration(one.seconds)), Cell("–" if one.bytes is None else f"{one.bytes / 1e6:,.1f} MB")]


def csv_files(runs: Sequence[Run], tables: Sequence[tuple[str, Family, Accuracies]]) -> dict[str, str]:
    """The runs, and the accuracies in long form, in per cent and unrounded, as CSV text by file name."""
    columns = [column for column, _ in run_cells(runs[0])]
    long: list[list[Any]] = [_ACCURACY_COLUMNS.split()]
    for suite, family, table in tables:
        for (condition, key, method), cell in table.cells.items():
            where = [suite, family.label, condition.label, table.domain, *key, table.fraction, method]
            long.append([*where, times_100(cell.mean), times_100(cell.ci95_half), cell.n])
    return {
        "runs.csv": csv_text([columns, *([text for _, text in run_cells(run)] for run in runs)]),
        "accuracy.csv": csv_text(long),
    }


def steps_csv(costs: Sequence[StepCost]) -> str:
    """Time and disk of every step of a study."""
    rows = [[one.step, one.kind, one.state, one.seconds, one.bytes] for one in costs]
    return csv_text([["step", "kind", "state", "seconds", "bytes"], *rows])


def fields_csv(comparison: Comparison) -> str:
    """What produced each run and each of its results, field by field: replicate, condition, setting or circumstance."""
    rows: list[list[Any]] = [["run", "results", "kind", "field", "value"]]
    for run, name, identity in comparison.identities:
        for field, value in identity.values.items():
            rows.append([run.name, name, identity.role(field), field, value])
    return csv_text(rows)


def times_100(share: float | None) -> float | None:
    """A share in per cent, or a difference of shares in points, as CSV files have it; what is not there stays so."""
    return None if share is None else 100 * share


def csv_text(rows: list[list]) -> str:
    """Rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([csv_cell(value) for value in row] for row in rows)
    return text.getvalue().replace(NBSP, " ")


def missing_fractions(groups: Sequence[Family], suite: str) -> list[str]:
    """Runs that are in no table, as their heads were trained on smaller shares of the data than those of others."""
    found = []
    for family in groups:
        shares = fractions(family.conditions, suite)
        for run in (run for one in family.conditions for run in one.runs):
            mine = [finite(row.get("fraction")) for row in records(run, suite, "rows")]
            if mine and shares and shares[-1] not in mine:
                found.append(f"{run.name}: no head on {rate(shares[-1])} of the data, of which the tables are")
    return found


def missing_sets(runs: Sequence[Run], suite: str) -> list[str]:
    """What tuning left out, by set and reason, with the runs it concerns."""
    found: dict[str, list[str]] = {}
    for run in runs:
        for record in records(run, suite, "missing"):
            where = ", ".join(one_line(record[key]) for key in ("set", "method") if record.get(key))
            state = "failed: " if record.get("failed") else ""
            found.setdefault(f"{state}{where}: {one_line(record.get('reason'))}", []).append(run.name)
    return [text if len(names) == len(runs) else f"{text} ({_some(names)})" for text, names in found.items()]


def _some(names: Sequence[str]) -> str:
    """'a, b, c and 93 more'."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
