"""Training of heads on cached features by the paper's protocol. Arrays in, heads out; no test data comes near.

The batch order is each head's own, drawn from its seed like its initial weights. A linear probe's loss is convex, so
with a shared order the spread over seeds would be nearly nothing and say nothing about the uncertainty of the result.
It also makes a head a function of its seed alone: trained alone or in company, it is the same head. LP, MLP tuning and
NMTune of one seed see the same batches, so that their differences are paired.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fastpt.errors import FastptError
from fastpt.tuning.arrays import checked
from fastpt.tuning.heads import Heads, random_stream
from fastpt.tuning.losses import nmtune_regularizer


@dataclass(frozen=True)
class Protocol:
    """How heads are trained: AdamW, the rate falling to 0 along a cosine over all steps, no warm-up, float32."""

    lr: float
    """Learning rate of the first step."""
    weight_decay: float
    """AdamW's decoupled weight decay, on every parameter."""
    mlp: bool
    """Whether a 2-layer MLP stands before the linear classifier."""
    penalty: float = 0.0
    """λ: weight of NMTune's regulariser beside the cross-entropy."""
    epochs: int = 30
    batch_size: int = 64


PROTOCOLS = {
    "lp": Protocol(lr=0.1, weight_decay=0.0, mlp=False),
    "mlp": Protocol(lr=0.001, weight_decay=1e-4, mlp=True),
    "nmtune": Protocol(lr=0.001, weight_decay=1e-4, mlp=True, penalty=0.01),
}
"""The paper's protocol of each method; change a value with dataclasses.replace."""


def protocol(method: str, **changes: float | int | None) -> Protocol:
    """The paper's protocol of `method`, with the changes that are not None. Raises FastptError if it cannot be run."""
    if method not in PROTOCOLS:
        raise FastptError(f"There is no tuning method {method!r}. The methods are {', '.join(PROTOCOLS)}.")
    changed = replace(PROTOCOLS[method], **{key: value for key, value in changes.items() if value is not None})
    if changed.epochs < 1 or changed.batch_size < 1 or changed.lr <= 0 or changed.penalty < 0:
        raise FastptError(f"{changed} cannot be run: epochs, batch_size and lr must be above 0, penalty not below 0.")
    return changed


def fit(
    features: np.ndarray | Tensor,
    labels: np.ndarray | Tensor,
    protocol: Protocol,
    seeds: Sequence[int],
    classes: int | None = None,
    device: str = "cpu",
) -> Heads:
    """Train one head a seed, all together, and return them.

    features: [N, D], finite; labels: [N] integers in [0, K); classes: K, by default the largest label + 1.
    L = cross-entropy + λ nmtune_regularizer(x, z), each a mean over the batch; the gradients of different heads do not
    mix. The result depends on the arguments only (on one device and number of threads, bit for bit).
    Raises FastptError if the arrays do not fit together or if training diverges.
    """
    features, labels, classes = checked(features, labels, classes)
    features, labels = features.to(device), labels.to(device)
    heads = Heads(features.shape[1], classes, seeds, protocol.mlp).to(device)
    optimizer = torch.optim.AdamW(heads.parameters(), lr=protocol.lr, weight_decay=protocol.weight_decay, fused=True)
    steps = protocol.epochs * math.ceil(len(features) / protocol.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    orders = [random_stream(seed, "order") for seed in seeds]
    for epoch in range(protocol.epochs):
        order = torch.stack([torch.randperm(len(features), generator=generator) for generator in orders]).to(device)
        total = torch.zeros((), device=device)
        for ids in order.split(protocol.batch_size, dim=1):
            loss = _loss(heads, features[ids], labels[ids], protocol.penalty)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.detach()
        if not torch.isfinite(total):
            raise FastptError(
                f"Tuning diverged in epoch {epoch + 1}: the loss is {total.item()}. "
                f"The learning rate is {protocol.lr}; lower it, or look at the scale of the features."
            )
    return heads.eval().requires_grad_(False)


def _loss(heads: Heads, x: Tensor, y: Tensor, penalty: float) -> Tensor:
    """x [H, B, D], y [H, B] -> the sum over heads of each head's loss."""
    logits, z = heads(x)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum") / y.shape[1]
    return loss + penalty * nmtune_regularizer(x, z).sum() if penalty else loss
