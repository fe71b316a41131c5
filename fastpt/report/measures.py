"""What the evaluations of runs measured: called as their provenance says, so that no task is known here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastpt.printable import finite, mapping, one_line
from fastpt.report.text import NBSP, percent
from fastpt.runs import Run

_PLACE = {"step", "epoch", "samples", "seconds"}  # of an evaluation in the training


@dataclass(frozen=True)
class Measure:
    """A number of an evaluation: its name in the log, its label, and whether it is a share of samples, in [0, 1]."""

    name: str
    label: str
    is_share: bool

    def text(self, value: float) -> str:
        """'61.0 %' of a share, three significant digits of another number."""
        return f"{percent(value)}{NBSP}%" if self.is_share else f"{value:.3g}"


def measures_of(runs: Sequence[Run]) -> list[Measure]:
    """What was logged of `runs`: first what their provenance describes, in its order, then other numbers."""
    labels = _labels(runs, "measures")
    logged = [name for run in runs for record in run.evals for name in record if finite(record[name]) is not None]
    others = dict.fromkeys(name for name in logged if name not in {*labels, *_labels(runs, "memorization"), *_PLACE})
    return [Measure(name, label, True) for name, label in labels.items() if name in logged] + [
        Measure(name, one_line(name).replace("_", " "), False) for name in others
    ]


def measured(run: Run, name: str) -> float | None:
    """What the last evaluation that has a measure found."""
    found = [value for record in run.evals if (value := finite(record.get(name))) is not None]
    return found[-1] if found else None


def memorization_of(runs: Sequence[Run]) -> list[Measure]:
    """What the last evaluations of `runs` found in the training targets."""
    found = {name for run in runs for name in memorized(run)}
    return [Measure(name, label, True) for name, label in _labels(runs, "memorization").items() if name in found]


def memorized(run: Run) -> dict[str, float]:
    """What the last evaluation found in the training targets: shares by name."""
    values: dict[str, Any] = {name: value for record in run.last_evals for name, value in record.items()}
    shares = {name: finite(values.get(name)) for name in _labels([run], "memorization")}
    return {name: share for name, share in shares.items() if share is not None}


def _labels(runs: Sequence[Run], key: str) -> dict[str, str]:
    return {name: one_line(label) for run in runs for name, label in mapping(run.provenance.get(key)).items()}
