"""Runs compared on one self-contained HTML page: tables, figures, sample pictures, provenance."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StepCost:
    """What a step of a study took: seconds, and bytes on disk. Of one that is not done, what it is expected to take."""

    step: str
    kind: str  # train or tune
    seconds: float | None
    bytes: float | None
    state: str = "done"


def write_report(
    runs: Sequence[Path | str],
    out: Path | str,
    files: bool = False,
    costs: Sequence[StepCost] | None = None,
) -> Path:
    """Write the page that compares `runs` (run folders) to `out` and return its path.

    The page needs nothing beside it: style, figures (inline SVG) and pictures (data: URIs) are inside, and no script.
    What a run lacks (tuning results, the end of training, pictures) is said on the page. With `files`, the figures are
    also written as .svg, the numbers as .csv and the tables as .tex into `<out stem>_files/` beside the page. `costs`
    are those of a study's steps; without, each training's cost is shown. The same runs give the same bytes. Raises
    FastptError if there is no run, or if a path is no run folder.
    """
    from fastpt.report.page import write  # matplotlib and jinja2 take a second to import

    return write([Path(run) for run in runs], Path(out), files, costs)
