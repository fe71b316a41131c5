"""Which figures the page has: each is a caption and some panels."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from fastpt.intervals import Interval
from fastpt.printable import finite, listed, one_line, plural
from fastpt.report.compare import (
    DOMAINS,
    Accuracies,
    Condition,
    Family,
    accuracies,
    ends,
    fractions,
    metric_words,
    records,
    run_average,
    set_label,
)
from fastpt.report.measures import measures_of
from fastpt.report.methods import ENCODER, MARKERS, Method
from fastpt.report.paper import LP
from fastpt.report.plots import Axes, Series, draw, rate_style
from fastpt.runs import Run
from fastpt.tuned import cross_fitted

MOST_PANELS = 8  # of a figure that is shown unfolded
MOST_POINTS = 200  # of a curve: more cannot be told apart on a panel
Test = tuple[str, str, str]  # domain, set, test


@dataclass(frozen=True)
class Figure:
    """Panels by name (the name is also the file name of the SVG)."""

    title: str
    caption: str
    panels: dict[str, str]
    is_wide: bool = False
    """Panels take the whole width of the page."""

    @property
    def is_long(self) -> bool:
        """Whether the page folds it."""
        return len(self.panels) > MOST_PANELS


def _figure(title: str, caption: str, panels: dict[str, str]) -> Figure | None:
    return Figure(title, caption, panels) if panels else None


def rate_figure(family: Family, suite: str, number_: str) -> Figure | None:
    """ID and OOD averages of the tables against the noise rate, a line for each method.

    A panel for each kind of noise, or each plan where several have a kind and a rate; clean is the first of each.
    """
    panels = {}
    points = 0
    found = [accuracies(family, suite, domain) for domain in DOMAINS]
    tables = [table for table in found if table and table.averages]
    plans = sorted({(one.kind, one.suffix) for one in family.conditions if one.kind}) or [(None, "")]
    for kind, suffix in plans:
        for table in tables:
            rates = {
                one: 100 * one.rate
                for one in table.conditions
                if one.rate is not None and (one.kind is None or (one.kind, one.suffix) == (kind, suffix))
            }
            if rates:
                name = f"rate-{number_}-{kind or 'clean'}{suffix}-{table.domain}"
                of = f" · {kind}{suffix}" * (len(plans) > 1)
                title = f"{DOMAINS[table.domain]}, average of {plural(len(table.common), 'test')}{of}"
                panels[name] = _rate_panel(name, title, table, rates, family.methods)
                points = max(points, len({*rates.values()}))
    caption = (
        "Accuracy averaged over the tests of the suite against the noise rate of pre-training; bands, where there are "
        "any, are 95 % confidence intervals over seeds, of each point by itself, as in the tables below."
        + (" One rate only: points, no trend." if points == 1 else "")
    )
    return _figure(f"Accuracy against noise rate: {family.label}", caption, panels)


def _rate_panel(
    name: str, title: str, table: Accuracies, rates: Mapping[Condition, float], methods: Mapping[str, Method]
) -> str:
    """The averages of some conditions of a table against their rates, in percent."""
    ticks = sorted(set(rates.values()))
    series = []
    for index, method in enumerate(table.methods):
        cells = {rate: cell for one, rate in rates.items() if (cell := table.cell(one, None, method))}
        series.append(_method_line(methods[method], index, cells))
    axes = Axes(
        title, "noise rate in pre-training (%)", f"{metric_words(table.common)} (%)", ticks=ticks, least_span=10
    )
    return draw(name, axes, series)


def _method_line(method: Method, index: int, cells: Mapping[float, Interval]) -> Series:
    """Accuracies in percent against `cells`' keys, with their intervals."""
    return Series(
        method.label,
        list(cells),
        [100 * cell.mean for cell in cells.values()],
        method.colour,
        method.marker,
        error=[100 * (cell.ci95_half or 0) for cell in cells.values()],
        dash=index,
    )


def fraction_figure(family: Family, suite: str, domain: str, number_: str) -> Figure | None:
    """Average accuracy against the fraction of the downstream training data: a panel for clean and the highest rate."""
    shares = fractions(family.conditions, suite)
    if len(shares) < 2:
        return None
    every = {share: accuracies(family, suite, domain, share) for share in shares}
    tables = {share: table for share, table in every.items() if table and table.averages}
    panels = {}
    for condition in dict.fromkeys(ends(family, family.conditions)):
        name = f"fraction-{number_}-{domain}-{condition.rank}"
        series = _fraction_lines(condition, tables, family.methods)
        if series:
            axes = Axes(
                f"{DOMAINS[domain]} · {condition.label}",
                "training data used (%)",
                "average accuracy (%)",
                log_x=True,
                ticks=[100 * share for share in tables],
                least_span=10,
            )
            panels[name] = draw(name, axes, series)
    caption = (
        "Accuracy averaged over the tests of the suite, of heads trained on a part of each set's training data, "
        "after pre-training at the lowest and the highest noise rate; bands are 95 % confidence intervals over seeds."
    )
    return _figure(f"{DOMAINS[domain]} accuracy against data fraction: {family.label}", caption, panels)


