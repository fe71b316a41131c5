"""What `augment` in a recipe does to a batch of training pictures, in timm's order; mixing pictures comes after."""

from collections.abc import Sequence

import torch

from fastpt.augment.config import Augment, parse_randaugment
from fastpt.augment.randaugment import randaugment
from fastpt.augment.transforms import color_jitter, gaussian_blur, grayscale, normalize, random_erasing
from fastpt.jpeg import Interpolation


def augmented(
    images: torch.Tensor,
    rng_keys: torch.Tensor,
    augment: Augment,
    interpolation: Interpolation,
    mean: Sequence[float],
    std: Sequence[float],
    compiled: bool = False,
) -> torch.Tensor:
    """uint8 [B, H, W, 3] and `Batch.rng_keys` -> normalised float32 [B, 3, H, W], on the device of `images`.

    As in timm's training, RandAugment fills with the mean colour and interpolates as the crop did (`area`: bilinearly).
    `compiled`: RandAugment by torch.compile.
    """
    if augment.randaugment:
        magnitude, spread = parse_randaugment(augment.randaugment)
        fill = [round(255 * value) for value in mean]
        images = randaugment(
            images, magnitude, spread, rng_keys, fill, bicubic=interpolation == "bicubic", compiled=compiled
        )
    if augment.color_jitter:
        images = color_jitter(images, *augment.color_jitter, rng_keys, augment.color_jitter_probability)
    if augment.grayscale:
        images = grayscale(images, augment.grayscale, rng_keys)
    if augment.blur:
        images = gaussian_blur(images, augment.blur, rng_keys)
    pixels = normalize(images, mean, std)
    return random_erasing(pixels, augment.random_erasing, rng_keys) if augment.random_erasing else pixels
