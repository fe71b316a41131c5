"""Forest plots: what a claim is about, on each test and over sets, as intervals below each other."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib import figure as matplotlib_figure
from matplotlib.ticker import MaxNLocator

from fastpt.printable import one_line, plural
from fastpt.report.claims import Answer, Arm, SetEffects
from fastpt.report.figures import Figure
from fastpt.report.plots import INK, RULE, as_svg, styled
from fastpt.report.statistics import Estimate

CAPTION = (
    "What each claim is about, on each test of its setting, with 95 % intervals over pre-trainings, uncorrected. The "
    "average of the tests is what the claim is judged by. Over sets: the mean over all sets that there might be "
    "(random effects); its thin line is where the true effect on one more would lie. Grey: within the margin."
)


@dataclass(frozen=True)
class Row:
    """A value in points with half its interval, where there is one, and half a wider one around it."""

    label: str
    value: float
    half: float | None
    wider: float | None = None
    is_summary: bool = False
    """Drawn as a diamond, below a line."""


def forest_figure(arm: Arm, found: Sequence[Answer], number: str) -> Figure | None:
    """A panel for each claim that has an estimate."""
    panels = {}
    for index, one in enumerate(found):
        if one.estimate and one.sets:
            name, colour = f"forest-{number}-{index}", arm.family.methods[one.claim.method].colour
            panels[name] = draw(name, one.claim.name, _rows(one.estimate, one.sets), colour, one.claim.margin)
    return Figure(f"Claims by set: {arm.label}", CAPTION, panels) if panels else None


def _rows(average: Estimate, sets: SetEffects) -> list[Row]:
    rows = [_row(label, each) for label, each in sets.tests.items()]
    rows.append(_row("average of the tests", average, is_summary=True))
    if sets.pooled:
        label = f"over {plural(sets.votes, 'set')}"
        rows.append(_row(label, sets.pooled.mean, sets.pooled.prediction_half, is_summary=True))
    return rows


def _row(label: str, one: Estimate, wider: float | None = None, is_summary: bool = False) -> Row:
    half, wider = (None if share is None else 100 * share for share in (one.half(), wider))
    return Row(label, 100 * one.value, half, wider, is_summary)


def draw(name: str, title: str, rows: Sequence[Row], colour: str, margin: float) -> str:
    """One panel of 4 inches' width as an SVG element, 0 and ± `margin` marked."""
    with styled(name):
        figure = matplotlib_figure.Figure(figsize=(4.0, 0.95 + 0.21 * len(rows)), layout="constrained")
        plot = figure.add_subplot()
        plot.axvspan(-margin, margin, color=RULE, alpha=0.45, linewidth=0)
        plot.axvline(0, color=INK, linewidth=0.7)
        for place, row in enumerate(rows):
            for half, width in ((row.wider, 0.7), (row.half, 2.0)):
                if half is not None:
                    plot.errorbar(row.value, place, xerr=half, fmt="none", ecolor=colour, elinewidth=width)
            marker, size = ("D", 6) if row.is_summary else ("o", 4)
            plot.plot([row.value], [place], marker=marker, markersize=size, color=colour, linestyle="none")
        summaries = [place for place, row in enumerate(rows) if row.is_summary]
        plot.axhline(summaries[0] - 0.5, color=RULE, linewidth=0.7)
        plot.set_yticks(range(len(rows)), [one_line(row.label, 32) for row in rows])
        plot.set_ylim(len(rows) - 0.5, -0.5)
        plot.tick_params(axis="y", length=0)
        plot.spines["left"].set_visible(False)
        figure.suptitle(one_line(title, 56), fontsize=9, fontweight="bold", x=0.01, ha="left")
        plot.set_xlabel("difference (points)")
        ends = [value for row in rows for value in (row.value - (row.half or 0), row.value + (row.half or 0))]
        ends += [-margin, margin]
        room = 0.04 * (max(ends) - min(ends))
        plot.set_xlim(min(ends) - room, max(ends) + room)  # the wider intervals may go beyond
        plot.xaxis.set_major_locator(MaxNLocator(5))
        return as_svg(figure)
