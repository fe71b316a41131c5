"""What `augment` in a recipe does to a batch of training pictures, in timm's order; mixing pictures comes after."""

from collections.abc import Sequence

import torch

from fastpt.augment.transforms import color_jitter, gaussian_blur, grayscale, normalize, randaugment, random_erasing
from fastpt.recipe import Augment, parse_randaugment


def augmented(
    images: torch.Tensor, keys: torch.Tensor, augment: Augment, mean: Sequence[float], std: Sequence[float]
) -> torch.Tensor:
    """uint8 [B, H, W, 3] and `Batch.keys` -> normalised float32 [B, 3, H, W], on the device of `images`."""
    if augment.randaugment:
        images = randaugment(images, *parse_randaugment(augment.randaugment), keys)
    if augment.color_jitter:
        images = color_jitter(images, *augment.color_jitter, keys, augment.color_jitter_probability)
    if augment.grayscale:
        images = grayscale(images, augment.grayscale, keys)
    if augment.blur:
        images = gaussian_blur(images, augment.blur, keys)
    pixels = normalize(images, mean, std)
    return random_erasing(pixels, augment.random_erasing, keys) if augment.random_erasing else pixels
