"""The learning rate as a pure function of the step, so that a restart needs no scheduler state."""

import math

from fastpt.recipe import Schedule


def warmup_steps(schedule: Schedule, steps_per_epoch: int) -> int:
    """Steps of linear warm-up."""
    if schedule.warmup_epochs is not None:
        return round(schedule.warmup_epochs * steps_per_epoch)
    return schedule.warmup_steps or 0


def learning_rate(step: int, total: int, warmup: int, peak: float, lowest: float) -> float:
    """The rate of step `step` (from 0) of `total`.

    Linear from peak / warmup to peak over the first `warmup` steps, then half a cosine from `peak` to `lowest`, which
    the step after the last would reach.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return lowest + (peak - lowest) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
