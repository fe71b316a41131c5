"""A linear probe on the training samples whose label their neighbours share (deep k-NN filter, Bahri et al. 2020)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastpt.tuning.methods import Fitted, HeadSpec, TrainingData, linear_probe
from fastpt.tuning.methods.budget import BUDGET
from fastpt.tuning.methods.head_training import EPOCHS, HEAD_PRECISION, LRS
from fastpt.tuning.methods.knn import unit, votes

if TYPE_CHECKING:
    import torch
    from torch import Tensor

K = 20
"""Neighbours that judge a label, the sample itself not among them."""
PROBE = replace(linear_probe.METHOD, lrs=linear_probe.RATES)


class FilteredProbe:
    """The linear probe, trained on what the nearest neighbours agree with."""

    label, colour = "LP, filtered", "#8c6d31"
    summary = "LP on the samples whose label their neighbours share."
    options = (LRS, BUDGET, EPOCHS, HEAD_PRECISION)

    def check(self, **options: Any) -> None:
        PROBE.check(**options)

    def trains_on(self, **options: Any) -> Literal["features"]:
        return "features"

    def settings(self, **options: Any) -> dict[str, Any]:
        return {"neighbours": K, **PROBE.settings(**options)}

    def fit(
        self, data: TrainingData, heads: Sequence[HeadSpec], device: torch.device, **options: Any
    ) -> Iterator[Fitted]:
        """All heads in one part; the settings of each say which share of its samples was kept.

        Its validation part is that of other probes, which nothing is filtered from.
        """
        import torch

        from fastpt.tuning.fit import fit, select

        features, labels = unit(data.features.to(device)), torch.from_numpy(data.labels).to(device)

        def kept(rows: np.ndarray) -> np.ndarray:
            return rows[agreed(features[rows], labels[rows], data.classes)]

        training = PROBE.training_of(**options)
        known, grid = (data.features, data.labels, training), PROBE.grid_for(data, heads, **options)
        chosen, validation = select(*known, heads, *grid, data.classes, device, kept)
        rows = [np.arange(len(labels)) if head.rows is None else head.rows for head in heads]
        filtered = [replace(head, rows=kept(one)) for head, one in zip(chosen, rows, strict=True)]
        trained = fit(*known, filtered, data.classes, device)
        settings = [
            {"lr": head.lr, "reg_weight": head.reg_weight, "kept": len(head.rows) / len(one)}
            for head, one in zip(filtered, rows, strict=True)
            if head.rows is not None
        ]
        yield Fitted(settings, trained.logits, validation=validation, has_probabilities=True)


METHOD = FilteredProbe()


def agreed(features: Tensor, labels: Tensor, classes: int) -> np.ndarray:
    """Rows, int64 and rising, of unit features [N, D] whose K nearest others vote for their label int64 [N].

    A class of which no sample would be left keeps all of its samples.
    """
    winners = votes(features, features, labels, classes, [K], leave_out=True)[0].argmax(1)
    keep = winners == labels
    left = labels.new_zeros(classes).index_add_(0, labels, keep.long())
    return (keep | (left == 0)[labels]).nonzero()[:, 0].cpu().numpy()
