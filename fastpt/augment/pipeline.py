"""What `augment` in a recipe does to a batch of training pictures, in timm's order; mixing pictures comes after."""

from collections.abc import Sequence

import torch

from fastpt.augment.transforms import color_jitter, gaussian_blur, grey, randaugment, random_erasing, to_floats
from fastpt.recipe import Augment, parse_randaugment


def augmented(
    images: torch.Tensor, keys: torch.Tensor, augment: Augment, mean: Sequence[float], std: Sequence[float]
) -> torch.Tensor:
    """uint8 [B, H, W, 3] and `Batch.keys` -> normalised float32 [B, 3, H, W], on the device of `images`."""
    if augment.randaugment:
        images = randaugment(images, *parse_randaugment(augment.randaugment), keys)
    if augment.jitter:
        images = color_jitter(images, *augment.jitter, keys, augment.jitter_probability)
    if augment.grey:
        images = grey(images, augment.grey, keys)
    if augment.blur:
        images = gaussian_blur(images, augment.blur, keys)
    pixels = to_floats(images, mean, std)
    return random_erasing(pixels, augment.erasing, keys) if augment.erasing else pixels
