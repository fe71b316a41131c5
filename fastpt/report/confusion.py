"""The picture of what a noise plan does to classes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from fastpt.errors import FastptError
from fastpt.files import atomic_write
from fastpt.noise.confusion import Confusion
from fastpt.printable import one_line, percentage
from fastpt.report.plots import styled

SUFFIXES = (".png", ".svg")
MOST_CELLS = 128
"""Classes a side; more are put together with their neighbours."""
MOST_NAMES = 32
MOST_NUMBERS = 12
"""Cells a side that have their share written in them."""
_COLOURS = LinearSegmentedColormap.from_list("wrong", ["#fbf7f4", "#e8a86f", "#b2432f", "#4a0d2c"])
_OWN = "#d9dbe0"


def check_suffix(path: Path) -> None:
    """Raise FastptError if the name of a picture does not say which kind it is."""
    if path.suffix not in SUFFIXES:
        raise FastptError(f"{path.name} is a picture: let its name end in {' or '.join(SUFFIXES)}.")


def write_confusion(path: Path, title: str, names: Sequence[str], confusion: Confusion) -> None:
    """Draw which share of each class's samples (row) is shown as each other class (column), as a PNG or an SVG.

    Raises FastptError if the name of the file says neither.
    """
    check_suffix(path)
    cells = min(confusion.classes, MOST_CELLS)
    wrong = confusion.wrong.grouped(cells)
    shares = wrong / np.maximum(confusion.grouped(cells).sum(1, keepdims=True), 1)
    with styled(title):
        figure = Figure(figsize=(7.2, 6.2), layout="constrained", dpi=160)
        axes = figure.add_subplot()
        is_own = np.eye(cells, dtype=bool) & (
            cells == confusion.classes
        )  # a group's own cell has noise between its classes
        colours = _COLOURS.with_extremes(bad=_OWN)
        image = axes.imshow(np.ma.masked_where(is_own, shares), cmap=colours, vmin=0, interpolation="nearest")
        scale = figure.colorbar(image, ax=axes, shrink=0.8)
        scale.ax.yaxis.set_major_formatter(lambda share, _: percentage(share))
        scale.set_label("share of the row's samples")
        if cells <= MOST_NUMBERS:
            for row, column in np.argwhere((shares > 0) & ~is_own):
                light = shares[row, column] > 0.5 * shares.max()
                text = f"{100 * shares[row, column]:.2g}"
                axes.text(column, row, text, ha="center", va="center", color="white" if light else "black", fontsize=8)
        together = -(-confusion.classes // cells)
        what = "class" if together == 1 else f"class, up to {together} in a cell"
        axes.set(title=one_line(title, 80), xlabel=f"shown as {what}", ylabel=f"clean {what}")
        if cells <= MOST_NAMES:
            shown = [one_line(name, 22) for name in names]
            axes.set_xticks(range(cells), shown, rotation=60, ha="right", rotation_mode="anchor", fontsize=7)
            axes.set_yticks(range(cells), shown, fontsize=7)
        with atomic_write(path) as file:
            figure.savefig(file, format=path.suffix[1:], metadata={"Software": None} if path.suffix == ".png" else None)
