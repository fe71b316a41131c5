"""The learning rate as a pure function of the step, so that a restart needs no scheduler state."""

import math

from fastpt.training.config import Schedule


def total_steps(schedule: Schedule, steps_per_epoch: int, batch_size: int) -> int:
    """Steps of the whole training."""
    if schedule.epochs is not None:
        return schedule.epochs * steps_per_epoch
    if schedule.steps is not None:
        return schedule.steps
    assert schedule.samples is not None  # one of the three is there: see Schedule.problems
    return -(-schedule.samples // batch_size)


def warmup_steps(schedule: Schedule, steps_per_epoch: int) -> int:
    """Steps of linear warm-up."""
    if schedule.warmup_epochs is not None:
        return round(schedule.warmup_epochs * steps_per_epoch)
    return schedule.warmup_steps or 0


def learning_rate(step: int, total: int, warmup: int, peak: float, lowest: float, decay: str = "cosine") -> float:
    """The rate of step `step` (from 0) of `total`.

    Linear from peak / warmup to peak over the first `warmup` steps, then half a cosine (or a line, where `decay` is
    "linear") from `peak` to `lowest`, which the step after the last would reach.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    share = 1 - progress if decay == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return lowest + (peak - lowest) * share
