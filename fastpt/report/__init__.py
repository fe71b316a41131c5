"""Runs compared on one self-contained HTML page: tables, figures, sample pictures, provenance."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StepCost:
    """What a step of a study took: seconds, and bytes on disk. Of one that is not done, what it is expected to take."""

    step: str
    kind: str  # train or tune
    seconds: float | None
    bytes: float | None
    state: str = "done"
