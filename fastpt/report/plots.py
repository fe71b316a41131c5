"""Small line plots as SVG text: deterministic, readable in light and dark, text kept as text."""

import contextlib
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fastpt.printable import one_line

INK, RULE = "#4a4e57", "#d9d6ce"
# Noise rates, low to high: matplotlib's plasma without its palest end; its lightness alone tells the steps apart.
RATE_COLOURS = ["#2a0593", "#6a00a8", "#9c179e", "#c33d80", "#d8506a", "#e0701f"]
# The page draws each of these with a CSS variable, so that dark mode has its own value.
_VARIABLES = {
    INK: "ink-2",
    RULE: "rule",
    **{colour: f"rate-{index}" for index, colour in enumerate(RATE_COLOURS)},
}
_DASHES = ["-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5))]
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Series:
    """One line; `error` are half-widths of its band, or, with `wider`, of its bars.

    Series that share a label share one legend entry.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str
    marker: str | None = None
    dash: int = 0
    joined: bool = True  # by a line; else points alone
    error: Sequence[float] | None = None
    wider: Sequence[float] | None = None  # half-widths of thin bars around it


@dataclass(frozen=True)
class Axes:
    title: str
    x: str
    y: str
    log_x: bool = False
    log_y: bool = False
    ticks: Sequence[float] | None = None
    least_span: float = 0.0  # so that a difference of no weight does not fill the plot
    has_zero: bool = False  # a line at 0


def rate_style(rank: int, ranks: int) -> dict:
    """Colour (and dash, for print and for more conditions than colours) of the condition at `rank` of `ranks`."""
    place = rank / (ranks - 1) if ranks > 1 else 0
    return {"colour": RATE_COLOURS[round(place * (len(RATE_COLOURS) - 1))], "dash": rank % len(_DASHES)}


def draw(name: str, axes: Axes, series: Sequence[Series]) -> str:
    """One panel of 4 inches' width as an SVG element. `name` keeps its ids apart from those of other panels."""
    labels = [one_line(label, 44) for label in dict.fromkeys(one.label for one in series)]
    columns = 3 if max(map(len, labels), default=0) < 14 else 2 if max(map(len, labels)) < 26 else 1
    rows = -(-len(labels) // columns)
    with styled(name):
        figure = Figure(figsize=(4.0, 2.6 + 0.19 * rows), layout="constrained")
        plot = figure.add_subplot()
        handles = [_add(plot, one) for one in series]
        first = {one.label: handle for one, handle in reversed(list(zip(series, handles, strict=True)))}
        entries = [first[label] for label in dict.fromkeys(one.label for one in series)]
        figure.legend(
            entries,
            [label.lstrip("_") for label in labels],
            loc="outside lower center",
            ncols=columns,
            frameon=False,
            handlelength=2.4,
            columnspacing=1.2,
        )
        _dress(plot, axes)
        return as_svg(figure)


@contextlib.contextmanager
def styled(name: str) -> Iterator[None]:
    """The style of a panel's figure, which is made and written within; `name` keeps its ids apart."""
    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.size": 9,
        "text.parse_math": False,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.7,
        "grid.color": RULE,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # measured only; the browser has its own fonts
        yield


def as_svg(figure: Figure) -> str:
    """The figure as an SVG element."""
    text = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    return _bare(text.getvalue())


def _add(plot, one: Series):
    style = {"color": one.colour, "linewidth": 1.5, "linestyle": _DASHES[one.dash % len(_DASHES)]}
    if one.marker:
        style |= {"marker": one.marker, "markersize": 5, "linewidth": 1.3}
    if not one.joined:
        style["linestyle"] = "none"
    if one.wider and one.error and any(one.error):
        for halves, width in ((one.wider, 0.7), (one.error, 2.0)):
            plot.errorbar(one.x, one.y, yerr=halves, fmt="none", ecolor=one.colour, elinewidth=width)
    elif one.error and any(one.error):
        # Bars where it was measured, for a lone point and for print; the band ties them together.
        plot.errorbar(one.x, one.y, yerr=one.error, fmt="none", ecolor=one.colour, elinewidth=0.8)
        low, high = zip(*((y - half, y + half) for y, half in zip(one.y, one.error, strict=True)), strict=True)
        plot.fill_between(one.x, low, high, color=one.colour, alpha=0.14, linewidth=0)
    return plot.plot(one.x, one.y, **style)[0]


def _dress(plot, axes: Axes) -> None:
    plot.set_title(one_line(axes.title, 60), fontsize=9, fontweight="bold", loc="left")
    plot.set_xlabel(axes.x)
    plot.set_ylabel(axes.y)
    plot.grid(axis="y", linewidth=0.6)
    plot.set_axisbelow(True)
    if axes.log_x:
        plot.set_xscale("log")
        plot.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        plot.xaxis.set_major_locator(MaxNLocator(5))  # room for numbers of many digits
    if axes.log_y:
        plot.set_yscale("log")
        plot.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _power(value)))
    if axes.has_zero:
        plot.axhline(0, color=INK, linewidth=0.7, zorder=0.5)
    plot.minorticks_off()  # decades are enough, and a page has dozens of panels
    if axes.ticks is not None:
        plot.set_xticks(axes.ticks, [f"{tick:g}" for tick in axes.ticks])
        low, high = min(axes.ticks), max(axes.ticks)
        margin = max(1.0, 0.06 * (high - low))
        plot.set_xlim(*((low / 1.2, high * 1.2) if axes.log_x else (low - margin, high + margin)))
    low, high = plot.get_ylim()
    if high - low < axes.least_span:
        middle = (high + low) / 2
        plot.set_ylim(middle - axes.least_span / 2, middle + axes.least_span / 2)


def _power(value: float) -> str:
    """10⁻²: as plain text, because mathematics in SVG text is laid out for one font only."""
    if 0.001 <= value <= 100:
        return f"{value:g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    return ("" if mantissa == "1" else f"{mantissa}·") + "10" + str(int(exponent)).translate(_SUPERSCRIPT)


def _bare(svg: str) -> str:
    """The svg element alone: no prologue, comments, group ids (equal in all panels) or rules for the whole page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<style.*?</style>|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", svg)
    svg = re.sub(r" (xmlns:xlink|version)=\"[^\"]*\"", "", svg).replace("xlink:href", "href")
    return re.sub(r"\n\s*", "\n", svg).strip() + "\n"


def themed(svg: str, variables: Mapping[str, str]) -> str:
    """The same picture with colours as CSS variables of the page (the file itself keeps the colours for paper).

    `variables` are names by colour, beside those that every page has.
    """
    names = {**variables, **_VARIABLES}
    return re.sub("|".join(names), lambda found: f"var(--{names[found[0]]}, {found[0]})", svg)
