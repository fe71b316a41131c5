"""Forest plots: all claims of an arm, and each on its tests and over sets, as intervals below each other."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib import figure as matplotlib_figure
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fastpt.printable import one_line, plural
from fastpt.report.claims import Answer, Arm, Progress, SetEffects
from fastpt.report.figures import Figure
from fastpt.report.plots import INK, RULE, as_svg, styled
from fastpt.report.statistics import Estimate
from fastpt.report.verdicts import verdict

OVERVIEW = (
    "What each claim is about, in points. Thick: 95 % interval; thin: those of all claims together hold with 95 % "
    "(Bonferroni). Grey: within the margin. A triangle at 0 points to the side that was claimed. Colours are those of "
    "the methods."
)
CAPTION = (
    "What each claim is about, on each test of its setting, with 95 % intervals over pre-trainings, uncorrected. The "
    "average of the tests is what the claim is judged by. Over sets: the mean over all sets that there might be "
    "(random effects); its thin line, which may go beyond the axis, is where the true effect on one more would lie. "
    "Grey: within the margin."
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


def overview_figure(arm: Arm, found: Sequence[Answer], progress: Progress, number: str) -> Figure | None:
    """All claims of an arm that have an estimate, one below the other, with their verdicts."""
    name, answered = f"claims-{number}", [one for one in found if one.estimate]
    if not answered:
        return None
    with styled(name):
        figure = matplotlib_figure.Figure(figsize=(8.0, 0.75 + 0.3 * len(answered)), layout="constrained")
        plot = figure.add_subplot()
        plot.axvline(0, color=INK, linewidth=0.7)
        for place, one in enumerate(answered):
            assert one.estimate
            margin, colour = one.claim.margin, arm.family.methods[one.claim.method].colour
            plot.fill_between([-margin, margin], place - 0.38, place + 0.38, color=RULE, alpha=0.6, linewidth=0)
            side = ">" if one.claim.side == "> 0" else "<"
            plot.plot([0], [place], marker=side, markersize=5, color=INK, linestyle="none")
            row = _row(one.claim.name, one.estimate)
            wider = one.estimate.half(one.family)
            _bars(plot, place, Row(row.label, row.value, row.half, 100 * wider if wider is not None else None), colour)
            plot.annotate(
                verdict(one, progress),
                (1.01, place),
                xycoords=("axes fraction", "data"),
                va="center",
                fontweight="bold",
                annotation_clip=False,
            )
        _dress(plot, [one.claim.name for one in answered], 60)
        return Figure(f"The claims: {arm.label}", OVERVIEW, {name: as_svg(figure)}, is_wide=True)


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
            _bars(plot, place, row, colour)
        summaries = [place for place, row in enumerate(rows) if row.is_summary]
        plot.axhline(summaries[0] - 0.5, color=RULE, linewidth=0.7)
        _dress(plot, [row.label for row in rows], 36)
        figure.suptitle(one_line(title, 56), fontsize=9, fontweight="bold", x=0.01, ha="left")
        ends = [value for row in rows for value in (row.value - (row.half or 0), row.value + (row.half or 0))]
        ends += [-margin, margin]
        room = 0.04 * (max(ends) - min(ends))
        plot.set_xlim(min(ends) - room, max(ends) + room)  # the wider intervals may go beyond
        plot.xaxis.set_major_locator(MaxNLocator(5))
        return as_svg(figure)


def _bars(plot: Axes, place: int, row: Row, colour: str) -> None:
    """A value and its intervals at a place of the vertical axis."""
    for half, width in ((row.wider, 0.7), (row.half, 2.0)):
        if half is not None:
            plot.errorbar(row.value, place, xerr=half, fmt="none", ecolor=colour, elinewidth=width)
    marker, size = ("D", 6) if row.is_summary else ("o", 4)
    plot.plot([row.value], [place], marker=marker, markersize=size, color=colour, linestyle="none")


def _dress(plot: Axes, labels: Sequence[str], most: int) -> None:
    """Rows called by `labels` of at most so many characters, the first one on top."""
    plot.set_yticks(range(len(labels)), [one_line(label, most) for label in labels])
    plot.set_ylim(len(labels) - 0.5, -0.5)
    plot.tick_params(axis="y", length=0)
    plot.spines["left"].set_visible(False)
    plot.set_xlabel("difference (points)")
