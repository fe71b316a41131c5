"""Weighted k nearest neighbours, as DINO and DINOv2 evaluate features: nothing is trained but k chosen.

Wu et al. 2018, Caron et al. 2021: a class has Σ exp(cos(x, x_i) / τ) over those of the k nearest training samples x_i
that are of it, τ = 0.07.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastpt.tuning.methods import Fitted, HeadSpec, TrainingData
from fastpt.tuning.methods.budget import BUDGET, between
from fastpt.tuning.subsets import validation_part

if TYPE_CHECKING:
    import torch
    from torch import Tensor

NEIGHBOURS = (10, 20, 100, 200)
"""The k that are tried, as in DINO's evaluation; 20 where nothing can be held out."""
TEMPERATURE = 0.07
CHUNK = 1024  # queries whose similarities are in memory at once


class Neighbours:
    """The classes of the nearest training samples, weighted by how near they are."""

    label, colour = "k-NN", "#6f6f6f"
    summary = "Weighted k nearest neighbours, k validated."
    options = (BUDGET,)

    def check(self, budget: int | None = None) -> None:
        """Any budget can be kept to."""

    def trains_on(self, budget: int | None = None) -> Literal["features"]:
        return "features"

    def settings(self, budget: int | None = None) -> dict[str, Any]:
        ks = _tried(budget)
        return {"k": ks, "temperature": TEMPERATURE, "tried": len(ks)}

    def fit(
        self, data: TrainingData, heads: Sequence[HeadSpec], device: torch.device, budget: int | None = None
    ) -> Iterator[Fitted]:
        """All heads in one part: each has its rows and its k."""
        import torch

        from fastpt.tuning.arrays import validate

        features, labels, _ = validate(data.features, data.labels, data.classes)
        features, labels = unit(features.to(device)), labels.to(device)
        rows = [np.arange(len(labels)) if head.rows is None else head.rows for head in heads]
        found = [
            _choose(features[one], labels[one], data.classes, head.seed, _tried(budget))
            for head, one in zip(heads, rows, strict=True)
        ]
        chosen = [k for k, _ in found]

        def logits(queries: Tensor) -> Tensor:
            return torch.stack(
                [
                    votes(unit(queries), features[one], labels[one], data.classes, [k])[0]
                    for one, k in zip(rows, chosen, strict=True)
                ]
            )

        yield Fitted([{"k": k} for k in chosen], logits, validation=[share for _, share in found])


METHOD = Neighbours()


def votes(
    queries: Tensor, features: Tensor, labels: Tensor, classes: int, ks: Sequence[int], leave_out: bool = False
) -> Tensor:
    """Scores [len(ks), Q, K] of unit queries [Q, D] by unit features [N, D] with labels int64 [N].

    Of fewer than k samples all vote. With `leave_out` the queries are the features, and none votes for itself.
    """
    import torch

    scores = queries.new_zeros(len(ks), len(queries), classes)
    for start in range(0, len(queries), CHUNK):
        part = slice(start, start + CHUNK)
        nearness = queries[part] @ features.T
        if leave_out:
            nearness.diagonal(start).fill_(-torch.inf)
        nearness, nearest = nearness.topk(min(max(ks), len(features)), dim=1)
        weights = torch.exp((nearness - 1) / TEMPERATURE)  # relative to a sample that is the same: no overflow
        for i, k in enumerate(ks):
            scores[i, part].scatter_add_(1, labels[nearest[:, :k]], weights[:, :k])
    return scores


def _tried(budget: int | None) -> list[int]:
    """The k that are tried: of a budget as many as it says, by equal factors where these are whole steps."""
    if budget is None:
        return list(NEIGHBOURS)
    found: list[int] = []
    for k in between(NEIGHBOURS[0], NEIGHBOURS[-1], budget):
        found.append(max(round(k), found[-1] + 1 if found else 1))
    return found


def _choose(features: Tensor, labels: Tensor, classes: int, seed: int, ks: Sequence[int]) -> tuple[int, float | None]:
    """The k with most right answers on a validation part, and their share; of equals, the smallest."""
    part = validation_part(labels.cpu().numpy(), seed)
    if part is None:
        return 20, None
    kept, held = part
    scores = votes(features[held], features[kept], labels[kept], classes, ks)
    right = (scores.argmax(2) == labels[held]).double().mean(1)
    return ks[int(right.argmax())], float(right.max())


def unit(features: Tensor) -> Tensor:
    """Features [N, D], each of length 1."""
    import torch

    return torch.nn.functional.normalize(features, dim=-1)