def _fraction_lines(
    condition: Condition, tables: dict[float, Accuracies], methods: Mapping[str, Method]
) -> list[Series]:
    lines = []
    for index, method in enumerate(dict.fromkeys(method for table in tables.values() for method in table.methods)):
        cells = {100 * share: cell for share, table in tables.items() if (cell := table.cell(condition, None, method))}
        if cells:
            lines.append(_method_line(methods[method], index, cells))
    return lines


def spectrum_figure(family: Family, suite: str, number_: str) -> Figure | None:
    """Singular values of the frozen encoder's features on each test set: the mean of each condition's runs."""
    lines: dict[Test, list[Series]] = {}
    styles = condition_styles(family)
    for condition in family.conditions:
        found: dict[Test, list[list[float]]] = {}
        for test, stage, values in (one for run in condition.runs for one in _spectra(run, suite)):
            if stage == ENCODER.name:
                found.setdefault(test, []).append([value / values[0] for value in values])
        for test, spectra in found.items():
            mean = [fmean(values) for values in zip(*spectra, strict=False)]
            lines.setdefault(test, []).append(_spectrum_line(condition.name, mean, **styles[condition]))
    panels = {}
    for index, ((domain, set_, test), series) in enumerate(lines.items()):
        name = f"spectrum-{number_}-{index}"
        title = f"{DOMAINS.get(domain, domain)} · {set_label(domain, set_, test)}"
        panels[name] = draw(name, Axes(title, "index i", "σᵢ / σ₁", log_x=True, log_y=True), series)
    caption = (
        "Singular values of the frozen encoder's features on each test set, relative to the largest"
        f"{', means over seeds' if any(len(one.runs) > 1 for one in family.conditions) else ''}."
    )
    return _figure(f"Singular value spectra of the encoder: {family.label}", caption, panels)


def relation_figure(family: Family, suite: str, number_: str) -> Figure | None:
    """The paper's figure 3: the spectrum of the encoder's features against the linear probe, a point for each run."""
    panels, styles = {}, condition_styles(family)
    for domain, measure, words in (("id", "sve", "singular value entropy (SVE)"), ("ood", "lsvr", "LSVR")):
        table = accuracies(family, suite, domain)
        if table is None or LP not in table.methods:
            continue
        series, spectra = [], spectrum_means(family, suite, domain, measure)
        for condition in table.conditions:
            points = [
                (spectra[run], 100 * accuracy)
                for run in condition.runs
                if run in spectra and (accuracy := run_average(run, suite, table, LP)) is not None
            ]
            if points:
                x, y = zip(*points, strict=True)
                kinds = family.kinds
                marker = MARKERS[kinds.index(condition.kind) if condition.kind else 0]
                series.append(Series(condition.name, x, y, marker=marker, joined=False, **styles[condition]))
        if sum(len(one.x) for one in series) > 1:
            name = f"relation-{number_}-{domain}"
            axes = Axes(
                DOMAINS[domain],
                words,
                f"{family.methods[LP].label}, average {DOMAINS[domain]} accuracy (%)",
                least_span=5,
            )
            panels[name] = draw(name, axes, series)
    caption = (
        "Left to right: how evenly the features use their directions (SVE), and how little the largest one dominates "
        "(LSVR: minus the logarithm of its share), each a mean over the test sets that all runs have, against the "
        "linear probe's accuracy."
    )
    return _figure(f"Spectra against accuracy: {family.label}", caption, panels)


def spectrum_means(family: Family, suite: str, domain: str, measure: str) -> dict[Run, float]:
    """SVE or LSVR of the encoder's features of each run that has spectra, a mean over the test sets that all have."""
    every = {run: _measured_spectra(run, suite, domain, measure) for one in family.conditions for run in one.runs}
    found = {run: values for run, values in every.items() if values}
    common = [test for test in next(iter(found.values()), ()) if all(test in values for values in found.values())]
    return {run: fmean(values[test] for test in common) for run, values in found.items() if common}


def _measured_spectra(run: Run, suite: str, domain: str, measure: str) -> dict[tuple[str, str], float]:
    """Of each test set of a domain, by set and test."""
    return {
        (one_line(one.get("set")), one_line(one.get("test"))): value
        for one in records(run, suite, "spectra")
        if (one.get("domain"), one.get("stage")) == (domain, ENCODER.name)
        and (value := finite(one.get(measure))) is not None
    }


