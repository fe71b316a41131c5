"""Training of heads on cached features by the paper's protocol. Arrays in, heads out; no test data comes near.

Heads of one shape train together, whatever their seeds, learning rates, λ and shares of the data. Each has a batch
order of its own, drawn from its seed like its initial weights. A linear probe's loss is convex, so with a shared order
the spread over seeds would be nearly nothing and say nothing about the uncertainty of the result. It also makes a head
a function of its own settings alone: trained alone or in company, it is the same head. LP, MLP tuning and NMTune of one
seed see the same batches, so that their differences are paired.

Batches are cut from one stream of shuffled epochs, so that all are full: a batch of the one sample that is left over
has no covariance. A head takes ⌈epochs · n / batch size⌉ steps.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from fastpt.errors import FastptError
from fastpt.losses.classification import (
    early_learning_penalty,
    generalized_cross_entropy,
    smoothed_cross_entropy,
    symmetric_cross_entropy,
)
from fastpt.losses.nmtune import consistency_loss, nmtune_regularizer
from fastpt.tuning.arrays import validate
from fastpt.tuning.heads import Heads, random_stream
from fastpt.tuning.methods import HeadSpec
from fastpt.tuning.methods.head_training import HeadTraining
from fastpt.tuning.subsets import VALIDATION_SHARE, holdout

PASS_PARAMETERS = 2**24
"""Heads trained in one pass have at most this many parameters together; a larger head has a pass to itself."""
CHUNK = 64
"""Steps whose batches are drawn at a time."""


def fit(
    features: np.ndarray | Tensor,
    labels: np.ndarray | Tensor,
    training: HeadTraining,
    heads: Sequence[HeadSpec | int],
    classes: int | None = None,
    device: torch.device | str = "cpu",
) -> Heads:
    """Train heads together and return them in their order; an int stands for the head of that seed.

    features: [N, D], or [V, N, D] with V views of each sample, one drawn each time it is seen (two different ones for
    the MLP of the reference code); finite. labels: [N] integers in [0, K); classes: K, by default the largest
    label + 1. L = cross-entropy + λ nmtune_regularizer(x, z), each a mean over the batch; the gradients of different
    heads do not mix. The result depends on the arguments only (on one device and number of threads, bit for bit).
    Raises FastptError if the arrays do not fit together or if training diverges.
    """
    features, labels, classes = validate(features, labels, classes)
    wanted = _settled(heads, training)
    trained = _train(features.to(device), labels.to(device), training, wanted, classes)
    for head, whole in zip(wanted, _are_finite(trained), strict=True):
        if not whole:
            raise FastptError(
                f"Tuning diverged: the head of seed {head.seed} has weights that are no numbers. "
                f"Its learning rate is {head.lr}; lower it, or look at the scale of the features."
            )
    return trained


def select(
    features: np.ndarray | Tensor,
    labels: np.ndarray | Tensor,
    training: HeadTraining,
    heads: Sequence[HeadSpec | int],
    lrs: Sequence[float],
    reg_weights: Sequence[float],
    classes: int | None = None,
    device: torch.device | str = "cpu",
    learned_of: Callable[[np.ndarray], np.ndarray] = lambda rows: rows,
) -> tuple[list[HeadSpec], list[float | None]]:
    """Each head with the learning rate and λ that do best on a validation part of its own rows, to be fit on all.

    With them the share of right answers on that part.

    The part is `VALIDATION_SHARE` of each class, drawn from the head's seed. Best: most right answers on the (first
    view of the) part; of equals, the first in the order given. Arguments and errors are those of `fit`; rates that
    diverge are not chosen. `learned_of` gives those of rows int64 [n] that a head learns from; it validates on all of
    its part, as other methods do. A single setting is taken as it is: an MLP is not trained for it; a linear head is,
    for the share alone, which is None where nothing can be held out.
    """
    wanted = _settled(heads, training)
    grid = list(itertools.product(lrs, reg_weights))
    alone = [replace(head, lr=grid[0][0], reg_weight=grid[0][1]) for head in wanted]
    if len(grid) == 1 and training.mlp:
        return alone, [None] * len(alone)
    features, labels, classes = validate(features, labels, classes)
    rows = [np.arange(len(labels)) if head.rows is None else head.rows for head in wanted]
    try:
        parts = [
            holdout(labels[one].numpy(), VALIDATION_SHARE, head.seed) for head, one in zip(wanted, rows, strict=True)
        ]
    except FastptError:
        if len(grid) > 1:
            raise
        return alone, [None] * len(alone)
    given = [one[kept] for one, (kept, _) in zip(rows, parts, strict=True)]
    learned = [replace(head, rows=learned_of(one)) for head, one in zip(wanted, given, strict=True)]
    candidates = [replace(head, lr=lr, reg_weight=reg_weight) for head in learned for lr, reg_weight in grid]
    trained = _train(features.to(device), labels.to(device), training, candidates, classes)
    whole = _are_finite(trained)
    plain = features[0] if features.ndim == 3 else features
    chosen, validation = [], []
    for i, (head, one, (_, held)) in enumerate(zip(wanted, rows, parts, strict=True)):
        mine = range(i * len(grid), (i + 1) * len(grid))
        held = torch.from_numpy(one[held])
        predicted = trained.select(mine).predict(plain[held].to(device)).cpu()
        right = (predicted == labels[held]).float().mean(1)
        right = torch.where(torch.tensor([whole[j] for j in mine]), right, -1.0)
        if right.max() < 0:  # of a single setting, `fit` tells
            if len(grid) == 1:
                return alone, [None] * len(alone)
            raise FastptError(f"Tuning diverged at every learning rate of {list(lrs)}. Give lower ones.")
        lr, reg_weight = grid[int(right.argmax())]
        chosen.append(replace(head, lr=lr, reg_weight=reg_weight))
        validation.append(float(right.max()))
    return chosen, validation


def _settled(heads: Sequence[HeadSpec | int], training: HeadTraining) -> list[HeadSpec]:
    """The heads with nothing left to the training but what all share. Raises FastptError if a seed is none."""
    settled = []
    for head in heads:
        head = head if isinstance(head, HeadSpec) else HeadSpec(head)
        if not isinstance(head.seed, int | np.integer) or head.seed < 0:
            raise FastptError(f"The seed of a head is {head.seed!r}. Give an integer, 0 or more.")
        lr = training.lr if head.lr is None else head.lr
        reg_weight = training.reg_weight if head.reg_weight is None else head.reg_weight
        settled.append(replace(head, lr=lr, reg_weight=reg_weight))
    return settled


def _are_finite(heads: Heads) -> list[bool]:
    whole = torch.ones(len(heads), dtype=torch.bool, device=heads.classifier.weight.device)
    for value in heads.parameters():
        whole &= value.isfinite().flatten(1).all(1)
    return whole.tolist()


def _train(features: Tensor, labels: Tensor, training: HeadTraining, heads: list[HeadSpec], classes: int) -> Heads:
    """Passes of heads that may go together, put back in order. A head that has diverged is returned as it is."""
    views, dim = features.shape[0] if features.ndim == 3 else 1, features.shape[-1]
    if training.mlp == "reference-code" and views < 2:
        raise FastptError(
            "The reference code tunes on two views of each sample, and there is one. "
            "Extract several views, or take the variant of the paper."
        )
    size = sum(math.prod(value.shape[1:]) for value in Heads(dim, classes, [], training.mlp).parameters())
    most = max(1, PASS_PARAMETERS // size)
    count = [len(labels) if head.rows is None else len(head.rows) for head in heads]
    # Long trainings first, so that those that end can be cut off; heads of the same batches side by side, to share
    # them; then equal rates, for the optimiser.
    order = sorted(range(len(heads)), key=lambda i: (-count[i], *_batches_of(heads[i]), heads[i].lr))
    done: list[Heads] = []
    for _, same in itertools.groupby(order, key=lambda i: min(count[i], training.batch_size)):
        together = [heads[i] for i in same]
        sharing = _sharing(together)
        step = max(most // sharing * sharing, min(most, sharing))
        for start in range(0, len(together), step):
            chunk = together[start : start + step]
            done.append(_pass(features.reshape(-1, dim), labels, training, chunk, classes))
    return Heads.join(done).select(np.argsort(order).tolist()).eval().requires_grad_(False)


def _batches_of(head: HeadSpec) -> tuple[int, int]:
    """What a head's batches are drawn from."""
    return head.seed, id(head.rows)


