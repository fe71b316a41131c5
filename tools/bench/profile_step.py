"""Where the time of a training step goes, by part: torch's profiler over a few steps of a recipe.

On a GPU: kernels a step, how long they run, and how long the GPU stands idle. On a CPU: its own time. A part's kernels
are those that were launched within it; what no part launched is the loop's.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from tools.bench.launches import REST, parts

WARM_UP, STEPS = 12, 5
MARK = "part: "


@dataclass(frozen=True)
class Profile:
    """Of one step, the mean of `STEPS`."""

    seconds: float
    kernels: int
    idle: float  # share of the time in which the GPU runs nothing
    parts: dict[str, dict[str, float]]  # of each: host_ms, and on a GPU kernels and gpu_ms

    def lines(self) -> list[str]:
        return [
            f"{self.seconds * 1e3:.1f} ms a step, {self.kernels} kernels, the GPU idle for {self.idle:.0%}",
            *(
                f"  {part:20} " + ", ".join(f"{value:,.1f} {name.replace('_', ' ')}" for name, value in values.items())
                for part, values in self.parts.items()
            ),
        ]


def profiled(recipe: Any) -> Profile:
    """Some steps of a training that is not begun, after those that do what is done once."""
    from fastpt.training.pace import Since
    from fastpt.training.run import rehearsal

    gpu = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    with rehearsal(recipe) as training, parts(lambda part: record_function(MARK + part)):
        batches, since = training._endless(), Since()

        def steps(count: int) -> None:
            for _ in range(count):
                training._step(WARM_UP, batches, since, logged=False)
            torch.cuda.synchronize() if gpu else None

        steps(WARM_UP)
        with profile(activities=activities) as profiler:
            steps(STEPS)
    return summary(profiler.events() or (), STEPS)


def summary(events: Iterable[Any], steps: int) -> Profile:
    """What the profiler's events say of one step."""
    events = list(events)
    kernels = [one for one in events if one.device_type == DeviceType.CUDA and not one.name.startswith(MARK)]
    host = [one for one in events if one.device_type == DeviceType.CPU]
    whole = (min(one.time_range.start for one in host), max(one.time_range.end for one in events))
    marks = [one for one in host if one.name.startswith(MARK)]
    host_ms, count, gpu_ms = (
        defaultdict[str, float](float),
        defaultdict[str, float](float),
        defaultdict[str, float](float),
    )
    for mark in marks:
        host_ms[mark.name.removeprefix(MARK)] += mark.time_range.elapsed_us() / 1e3 / steps
    for one in host:
        part = next((m.name.removeprefix(MARK) for m in marks if _within(one, m)), REST)
        for kernel in one.kernels:
            if not kernel.name.startswith(MARK):
                count[part] += 1 / steps
                gpu_ms[part] += kernel.duration / 1e3 / steps
    span, busy = whole[1] - whole[0], length([(one.time_range.start, one.time_range.end) for one in kernels])
    names = sorted({*host_ms, *count, *gpu_ms}, key=lambda part: -max(gpu_ms[part], host_ms[part]))
    on_gpu = bool(kernels)
    return Profile(
        span / 1e6 / steps,
        round(len(kernels) / steps),
        1 - busy / span if on_gpu else 0.0,
        {
            part: {"host_ms": host_ms[part], **({"kernels": count[part], "gpu_ms": gpu_ms[part]} if on_gpu else {})}
            for part in names
        },
    )


def _within(one: Any, mark: Any) -> bool:
    """The backward pass has a thread of its own on a GPU, so the time tells, not the thread."""
    return mark.time_range.start <= one.time_range.start <= mark.time_range.end


def length(spans: list[tuple[float, float]]) -> float:
    """Of the time that is in any of these."""
    total, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total