def stage_figure(family: Family, suite: str, number_: str) -> Figure | None:
    """How the heads change the spectrum: a panel for each condition, on the first set that has more than one stage."""
    panels = {}
    shown: Test | None = None
    for condition in family.conditions:
        by_test: dict[Test, list[tuple[Method, list[float]]]] = {}
        for test, stage, values in _spectra(condition.runs[0], suite):
            by_test.setdefault(test, []).append((family.stages[stage], values))
        tests = [test for test, spectra in by_test.items() if len(spectra) > 1 and shown in (None, test)]
        if not tests:
            continue
        shown = tests[0]
        name = f"stages-{number_}-{condition.rank}"
        series = [
            _spectrum_line(stage.label, values, dash=index, colour=stage.colour)
            for index, (stage, values) in enumerate(by_test[shown])
        ]
        panels[name] = draw(name, Axes(condition.name, "index i", "σᵢ / σ₁", log_x=True, log_y=True), series)
    if shown is None:
        return None
    caption = (
        f"Spectra before and after the tuned layers, on {set_label(*shown)} (the first set that has both; "
        "the table below has all). Of several seeds, the first. " + cross_fitted([{"set": shown[1], "test": shown[2]}])
    ).strip()
    return Figure(f"What tuning does to the spectrum: {family.label}", caption, panels)


def condition_styles(family: Family) -> dict[Condition, dict]:
    """Colour by the rate, and the dash too; where there are several kinds of noise, the dash by these."""
    rates, kinds = list(dict.fromkeys(one.rate for one in family.conditions)), family.kinds
    styles = {one: rate_style(rates.index(one.rate), len(rates)) for one in family.conditions}
    if len({(one.kind, one.rate) for one in family.conditions}) < len(family.conditions):  # plans of one kind and rate
        return {one: rate_style(one.rank, one.ranks) for one in family.conditions}
    if len(kinds) > 1:
        styles = {one: style | {"dash": kinds.index(one.kind) if one.kind else 0} for one, style in styles.items()}
    return styles


def _spectra(run: Run, suite: str) -> Iterable[tuple[Test, str, list[float]]]:
    """The test set, the stage and the singular values of each of a run's features, the largest first."""
    for spectrum in records(run, suite, "spectra"):
        raw = spectrum.get("singular_values")
        values = [value for each in listed(raw) if (value := finite(each)) is not None]
        if values and values[0] > 0:
            domain, set_, test = (one_line(spectrum.get(key)) for key in ("domain", "set", "test"))
            yield (domain, set_, test), one_line(spectrum.get("stage")), values


def _spectrum_line(label: str, values: list[float], **style) -> Series:
    """Relative singular values at log-spaced indices; zeros cannot stand on a log scale and end the line."""
    positive = [(index, value / values[0]) for index, value in enumerate(values, 1) if value > 0]
    last = len(positive)
    wanted = sorted({round(last ** (step / MOST_POINTS)) for step in range(MOST_POINTS + 1)})
    chosen = [positive[index - 1] for index in wanted]
    return Series(label, [index for index, _ in chosen], [value for _, value in chosen], **style)


def curve_figure(family: Family, number_: int) -> Figure | None:
    """Training loss, the first measure and learning rate against the step, a line for each noise plan."""
    measured = measures_of([run for one in family.conditions for run in one.runs])
    wanted = [("loss", "train loss", "training loss", False), ("lr", "learning rate", "learning rate", False)]
    if measured:
        wanted.insert(1, (measured[0].name, measured[0].label, "evaluation", True))
    panels, styles = {}, condition_styles(family)
    for key, label, title, evaluated in wanted:
        percent = evaluated and measured[0].is_share
        series = [
            _curve(
                condition, styles[condition], "evals" if evaluated else "train", key, 100 if percent else 1, evaluated
            )
            for condition in family.conditions
        ]
        series = [one for one in series if one.x]
        if series:
            name = f"curve-{number_}-{'eval' if evaluated else key}"
            label += " (%)" if percent else ""
            panels[name] = draw(name, Axes(title, "step", label), series)
    many = any(len(one.runs) > 1 for one in family.conditions)
    caption = f"{'Means over seeds' if many else 'As logged'}; beyond {MOST_POINTS} points, means of consecutive ones."
    return _figure(f"Training: {family.label}", caption, panels)


def _curve(condition: Condition, style: dict, log: str, key: str, scale: float, marked: bool) -> Series:
    """A logged quantity of a condition at each step: the mean of the runs that have it."""
    at_step: dict[float, list[float]] = {}
    for record in (record for run in condition.runs for record in getattr(run, log)):
        if (value := finite(record.get(key))) is not None:
            at_step.setdefault(record["step"], []).append(scale * value)
    points = [(step, fmean(values)) for step, values in sorted(at_step.items())]
    width = math.ceil(len(points) / MOST_POINTS) or 1
    chunks = [points[start : start + width] for start in range(0, len(points), width)]
    x, y = ([fmean([point[axis] for point in chunk]) for chunk in chunks] for axis in (0, 1))
    return Series(condition.name, x, y, marker="o" if marked else None, **style)
