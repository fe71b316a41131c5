"""Runs the notebooks of docs/notebooks, scripts in jupytext's percent format, and makes .ipynb of them.

No kernel is needed: a notebook is one script, between whose cells a mark is printed and open figures are saved.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jupytext

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
MARK = "\x1e"  # "record separator": nothing prints it
AFTER_A_CELL = """
import matplotlib.pyplot as _plt
for _number in _plt.get_fignums():
    _plt.figure(_number).savefig(f"cell{CELL}-figure{{_number}}.png", bbox_inches="tight")
_plt.close("all")
print("{MARK}", end="", flush=True)
"""


@dataclass(frozen=True)
class Cell:
    """A cell of a notebook, and what came of it: what it printed, and its figures."""

    kind: str  # code | markdown
    source: str
    printed: str = ""
    figures: tuple[str, ...] = ()  # paths


def read(path: Path) -> list[Cell]:
    """The cells of the notebook at `path`, as they are before they are run."""
    return [Cell(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]


def ipynb(path: Path) -> str:
    """The notebook at `path` as Jupyter opens it, without outputs."""
    return jupytext.writes(jupytext.read(path), fmt="ipynb")


def run(path: Path, folder: Path) -> list[Cell]:
    """The cells of the notebook at `path`, run from nothing in `folder`. Raises RuntimeError with what a cell said."""
    cells = read(path)
    codes = [number for number, cell in enumerate(cells) if cell.kind == "code"]
    script = "\n".join(f"{cells[n].source}\n{AFTER_A_CELL.format(CELL=n, MARK=MARK)}" for n in codes)
    environment = {**os.environ, "MPLBACKEND": "agg", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{path.name} failed in code cell {done.stdout.count(MARK) + 1}: {done.stderr[-3000:]}")
    for number, printed in zip(codes, done.stdout.split(MARK), strict=False):
        figures = tuple(str(figure) for figure in sorted(folder.glob(f"cell{number}-figure*.png")))
        cells[number] = Cell("code", cells[number].source, printed, figures)
    return cells
