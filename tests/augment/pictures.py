"""Small pictures and their keys, for what is done to a batch."""

import numpy as np
import torch

from fastpt import rng


def pictures(count: int = 6, size: int | tuple[int, int] = 40) -> torch.Tensor:
    """uint8 [count, height, width, 3], smooth with some noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 5, 5, generator=generator) * 200 + 20
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bicubic")
    smooth += 4 * torch.randn(smooth.shape, generator=generator)
    return smooth.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def keys(count: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(rng.bits(seed, np.arange(count)).view(np.int64))