def _sharing(heads: Sequence[HeadSpec]) -> int:
    """The most heads side by side of which every group of that many has the same batches."""
    return math.gcd(*(len(list(same)) for _, same in itertools.groupby(heads, key=_batches_of)))


def _pass(features: Tensor, labels: Tensor, training: HeadTraining, heads: list[HeadSpec], classes: int) -> Heads:
    """Train heads with one batch size, those with most samples first, at once; features [V·N, D]."""
    device = features.device
    counts = [len(labels) if head.rows is None else len(head.rows) for head in heads]
    batch = min(counts[0], training.batch_size)
    steps = [math.ceil(training.epochs * count / batch) for count in counts]
    seeds = [head.seed for head in heads]
    learning = Heads(features.shape[1], classes, seeds, training.mlp, training.precision, training.classifier_init)
    learning = learning.to(device)
    optimizer = _Optimizer(learning, heads, steps, training.weight_decay)
    reg_weights = torch.tensor([head.reg_weight for head in heads], device=device)
    loss = EarlyLearning(len(heads), len(labels), classes, device) if training.loss == "elr" else LOSSES[training.loss]
    penalised = any(head.reg_weight for head in heads)  # asking the tensor would wait for a GPU in every step
    sharing = _sharing(heads)
    streams = [_batches(len(labels), features, training, head, batch) for head in heads[::sharing]]
    finished: list[Heads] = []
    drawn = torch.empty(0)  # from the first step on [CHUNK, H, views, batch]
    for step in range(steps[0]):
        active = sum(step < one for one in steps)
        if active < len(learning):
            finished.insert(0, learning.select(range(active, len(learning))))
            learning = learning.select(range(active))
            optimizer = optimizer.moved_to(learning)
            reg_weights, streams = reg_weights[:active], streams[: active // sharing]
        if step % CHUNK == 0:
            drawn = torch.stack([next(stream) for stream in streams], 1).to(device)
        ids = drawn[step % CHUNK, : len(streams)]
        x, y = _gathered(features, labels, ids, len(learning))
        if training.mlp or loss is not _cross_entropy:
            samples = (ids.flatten(1) % len(labels)).repeat_interleave(len(learning) // len(ids), 0)
            rows = partial(loss, labels=y, samples=samples)
            _losses(learning, x, rows, len(ids[0]), training, reg_weights if penalised else None).sum().backward()
        else:  # the regulariser of features that nothing transforms is a constant
            _linear_gradients(learning, x, y)
        optimizer.step(step)
    return Heads.join([learning, *finished])


def _gathered(features: Tensor, labels: Tensor, ids: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Features [S, W·B, D] and labels [H, W·B] of ids [S, W, B]: rows of features, W views of a sample. Each of the S
    batches is that of H/S heads."""
    x = features.index_select(0, ids.flatten()).view(len(ids), ids[0].numel(), -1)
    return x, labels[ids[:, 0] % len(labels)].repeat(1, ids.shape[1]).repeat_interleave(heads // len(ids), 0)


@torch.no_grad()
def _linear_gradients(heads: Heads, x: Tensor, y: Tensor) -> None:
    """Put the gradient of the mean cross-entropy of linear heads, (softmax − one-hot) xᵀ / B, where an optimiser looks.

    Autograd's passes over the logits took a third of a step.
    """
    slope = heads(x)[0].softmax(-1)
    slope.scatter_add_(-1, y.unsqueeze(-1), slope.new_full((), -1.0).expand(*y.shape, 1))
    slope /= y.shape[1]
    heads.classifier.keep_gradient(x, slope)
    heads.classifier.bias.grad = slope.sum(1, keepdim=True)


def _cross_entropy(logits: Tensor, labels: Tensor, samples: Tensor) -> Tensor:
    rows = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return rows.view_as(labels)


LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": _cross_entropy,
    "gce": lambda logits, labels, samples: generalized_cross_entropy(logits, labels),
    "sce": lambda logits, labels, samples: symmetric_cross_entropy(logits, labels),
    "smoothed": lambda logits, labels, samples: smoothed_cross_entropy(logits, labels),
}
"""Of logits [H, B, K], labels [H, B] and the samples that they are of, int64 [H, B]: one value a row, [H, B]."""


class EarlyLearning:
    """ELR (Liu et al. 2020): cross entropy, and a head is held to what it predicted of a sample when it saw it before.

    t ← β t + (1 − β) p, β = 0.7, of p that are clamped to [1e-4, 1 - 1e-4] and sum to 1; float32 [H, N, K] in memory.
    """

    def __init__(self, heads: int, samples: int, classes: int, device: torch.device):
        self.running = torch.zeros(heads, samples, classes, device=device)

    def __call__(self, logits: Tensor, labels: Tensor, samples: Tensor) -> Tensor:
        with torch.no_grad():
            p = logits.softmax(-1).clamp(1e-4, 1 - 1e-4)
            places = torch.arange(len(logits), device=logits.device)[:, None], samples
            running = self.running[places].mul_(0.7).add_(p / p.sum(-1, keepdim=True), alpha=0.3)
            self.running[places] = running
        return _cross_entropy(logits, labels, samples) + early_learning_penalty(logits, running)


def _losses(
    heads: Heads,
    x: Tensor,
    row_losses: Callable[[Tensor], Tensor],
    views: int,
    training: HeadTraining,
    reg_weights: Tensor | None,
) -> Tensor:
    """The loss of each head [H] on x [S, views·B, D], batches that H/S heads share.

    `row_losses` takes logits [H, views·B, K] to [H, views·B]. Regularised if there are `reg_weights` [H].
    """
    batch = x.shape[1] // views
    logits, z = heads(x)
    losses = row_losses(logits).mean(1)
    if reg_weights is None:
        return losses
    x = heads.for_each(x)
    if views == 1:
        return losses + reg_weights * nmtune_regularizer(x, z, *training.weights)
    # As in the authors' code: view 2 is held to what the encoder made of view 1, by the mean over elements; the
    # covariance and the five largest singular values are those of both views.
    weight, spectral = training.weights.consistency, training.weights._replace(consistency=0.0)
    consistency = consistency_loss(x[:, :batch], z[:, batch:]) / z.shape[-1]
    return losses + reg_weights * (weight * consistency + nmtune_regularizer(x, z, *spectral, top=5))


def _batches(count: int, features: Tensor, training: HeadTraining, head: HeadSpec, batch: int) -> Iterator[Tensor]:
    """Rows of features [CHUNK, W, batch], for ever; W is 2 for the MLP of the reference code, else 1."""
    order, view = random_stream(head.seed, "order"), random_stream(head.seed, "views")
    rows = torch.arange(count) if head.rows is None else torch.from_numpy(head.rows)
    views, seen = len(features) // count, 2 if training.mlp == "reference-code" else 1
    left = rows[:0]
    while True:
        while len(left) < CHUNK * batch:
            left = torch.cat([left, rows[torch.randperm(len(rows), generator=order)]])
        ids, left = left[: CHUNK * batch].view(CHUNK, 1, batch).repeat(1, seen, 1), left[CHUNK * batch :]
        if views > 1:
            first = torch.randint(views, (CHUNK, 1, batch), generator=view)
            ids[:, :1] += count * first
            if seen == 2:
                another = first + torch.randint(1, views, first.shape, generator=view)
                ids[:, 1:] += count * (another % views)
        yield ids


class _Optimizer:
    """torch's fused AdamW with a learning rate and a length of training a head.

    Heads of equal rate and length that lie side by side are one parameter group, whose parameters are views of theirs.
    """

    def __init__(self, learning: Heads, heads: list[HeadSpec], steps: list[int], weight_decay: float):
        keys = [(head.lr, length) for head, length in zip(heads, steps, strict=True)]
        self.blocks = []  # (from, to, rate, steps)
        for key, same in itertools.groupby(range(len(keys)), key=keys.__getitem__):
            members = list(same)
            self.blocks.append((members[0], members[-1] + 1, *key))
        self.weight_decay = weight_decay
        self._bind(learning)

    def _bind(self, learning: Heads) -> None:
        self.parameters = list(learning.parameters())
        groups = [{"params": [p.detach()[first:last] for p in self.parameters]} for first, last, *_ in self.blocks]
        self.adamw = torch.optim.AdamW(groups, weight_decay=self.weight_decay, fused=True)

    def moved_to(self, learning: Heads) -> "_Optimizer":
        """The same for the heads that are left, with the state they have."""
        before = self.adamw
        self.blocks = [block for block in self.blocks if block[1] <= len(learning)]
        self._bind(learning)
        for group, old in zip(self.adamw.param_groups, before.param_groups, strict=False):
            for new_value, old_value in zip(group["params"], old["params"], strict=True):
                self.adamw.state[new_value] = before.state[old_value]
        return self

    def step(self, step: int) -> None:
        for group, (first, last, lr, steps) in zip(self.adamw.param_groups, self.blocks, strict=True):
            group["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
            for value, parameter in zip(group["params"], self.parameters, strict=True):
                value.grad = None if parameter.grad is None else parameter.grad[first:last]
        self.adamw.step()
        for parameter in self.parameters:
            parameter.grad = None
