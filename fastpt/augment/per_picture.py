"""A batch whose pictures each draw for themselves: numbers by picture, and operations done to those that drew them.

A `Batch` carries the keys: random bits of (seed, epoch, sample, view). So what a picture goes through does not depend
on the batch it is in, on the rank or on a restart. The numbers are drawn on the CPU (microseconds), the same on every
device; pictures that drew the same operation are computed together. Pixels are rounded to 8 bits once an operation.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from fastpt import rng

Images = torch.Tensor  # uint8 [B, H, W, 3]
RngKeys = torch.Tensor  # int64 [B], on the CPU: `Batch.rng_keys`
Pixels = torch.Tensor  # float32 [B, 3, H, W], 0 to 255
Operation = Callable[..., Pixels]  # (pixels, values a picture) -> pixels, which may leave 0 to 255

# What a picture's key is used for, so that no two uses share a stream.
RANDAUGMENT, JITTER, GREY, BLUR, ERASING, NOISE = range(6)


def bits(rng_keys: RngKeys) -> np.ndarray:
    return rng_keys.numpy().view(np.uint64)


def uniform(rng_keys: RngKeys, count: int, *purpose: int) -> torch.Tensor:
    """float64 [B, count] in [0, 1): numbers of each picture for a purpose."""
    return torch.from_numpy(rng.uniform(bits(rng_keys)[:, None], *purpose, np.arange(count)))


def pixels_of(images: Images) -> Pixels:
    return images.permute(0, 3, 1, 2).to(torch.float32)


def images_of(pixels: Pixels) -> Images:
    return pixels.to(torch.uint8).permute(0, 2, 3, 1)


def change(pixels: Pixels, operations: Sequence[Operation], which: torch.Tensor, *values: torch.Tensor) -> None:
    """Do to each picture its operation `which`, int64 [B] on the CPU, in place; -1 leaves it.

    An operation gets its pictures together, and theirs of the `values`, [B] on the CPU. All go over to a GPU at once.
    """
    rows = which.argsort(stable=True)
    there = to_device_of(rows, pixels)
    sorted_values = [to_device_of(value[rows].float(), pixels) for value in values]
    bounds = torch.searchsorted(which[rows], torch.arange(len(operations) + 1)).tolist()
    for operation, first, end in zip(operations, bounds, bounds[1:], strict=False):
        if first < end:
            part = there[first:end]
            changed = operation(pixels[part], *(value[first:end] for value in sorted_values))
            pixels[part] = changed.clamp_(0, 255).round_()


def to_device_of(values: torch.Tensor | Sequence, other: torch.Tensor) -> torch.Tensor:
    """`values` on the device of `other`, without waiting until that has done all it was asked to before."""
    here = torch.as_tensor(values)
    if other.is_cuda and not here.is_cuda:
        here = here.pin_memory()  # CUDA waits for what is larger than 64 KiB and not pinned
    return here.to(other.device, non_blocking=True)


def column(values: torch.Tensor) -> torch.Tensor:
    """[B] -> [B, 1, 1, 1]: a value a picture, beside pixels."""
    return values.view(-1, 1, 1, 1)


def gray(pixels: Pixels) -> torch.Tensor:
    """Luma of ITU-R 601-2, float32 [B, 1, H, W]."""
    weights = to_device_of([0.299, 0.587, 0.114], pixels).view(1, 3, 1, 1)
    return (pixels * weights).sum(1, keepdim=True)
