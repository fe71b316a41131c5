"""What training dynamics tell of right and wrong targets: how far each score lies apart for the two."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from fastpt import dynamics
from fastpt.errors import FastptError
from fastpt.printable import one_line
from fastpt.report.compare import Condition, Family
from fastpt.report.figures import Figure
from fastpt.report.plots import RATE_COLOURS, Axes, Series, draw
from fastpt.report.tables import Cell, Group, Row, Table
from fastpt.runs import Run, read_samples

BINS = 40
RIGHT, WRONG = ("right", RATE_COLOURS[0], 0), ("wrong", RATE_COLOURS[-1], 1)


@dataclass(frozen=True)
class Score:
    """How samples are ranked by what was recorded of them."""

    name: str
    label: str
    axis: str
    measure: str
    of: Callable[[np.ndarray], np.ndarray]
    sign: int
    """1 if a high score says that a target is wrong, -1 if a low one does."""


SCORES = (
    Score("aum", "AUM", "area under the margin", "margin", dynamics.aum, -1),
    Score(
        "forgetting",
        "Forgetting",
        "forgetting events (last: never right)",
        "correct",
        dynamics.forgetting_events,
        1,
    ),
    Score("small-loss", "Loss", "rank of the mean loss", "loss", dynamics.small_loss_rank, 1),
)


@dataclass(frozen=True)
class Detected:
    """The scores of a run's samples, float64 [N] each, and which of their targets are wrong."""

    scores: dict[str, np.ndarray]
    wrong: np.ndarray

    def auroc(self, score: Score) -> float | None:
        """How well the score finds the wrong ones, 0 to 1; None where it was not recorded, or nothing was seen."""
        found = self.scores.get(score.name)
        value = float("nan") if found is None else dynamics.auroc(score.sign * found, self.wrong)
        return None if np.isnan(value) else value


@dataclass(frozen=True)
class Section:
    """What the page says of a family."""

    table: Table
    figures: list[Figure]


def section(family: Family, number: int) -> Section | None:
    """A table of a row for each run that recorded its samples and has wrong ones; histograms of a run a condition."""
    groups, figures, notes = [], [], []
    for place, condition in enumerate(family.conditions):
        found = dict(_detected(condition, notes))
        if not found:
            continue
        rows = [Row(f"seed {one_line(run.seed)}", _cells([one])) for run, one in found.items()]
        if len(found) > 1:
            rows.append(Row("mean", _cells(list(found.values())), average=True))
        groups.append(Group(condition.label, rows))
        run, one = next(iter(found.items()))
        figures.append(_figure(family, condition, run, one, f"dynamics-{number}-{place}"))
    if not groups and not notes:
        return None
    note = (
        "AUROC of finding the wrong targets by what training said of them: the chance that a wrong one scores worse "
        "than a right one; 0.5 is chance. AUM: mean margin of the target over epochs (Pleiss et al. 2020). Forgetting: "
        "how often it was right and then wrong, never right counting as most (Toneva et al. 2019). Loss: mean over "
        "epochs (Huang et al. 2019)."
    )
    title = f"What training dynamics tell: {family.label}"
    return Section(Table(title, [s.label for s in SCORES], groups, " ".join([note, *notes]), "Run"), figures)


def _detected(condition: Condition, notes: list[str]) -> Iterator[tuple[Run, Detected]]:
    """The runs of a condition that recorded their samples, and have wrong ones. `notes` gets what is damaged."""
    for run in condition.runs:
        if not run.has_samples:
            continue
        try:
            recorded = read_samples(run.path)
        except (OSError, FastptError) as error:
            notes.append(one_line(f"Left out of {run.name}: {error}"))
            continue
        if not recorded.wrong.any():
            continue
        known = {score.name: recorded.measures[score.measure] for score in SCORES if score.measure in recorded.measures}
        yield run, Detected({s.name: s.of(known[s.name]) for s in SCORES if s.name in known}, recorded.wrong)


def _cells(found: list[Detected]) -> list[Cell]:
    values = [[value for one in found if (value := one.auroc(score)) is not None] for score in SCORES]
    return [Cell(f"{fmean(some):.3f}" if some else "–") for some in values]


def _figure(family: Family, condition: Condition, run: Run, found: Detected, name: str) -> Figure:
    panels = {}
    for score in SCORES:
        if (auroc := found.auroc(score)) is not None:
            title = f"{score.label} · AUROC {auroc:.3f}"
            axes = Axes(title, score.axis, "share of their samples (%)")
            panels[f"{name}-{score.name}"] = draw(
                f"{name}-{score.name}", axes, _histograms(found.scores[score.name], found.wrong)
            )
    caption = f"Samples of run {run.name} by score: each of the two histograms adds up to 100 %."
    return Figure(f"Right and wrong targets: {family.label}, {condition.label}", caption, panels)


def _histograms(scores: np.ndarray, wrong: np.ndarray) -> list[Series]:
    """The outlines of two histograms over the same bins; what lies beyond 1 in 200 at either end is in the end bins."""
    known = ~np.isnan(scores)
    scores, wrong = scores[known], wrong[known]
    finite = scores[np.isfinite(scores)]
    whole = len(finite) == 0 or bool((finite == np.round(finite)).all())
    if whole:  # events: a bin each, and one for those that never were right
        top = int(finite.max(initial=0)) + 1
        edges = np.arange(-0.5, top + 1)
        scores = np.where(np.isinf(scores), top, scores)
    else:
        low, high = np.quantile(finite, (0.005, 0.995))
        edges = np.linspace(low, max(high, np.nextafter(low, np.inf)), BINS + 1)
        scores = scores.clip(edges[0], edges[-1])
    series = []
    for (label, colour, dash), some in ((RIGHT, scores[~wrong]), (WRONG, scores[wrong])):
        shares = 100 * np.histogram(some, edges)[0] / max(1, len(some))
        x, y = np.repeat(edges, 2), np.r_[0.0, np.repeat(shares, 2), 0.0]
        series.append(Series(label, x.tolist(), y.tolist(), colour, dash=dash))
    return series
