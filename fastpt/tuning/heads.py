"""Heads on frozen features: a linear classifier, alone (LP) or after an MLP (MLP tuning and NMTune).

Heads of one shape live together: every parameter has a leading head dimension H, and one batched matrix product serves
all heads. Heads that share batches lie side by side, and their weights, [H, out, in], are the rows of one matrix: one
wide product serves them. A head's initial weights are a function of its own seed, not of the heads beside it.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

from fastpt.config import Precision
from fastpt.rng import seed_sequence
from fastpt.tuning.methods.head_training import Init, Variant


class Heads(torch.nn.Module):
    """H heads over D features and K classes: logits = z W + b, with z = x, or what an MLP makes of x.

    mlp "paper": z = relu(x W₁ + b₁) W₂ + b₂; the paper gives it two layers but no width, both are [D, D] here.
    mlp "reference-code" (the authors' code): z = x + s ∘ (relu(BN(x W₁ + b₁)) W₂ + b₂) with W₁ [D, 4D], W₂ [4D, D],
    batch normalisation BN and a scale s [D] that begins at 1.
    Initial values are those of torch's Linear: uniform in ±1/√(width in); those of a classifier with the initialisation
    "kaiming" (the authors' code) are uniform in ±√(6/D), its biases 0. With precision "bf16" the matrix products of
    training round their factors and results to bf16; all else, and what is asked after training, is in fp32.
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        seeds: Sequence[int],
        mlp: Variant | None = None,
        precision: Precision = "fp32",
        classifier_init: Init = "linear",
    ):
        super().__init__()
        self.dim, self.classes = dim, classes
        self.mlp: Variant | None = mlp
        self.precision: Precision = precision
        generators = [random_stream(seed, "init") for seed in seeds]
        hidden = 4 * dim if mlp == "reference-code" else dim
        if mlp:
            self.first = _Linears(dim, hidden, generators, precision)
            self.second = _Linears(hidden, dim, generators, precision)
        if mlp == "reference-code":
            self.norm = _BatchNorms(hidden, len(generators))
            self.scale = torch.nn.Parameter(torch.ones(len(generators), 1, dim))
        self.classifier = _Linears(dim, classes, generators, precision)
        if classifier_init == "kaiming":
            self.classifier.weight.data *= 6**0.5
            self.classifier.bias.data.zero_()

    def __len__(self) -> int:
        return len(self.classifier.weight)

    def transform(self, x: Tensor) -> Tensor:
        """Float32 [S, B, D], or [B, D], S = 1 -> z [H, B, D] (or x itself where there is no MLP).

        Each of the S batches, a divisor of H, is shared by H/S heads side by side.
        """
        if self.mlp is None:
            return x
        hidden = self.first(x)
        if self.mlp == "paper":
            return self.second(torch.relu(hidden))
        return torch.addcmul(self.for_each(x), self.second(torch.relu(self.norm(hidden))), self.scale)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Float32 [S, B, D] or [B, D] -> logits [H, B, K] and z, as in `transform`."""
        z = self.transform(x)
        return self.classifier(z), z

    def for_each(self, x: Tensor) -> Tensor:
        """Batches [S, B, D] that heads share -> one for each head, [H, B, D]; one that all share stays as it is."""
        return x if x.ndim == 2 or len(x) == 1 else x.repeat_interleave(len(self) // len(x), 0)

    @torch.inference_mode()
    def logits(self, features: Tensor, batch_size: int = 256) -> Tensor:
        """Float32 features [N, D] -> logits [H, N, K] on the features' device."""
        return torch.cat([self(x)[0] for x in features.split(batch_size)], dim=1)

    @torch.inference_mode()
    def predict(self, features: Tensor, batch_size: int = 256) -> Tensor:
        """Float32 features [N, D] -> int64 classes [H, N]."""
        return torch.cat([self(x)[0].argmax(-1) for x in features.split(batch_size)], dim=1)

    @torch.inference_mode()
    def transformed(self, features: Tensor, head: int) -> Tensor:
        """Float32 features [N, D] -> z [N, D], what the linear classifier of one head sees."""
        return self.select([head]).transform(features).reshape(features.shape)

    def select(self, which: Sequence[int]) -> Self:
        """A copy of some heads, in the order given."""
        return self._with({name: value[list(which)] for name, value in self.state_dict().items()})

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """All heads of several of one shape, one after the other."""
        states = [part.state_dict() for part in parts]
        return parts[0]._with({name: torch.cat([state[name] for state in states]) for name in states[0]})

    def _with(self, values: dict[str, Tensor]) -> Self:
        other = type(self)(self.dim, self.classes, [], self.mlp, self.precision).to(self.classifier.weight.device)
        for name, tensor in other.state_dict(keep_vars=True).items():
            tensor.data = values[name]
        return other.train(self.training).requires_grad_(self.classifier.weight.requires_grad)


class _Linears(torch.nn.Module):
    """One linear layer a head: [S, B, in] or [B, in] -> [H, B, out], as in `Heads.transform`."""

    def __init__(self, width_in: int, width_out: int, generators: Sequence[torch.Generator], precision: Precision):
        super().__init__()
        self.factors = torch.bfloat16 if precision == "bf16" else torch.float32
        bound = width_in**-0.5
        values = torch.empty(len(generators), width_in + 1, width_out)
        for value, generator in zip(values, generators, strict=True):
            value.uniform_(-bound, bound, generator=generator)
        self.weight = torch.nn.Parameter(values[:, :-1].mT.clone(memory_format=torch.contiguous_format))
        self.bias = torch.nn.Parameter(values[:, -1:].clone())
        self.gradient: Tensor | None = None  # of the weights, in the same memory at every step

    def forward(self, x: Tensor) -> Tensor:
        return _Product.apply(x if x.ndim == 3 else x[None], self.weight, self) + self.bias

    def keep_gradient(self, x: Tensor, upstream: Tensor) -> None:
        """The weights' gradient by x [S, B, in] and that of the output [H, B, out].

        It is written where that of the step before was: fresh memory for it, first touched page by page, costs as much
        as the product.
        """
        if self.gradient is None:
            self.gradient = torch.empty_like(self.weight)
        kept, upstream = _wide(self.gradient, len(x)), _wide(upstream.mT, len(x))
        if self.factors == kept.dtype:
            torch.bmm(upstream, x, out=kept)
        else:
            kept.copy_(torch.bmm(upstream.to(self.factors), x.to(self.factors)))
        self.weight.grad = self.gradient


class _Product(torch.autograd.Function):
    """x [S, B, in] times the weights [H, out, in] of a layer, as (W xᵀ)ᵀ: with few rows in x, BLAS is faster so."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, layer: _Linears) -> Tensor:
        if layer.training:
            x, weight = x.to(layer.factors), weight.to(layer.factors)
        ctx.save_for_backward(x, weight)
        ctx.layer = layer
        return torch.bmm(_wide(weight, len(x)), x.mT).view(*weight.shape[:2], -1).mT.float()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight = ctx.saved_tensors
        ctx.layer.keep_gradient(x, upstream)
        if not ctx.needs_input_grad[0]:
            return None, None, None
        slope = torch.bmm(upstream.to(weight.dtype), weight).float()
        return slope if len(x) == len(slope) else slope.unflatten(0, (len(x), -1)).sum(1), None, None


def _wide(values: Tensor, groups: int) -> Tensor:
    """[H, out, n] -> [groups, H / groups · out, n]: the rows of heads side by side in one matrix."""
    return values.reshape(groups, -1, values.shape[-1])


class _BatchNorms(torch.nn.Module):
    """One batch normalisation a head: [H, B, width] -> the same; momentum and epsilon are those of torch."""

    mean: Tensor
    variance: Tensor

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(heads, 1, width))
        self.bias = torch.nn.Parameter(torch.zeros(heads, 1, width))
        self.register_buffer("mean", torch.zeros(heads, 1, width))
        self.register_buffer("variance", torch.ones(heads, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.mean, self.variance
        if self.training:
            variance, mean = torch.var_mean(x, 1, correction=0, keepdim=True)
            unbiased = variance.detach() * (x.shape[1] / max(x.shape[1] - 1, 1))
            self.mean.lerp_(mean.detach(), 0.1)
            self.variance.lerp_(unbiased, 0.1)
        return torch.addcmul(self.bias, (x - mean) * torch.rsqrt(variance + 1e-5), self.weight)


def random_stream(seed: int, purpose: str) -> torch.Generator:
    """A generator that depends on (seed, purpose): the order of a head's batches is not tied to its initial weights."""
    state = seed_sequence(seed, purpose).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) >> 1)
