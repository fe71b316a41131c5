"""How many settings a method tries on its validation part, where all are to try as many: `fastpt tune --budget N`."""

from __future__ import annotations

import click

BUDGET = click.Option(
    ["--budget"],
    type=click.IntRange(1, 1000),
    help="Settings that each method tries on its validation part (default: as many as each is published with).",
)


def about(value: float, count: int) -> list[float]:
    """So many values, each √10 times another, with this one in the middle: from it outwards, the smaller first."""
    steps = sorted(range(-(count // 2), count - count // 2), key=lambda step: (abs(step), step))
    return [value * 10 ** (step / 2) for step in steps]


def between(low: float, high: float, count: int) -> list[float]:
    """So many values from low to high, rising by equal factors; of one, their geometric mean."""
    if count == 1:
        return [(low * high) ** 0.5]
    return [low * (high / low) ** (step / (count - 1)) for step in range(count)]
