"""Nearest class mean: the answer is the class whose mean feature is nearest, drawn to the mean of all classes or not.

It needs no training, and tells how compact an encoder's classes are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import click

from fastpt.tuning.methods import Fitted, HeadSpec, TrainingData

if TYPE_CHECKING:
    import torch


class NearestClassMean:
    label, colour = "NCM", "#6b5b95"
    summary = ""  # no flag of its own: --method ncm
    options = (
        click.Option(
            ["--shrink"],
            type=click.FloatRange(0, 1),
            default=0.0,
            show_default=True,
            help="How far class means are drawn to the mean of all.",
        ),
    )

    def check(self, shrink: float) -> None:
        """The command line has checked it."""

    def trains_on(self, shrink: float) -> Literal["features"]:
        return "features"

    def settings(self, shrink: float) -> dict[str, Any]:
        return {"shrink": shrink}

    def fit(
        self, data: TrainingData, heads: Sequence[HeadSpec], device: torch.device, shrink: float
    ) -> Iterator[Fitted]:
        import torch

        features, labels = data.features.to(device), torch.from_numpy(data.labels).to(device)
        members = torch.nn.functional.one_hot(labels, data.classes).T.float()  # [K, N]
        means = []
        for head in heads:
            rows = slice(None) if head.rows is None else head.rows
            mean = members[:, rows] @ features[rows] / members[:, rows].sum(1, keepdim=True)
            means.append(mean.lerp(mean.mean(0), shrink))
        stacked = torch.stack(means)  # [H, K, D]
        yield Fitted([{"shrink": shrink} for _ in heads], lambda x: -torch.cdist(x.expand(len(heads), -1, -1), stacked))


METHOD = NearestClassMean()
