"""What the noise rate does to a quantity: a line for each kind of noise, from clean on, with both intervals.

One mean a condition and one variance over all, as claims have it; a run counts once.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from fastpt.errors import FastptError
from fastpt.printable import plural
from fastpt.report.compare import DOMAINS, Condition, Family
from fastpt.report.effects import Effect
from fastpt.report.figures import Figure, spectrum_means
from fastpt.report.measures import measured, measures_of, memorization_of, memorized
from fastpt.report.methods import MARKERS
from fastpt.report.paper import LP
from fastpt.report.plots import RATE_COLOURS, Axes, Series, draw
from fastpt.report.statistics import Estimate, fit
from fastpt.report.tables import Cell, Group, Row, Table
from fastpt.runs import Run

KIND_COLOURS = (RATE_COLOURS[0], RATE_COLOURS[4], RATE_COLOURS[2])
X = "noise rate in pre-training (%)"
APART = 0.5  # points of the noise rate between two lines, so that bars do not cover each other
INTERVALS = (
    "Thick bars: 95 % intervals of each point; thin: those of all points of a panel hold together with 95 % "
    "(Bonferroni); of one variance over all conditions. Lines are a little apart sideways."
)
RIGHT_PART = " Right part: trained on what the noise leaves right alone, for as many steps."
Points = Mapping[float, Estimate]  # by noise rate


def effect_figure(family: Family, found: Sequence[Effect], number: str) -> Figure | None:
    """The linear probe (or the first method) minus that after clean pre-training, and methods minus each other.

    None where no difference has an interval: accuracies against the rate show the same then.
    """
    if all(one.difference.se is None for one in found):
        return None
    panels = {}
    compared = [one for one in found if one.other is None]
    method = LP if any(one.method == LP for one in compared) else next((one.method for one in compared), None)
    for domain, word in DOMAINS.items():
        mine = [one for one in compared if (one.domain, one.method) == (domain, method)]
        lines = _lines({one.condition: one.difference for one in mine}, {0.0: Estimate(0.0, None, 0)})
        if lines and method:
            name = f"effect-{number}-{domain}"
            panels[name] = _differences(name, f"{word}: {family.methods[method].label} − clean", lines)
    for kind in family.wrong_kinds:
        for domain, word in DOMAINS.items():
            lines: dict[str, dict[float, Estimate]] = {}
            colours: dict[str, str] = {}
            for one in found:
                where = one.condition
                if one.domain == domain and one.other and where.kind in (None, kind) and where.rate is not None:
                    label = " − ".join(family.methods[name].label for name in (one.method, one.other)) + where.suffix
                    lines.setdefault(label, {})[where.rate] = one.difference
                    colours[label] = family.methods[one.other].colour
            if lines:
                name = f"between-{number}-{kind}-{domain}"
                title = f"{word}: between methods" + f" · {kind}" * (len(family.wrong_kinds) > 1)
                panels[name] = _differences(name, title, lines, [*colours.values()])
    caption = f"Differences of average accuracy, in points. {INTERVALS}{_of_right_part(family)}"
    return Figure(f"Effects against noise rate: {family.label}", caption, panels) if panels else None


def _of_right_part(family: Family) -> str:
    return RIGHT_PART if len(family.kinds) > len(family.wrong_kinds) else ""


def _differences(name: str, title: str, lines: Mapping[str, Points], colours: Sequence[str] = KIND_COLOURS) -> str:
    axes = Axes(title, X, "difference (points)", ticks=_ticks(lines), has_zero=True)
    return draw(name, axes, _series(lines, 100, colours))


def _lines(found: Mapping[Condition, Estimate], clean: Points) -> dict[str, dict[float, Estimate]]:
    """A line for each kind of noise, or each plan where several have a kind and a rate; clean is the first of each."""
    lines: dict[str, dict[float, Estimate]] = {}
    for one, estimate in found.items():
        if one.kind and one.rate is not None:
            lines.setdefault(f"{one.kind}{one.suffix}", {**clean})[one.rate] = estimate
    return dict(sorted(lines.items()))


def spectrum_trend(family: Family, suite: str, number: str) -> Figure | None:
    """SVE and LSVR of the frozen encoder's features, means over the tests, against the noise rate."""
    panels = {}
    for measure, words in (("sve", "singular value entropy (SVE)"), ("lsvr", "LSVR")):
        for domain, word in DOMAINS.items():
            name = f"spectrum-rate-{number}-{measure}-{domain}"
            means = spectrum_means(family, suite, domain, measure)
            panels |= _panel(family, name, f"{word}: {measure.upper()}", words, means.get)
    told = "Of the frozen encoder's features, means over the tests that all runs have."
    caption = f"{told} {INTERVALS}{_of_right_part(family)}"
    return Figure(f"Spectra against noise rate: {family.label}", caption, panels) if panels else None


