"""The strong linear baseline: ridge classification in closed form, every regularisation from one eigendecomposition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastpt.errors import FastptError
from fastpt.tuning.methods import Fitted, HeadSpec, TrainingData
from fastpt.tuning.methods.budget import BUDGET, between
from fastpt.tuning.subsets import validation_part

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fastpt.tuning.heads import Heads

L2 = tuple(10.0**power for power in range(-6, 3))
"""Regularisations tried, as multiples of the mean variance of the features times the number of samples."""

BLOCK = 16_384
"""Rows that are in float64 at once."""


class Ridge:
    """A linear classifier of least squares, its regularisation chosen on a validation part."""

    label, colour = "Ridge", "#a8487f"
    summary = "The best linear baseline: ridge classification, its strength validated."
    options = (BUDGET,)

    def check(self, budget: int | None = None) -> None:
        """Any budget can be kept to."""

    def trains_on(self, budget: int | None = None) -> Literal["features"]:
        return "features"

    def settings(self, budget: int | None = None) -> dict[str, Any]:
        ladder = _tried(budget)
        return {"l2": ladder, "tried": len(ladder)}

    def fit(
        self, data: TrainingData, heads: Sequence[HeadSpec], device: torch.device, budget: int | None = None
    ) -> Iterator[Fitted]:
        """All heads in one part, each by itself: the solution of one is a matter of milliseconds."""
        known = data.features, data.labels, heads, data.classes, device
        trained, chosen, validation = fit_ridge(*known, _tried(budget))
        yield Fitted([{"l2": l2} for l2 in chosen], trained.logits, validation=validation)


METHOD = Ridge()


def _tried(budget: int | None) -> list[float]:
    return list(L2) if budget is None else between(L2[0], L2[-1], budget)


def fit_ridge(
    features: np.ndarray | Tensor,
    labels: np.ndarray | Tensor,
    heads: Sequence[HeadSpec],
    classes: int | None = None,
    device: torch.device | str = "cpu",
    ladder: Sequence[float] = L2,
) -> tuple[Heads, list[float], list[float | None]]:
    """Linear heads that minimise ‖(X − x̄) W − (Y − ȳ)‖² + l ‖W‖² on a head's rows, Y one-hot.

    With them the l of each, and the share of right answers that it had on the validation part.

    l is the one of the ladder, which rises, with most right answers on a validation part of the rows, drawn as
    `fastpt.tuning.fit.select` does (of equals, the largest); W is then fit on all rows. A head's learning rate and λ
    are ignored. Arguments and errors are those of `fastpt.tuning.fit.fit`; of several views the first is taken. Where
    no class has a sample to spare, l is 1.
    """
    from fastpt.tuning.arrays import validate
    from fastpt.tuning.heads import Heads

    features, labels, classes = validate(features, labels, classes)
    features = (features[0] if features.ndim == 3 else features).to(device)
    labels = labels.to(device)
    parts, chosen, validation = [], [], []
    for head in heads:
        rows = np.arange(len(labels)) if head.rows is None else head.rows
        x, y = features[rows], labels[rows]
        l2, share = _choose(x, y, classes, head.seed, ladder[::-1])
        parts.append(solve(x, y, classes, [l2])[0])
        chosen.append(l2)
        validation.append(share)
    return Heads.join(parts).requires_grad_(False).eval(), chosen, validation


def _choose(x: Tensor, y: Tensor, classes: int, seed: int, ladder: Sequence[float]) -> tuple[float, float | None]:
    from fastpt.tuning.heads import Heads

    part = validation_part(y.cpu().numpy(), seed)
    if part is None:
        return 1.0, None
    kept, held = part
    candidates = Heads.join(solve(x[kept], y[kept], classes, ladder))
    right = (candidates.predict(x[held]) == y[held]).double().mean(1)
    return ladder[int(right.argmax())], float(right.max())


def solve(x: Tensor, y: Tensor, classes: int, ladder: Sequence[float], rows: Tensor | None = None) -> list[Heads]:
    """One head for each l, trained on some rows (None: all), int64 [M]; in float64 and from the Gram matrix of the
    smaller side of X [N, D], of which it holds BLOCK rows at a time.

    W = (XᵀX + l)⁻¹ XᵀY = Xᵀ (XXᵀ + l)⁻¹ Y, with X and Y centred.
    """
    import torch

    from fastpt.tuning.heads import Heads

    rows = torch.arange(len(y), device=y.device) if rows is None else rows
    wide = len(rows) < x.shape[1]
    blocks = [rows] if wide else rows.split(BLOCK)
    mean = torch.stack([x[block].double().sum(0) for block in blocks]).sum(0) / len(rows)
    prior = y[rows].bincount(minlength=classes).double() / len(rows)

    def centred(block: Tensor) -> tuple[Tensor, Tensor]:
        return x[block].double() - mean, torch.nn.functional.one_hot(y[block], classes).double() - prior

    gram = right = torch.zeros((), dtype=torch.float64, device=x.device)
    for block in blocks:
        of_x, of_y = centred(block)
        gram = gram + (of_x @ of_x.T if wide else of_x.T @ of_x)
        right = right + (of_y if wide else of_x.T @ of_y)
    values, vectors = torch.linalg.eigh(gram)
    scale = values.sum() / x.shape[1]
    if scale <= 0:
        raise FastptError("All features are alike, and nothing can be learned from them. Look for the fault.")
    right = vectors.T @ right
    heads = []
    for l2 in ladder:
        weight = vectors @ (right / (values.clamp(min=0) + l2 * scale).unsqueeze(1))
        weight = centred(rows)[0].T @ weight if wide else weight
        head = Heads(x.shape[1], classes, [0]).to(x.device).requires_grad_(False)
        head.classifier.weight[0] = weight.T
        head.classifier.bias[0, 0] = prior - mean @ weight
        heads.append(head)
    return heads
