"""Heads on frozen features: a linear classifier, alone (LP) or after a 2-layer MLP (MLP tuning and NMTune).

Heads of one shape live together: every parameter has a leading head dimension H, and one batched matrix product serves
all heads. A head's initial weights are a function of its own seed, not of the heads beside it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class Heads(torch.nn.Module):
    """H heads over D features and K classes: logits = z W + b, with z = x, or z = relu(x W₁ + b₁) W₂ + b₂ if `mlp`.

    The paper gives the MLP two layers but no width; both are [D, D] here. Initial values are those of torch's Linear:
    uniform in ±1/√D.
    """

    def __init__(self, dim: int, classes: int, seeds: Sequence[int], mlp: bool):
        super().__init__()
        self.dim, self.classes, self.seeds = dim, classes, tuple(seeds)
        generators = [random_stream(seed, "init") for seed in seeds]
        self.mlp = torch.nn.ModuleList(_Linears(dim, dim, generators) for _ in range(2 if mlp else 0))
        self.classifier = _Linears(dim, classes, generators)

    def transform(self, x: Tensor) -> Tensor:
        """Float32 [H, B, D], or [B, D] shared by all heads -> z [H, B, D] (or x itself where there is no MLP)."""
        if not self.mlp:
            return x
        first, second = self.mlp
        return second(torch.relu(first(x)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Float32 [H, B, D] or [B, D] -> logits [H, B, K] and z as in `transform`."""
        z = self.transform(x)
        return self.classifier(z), z

    @torch.inference_mode()
    def logits(self, features: Tensor, batch_size: int = 1024) -> Tensor:
        """Float32 features [N, D] -> logits [H, N, K] on the features' device."""
        return torch.cat([self(x)[0] for x in features.split(batch_size)], dim=1)

    def predict(self, features: Tensor) -> Tensor:
        """Float32 features [N, D] -> int64 classes [H, N]."""
        return self.logits(features).argmax(-1)

    @torch.inference_mode()
    def transformed(self, features: Tensor, head: int) -> Tensor:
        """Float32 features [N, D] -> z [N, D], what the linear classifier of one head sees."""
        if not self.mlp:
            return features
        first, second = self.mlp
        return torch.relu(features @ first.weight[head] + first.bias[head]) @ second.weight[head] + second.bias[head]


class _Linears(torch.nn.Module):
    """One linear layer a head: [H, B, in] or [B, in] -> [H, B, out]."""

    def __init__(self, width_in: int, width_out: int, generators: Sequence[torch.Generator]):
        super().__init__()
        bound = width_in**-0.5
        values = torch.stack([torch.rand(width_in + 1, width_out, generator=generator) for generator in generators])
        values = (2 * values - 1) * bound
        self.weight = torch.nn.Parameter(values[:, :-1].clone())
        self.bias = torch.nn.Parameter(values[:, -1:].clone())

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x.expand(len(self.weight), -1, -1), self.weight)


def random_stream(seed: int, purpose: str) -> torch.Generator:
    """A generator that depends on (seed, purpose): the order of a head's batches is not tied to its initial weights."""
    state = np.random.SeedSequence([seed, *purpose.encode()]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) >> 1)