def training_trend(family: Family, number: int) -> Figure | None:
    """What the last evaluation of the training measured, and what was memorised, against the noise rate."""
    panels = {}
    for index, (label, value, scale) in enumerate(_of_training(family)):
        unit = " (%)" if scale == 100 else ""
        panels |= _panel(family, f"training-rate-{number}-{index}", label, f"last evaluation{unit}", value, scale)
    told = f"By the last evaluation; of the training pictures, shares of those looked at.{_unfinished(family)}"
    caption = f"{told} {INTERVALS}{_of_right_part(family)}"
    return Figure(f"Pre-training against noise rate: {family.label}", caption, panels) if panels else None


def training_table(family: Family) -> Table | None:
    """The same, a row for each condition."""
    columns, cells = [], []
    for label, value, scale in _of_training(family):
        columns.append(label + (", %" if scale == 100 else ""))
        cells.append(_estimates(family, value))
    if not columns or len(family.conditions) == 1:
        return None
    scales = [scale for *_, scale in _of_training(family)]
    rows = [
        Row(one.label, [Cell(_text(mine.get(one), scale)) for mine, scale in zip(cells, scales, strict=True)])
        for one in family.conditions
    ]
    note = f"Means over runs; ± is a 95 % interval, of one variance over all conditions.{_unfinished(family)}"
    return Table(f"Pre-training by noise: {family.label}", columns, [Group("Last evaluation", rows)], note, "Noise")


def _text(one: Estimate | None, scale: float) -> str:
    if one is None:
        return "–"
    half, digits = one.half(), 1 if scale == 100 else 3
    return f"{scale * one.value:.{digits}f}" + ("" if half is None else f" ± {scale * half:.{digits}f}")


def _of_training(family: Family) -> list[tuple[str, Callable[[Run], float | None], float]]:
    """Label, value of a run and scale of what evaluations of the family's runs measured, and of what was memorised.

    Of runs whose training has ended: what others evaluated last is of a part of it.
    """
    runs = [run for one in family.conditions for run in one.runs if run.end]
    found: list[tuple[str, Callable[[Run], float | None], float]] = []
    for one in measures_of(runs)[:1]:
        found.append((one.label, partial(_measured, name=one.name), 100.0 if one.is_share else 1.0))
    for one in memorization_of(runs):
        found.append((one.label, partial(_memorised, name=one.name), 100.0))
    return found


def _measured(run: Run, name: str) -> float | None:
    return measured(run, name) if run.end else None


def _memorised(run: Run, name: str) -> float | None:
    return memorized(run).get(name) if run.end else None


def _unfinished(family: Family) -> str:
    """How many runs are in no mean, as they are not at their end."""
    left_out = sum(not run.end for one in family.conditions for run in one.runs)
    return f" Without {plural(left_out, 'run')} whose training has not ended." if left_out else ""


def _panel(
    family: Family, name: str, title: str, words: str, value: Callable[[Run], float | None], scale: float = 1
) -> dict[str, str]:
    """A panel by its name, a line for each kind of noise; none where fewer than two conditions have the value."""
    found = _estimates(family, value)
    clean = next((each for one, each in found.items() if one.kind is None), None)
    lines = _lines(found, {} if clean is None else {0.0: clean})
    if len({one.rate for one in found}) < 2 or not lines:
        return {}
    return {name: draw(name, Axes(title, X, words, ticks=_ticks(lines)), _series(lines, scale))}


def _estimates(family: Family, value: Callable[[Run], float | None]) -> dict[Condition, Estimate]:
    """The mean of each condition that has the value."""
    found = {
        one: [(each, run.machine) for run in one.runs if (each := value(run)) is not None] for one in family.conditions
    }
    found = {one: mine for one, mine in found.items() if mine}
    samples = {one: [each for each, _ in mine] for one, mine in found.items()}
    if not samples:
        return {}
    try:
        model = fit(samples, {one: [machine for _, machine in mine] for one, mine in found.items()})
    except FastptError:  # machines coincide with conditions, which the table of differences says
        model = fit(samples)
    return {one: model.contrast({one: 1.0}) for one in samples}


def _series(lines: Mapping[str, Points], scale: float, colours: Sequence[str] = KIND_COLOURS) -> list[Series]:
    """Lines by label, their points a little apart sideways."""
    of = max(1, sum(one.se is not None for line in lines.values() for one in line.values()))
    found = []
    for index, (label, line) in enumerate(lines.items()):
        shift = APART * (index - (len(lines) - 1) / 2)
        error, wider = ([scale * (one.half(most) or 0) for one in line.values()] for most in (1, of))
        found.append(
            Series(
                label,
                [100 * rate + shift for rate in line],
                [scale * one.value for one in line.values()],
                colours[index % len(colours)],
                MARKERS[index % len(MARKERS)],
                dash=index,
                error=error,
                wider=wider,
            )
        )
    return found


def _ticks(lines: Mapping[str, Points]) -> list[float]:
    return sorted({100 * rate for line in lines.values() for rate in line})
