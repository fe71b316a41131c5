"""What happens to a whole batch on the training device, beside RandAugment; each picture draws from its own key.

- `color_jitter`, `grayscale` and `gaussian_blur` follow torchvision's ColorJitter, RandomGrayscale and GaussianBlur.
- `random_erasing` follows timm's RandomErasing with mode "pixel" (Zhong et al. 2020).
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from fastpt import rng
from fastpt.augment.per_picture import (
    BLUR,
    ERASING,
    GREY,
    JITTER,
    NOISE,
    Images,
    Pixels,
    RngKeys,
    bits,
    change,
    column,
    gray,
    images_of,
    pixels_of,
    to_device_of,
    uniform,
)

SIGMA = (0.1, 2.0)  # widths of the Gaussian that blurs, pixels
TRIES = 10  # to fit a rectangle, as in timm's RandomErasing
AREA, MIN_ASPECT = (0.02, 1 / 3), 0.3  # of that rectangle: its share of the picture, and how narrow it may be


def normalize(images: Images, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W], channels last in memory, normalised by `mean` and `std` of 0 to 1."""
    scale = to_device_of([255.0 * value for value in std], images)
    shift = to_device_of([m / s for m, s in zip(mean, std, strict=True)], images)
    return images.to(torch.float32).div_(scale).sub_(shift).permute(0, 3, 1, 2)


def color_jitter(
    images: Images,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    rng_keys: RngKeys,
    probability: float = 1.0,
) -> Images:
    """Brightness, contrast and saturation times 1 -+ the given share, hue turned by -+ `hue` of a circle (at most 0.5).

    Factors are uniform from max(0, 1 - share) to 1 + share. Each picture takes them in an order of its own. Returns a
    new tensor.
    """
    pixels = pixels_of(images)
    draws = uniform(rng_keys, 9, JITTER)
    applied, order, where = draws[:, :1] < probability, draws[:, 1:5].argsort(dim=1), draws[:, 5:]
    widths = torch.tensor([brightness, contrast, saturation, hue], dtype=where.dtype)
    middle = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=where.dtype)
    low = torch.maximum(middle - widths, torch.tensor([0.0, 0.0, 0.0, -0.5]))
    factors = low + where * (middle + widths - low)
    for which in torch.where(applied & (widths > 0)[order], order, -1).T:
        change(pixels, JITTERS, which, factors.gather(1, which[:, None].clamp(min=0))[:, 0])
    return images_of(pixels)


def grayscale(images: Images, probability: float, rng_keys: RngKeys) -> Images:
    """Pictures made grey with a probability. Returns a new tensor."""
    pixels = pixels_of(images)
    change(
        pixels,
        [lambda pixels: gray(pixels).repeat(1, 3, 1, 1)],
        _first_where(uniform(rng_keys, 1, GREY), probability),
    )
    return images_of(pixels)


def gaussian_blur(images: Images, probability: float, rng_keys: RngKeys) -> Images:
    """Pictures blurred with a probability, by a Gaussian whose width is uniform in `SIGMA`. Returns a new tensor."""
    pixels = pixels_of(images)
    draws = uniform(rng_keys, 2, BLUR)
    widths = SIGMA[0] + (SIGMA[1] - SIGMA[0]) * draws[:, 1]
    reach = int(np.ceil(3 * SIGMA[1]))
    change(pixels, [lambda pixels, widths: _blur(pixels, widths, reach)], _first_where(draws, probability), widths)
    return images_of(pixels)


def random_erasing(pixels: torch.Tensor, probability: float, rng_keys: RngKeys) -> torch.Tensor:
    """Replace, with a probability, a rectangle of a normalised picture, float [B, 3, H, W], by normal noise, in place.

    The rectangle has a share of the picture uniform in `AREA` and a log-uniform aspect from `MIN_ASPECT` to its
    inverse; the first of ten that fits is taken. Its noise is drawn on the device, so GPUs draw another than CPUs.
    """
    height, width = pixels.shape[2:]
    draws = uniform(rng_keys, 4 * TRIES + 1, ERASING)
    share, aspect, down, across = draws[:, 1:].unflatten(1, (4, TRIES)).unbind(1)
    share = (AREA[0] + (AREA[1] - AREA[0]) * share) * height * width
    aspect = torch.exp((2 * aspect - 1) * np.log(1 / MIN_ASPECT))
    h, w = torch.round(torch.sqrt(share * aspect)), torch.round(torch.sqrt(share / aspect))
    fits = (h < height) & (w < width)
    boxes = torch.stack([(down * (height - h + 1)).floor(), (across * (width - w + 1)).floor(), h, w], dim=-1).long()
    seeds = rng.bits(bits(rng_keys), NOISE)
    generator = torch.Generator(pixels.device)
    for row in torch.nonzero((draws[:, 0] < probability) & fits.any(1)).flatten().tolist():
        top, left, h, w = boxes[row, fits[row].long().argmax()].tolist()
        generator.manual_seed(int(seeds[row]))
        noise = torch.randn(3, h, w, generator=generator, device=pixels.device, dtype=pixels.dtype)
        pixels[row, :, top : top + h, left : left + w] = noise
    return pixels


def _first_where(draws: torch.Tensor, probability: float) -> torch.Tensor:
    """`which` of `_change` for one operation that comes with a probability, by the first of the draws [B, n]."""
    return torch.where(draws[:, 0] < probability, 0, -1)


def _brighten(pixels: Pixels, factors: torch.Tensor) -> Pixels:
    return pixels * column(factors)


def _stretch(pixels: Pixels, factors: torch.Tensor) -> Pixels:
    mean = gray(pixels).mean((2, 3), keepdim=True)
    return mean + (pixels - mean) * column(factors)


def _saturate(pixels: Pixels, factors: torch.Tensor) -> Pixels:
    degenerate = gray(pixels)
    return degenerate + (pixels - degenerate) * column(factors)


def _turn_hue(pixels: Pixels, shares: torch.Tensor) -> Pixels:
    """Turn the hue of HSV by `shares` of a circle; saturation and value stay."""
    value, low = pixels.amax(1), pixels.amin(1)
    chroma = value - low
    red, green, blue = pixels.unbind(1)
    safe = chroma.clamp(min=1e-6)
    hue = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = hue + 6 * shares.view(-1, 1, 1)
    # Each channel as a function of the hue: value - chroma * clamp(min(k, 4 - k), 0, 1), k = (n + hue) mod 6.
    offsets = to_device_of([5.0, 3.0, 1.0], pixels).view(1, 3, 1, 1)
    k = (offsets + hue[:, None]) % 6
    return value[:, None] - chroma[:, None] * torch.minimum(k, 4 - k).clamp(0, 1)


def _blur(pixels: Pixels, widths: torch.Tensor, reach: int) -> Pixels:
    """A Gaussian of each picture's own width, cut off at `reach` pixels; the border is mirrored."""
    at = torch.arange(-reach, reach + 1, device=pixels.device, dtype=torch.float32)
    kernels = torch.softmax(-0.5 * (at / widths[:, None]) ** 2, dim=1).repeat_interleave(3, 0)  # [B * 3, K]
    flat = F.pad(pixels, (reach, reach, reach, reach), mode="reflect").flatten(0, 1)[None]
    across = F.conv2d(flat, kernels[:, None, None, :], groups=flat.shape[1])
    return F.conv2d(across, kernels[:, None, :, None], groups=flat.shape[1])[0].view_as(pixels)


JITTERS = (_brighten, _stretch, _saturate, _turn_hue)
