"""What happens to a whole batch on the training device, each picture drawing for itself from its own key.

A `Batch` carries the keys: random bits of (seed, epoch, sample, view). So what a picture goes through does not depend
on the batch it is in, on the rank or on a restart. The numbers are drawn on the CPU (microseconds), the same on every
device; pictures that drew the same operation are computed together. Pixels are rounded to 8 bits once an operation.

- `randaugment` follows timm's `rand-m<M>-mstd<S>-inc1` (Wightman et al. 2021): two operations a picture, drawn from 15
  with replacement, each applied with probability 0.5, its magnitude drawn from N(M, S) and clipped to 0 to 10.
  Geometric operations interpolate bilinearly.
- `color_jitter`, `grayscale` and `gaussian_blur` follow torchvision's ColorJitter, RandomGrayscale and GaussianBlur.
- `random_erasing` follows timm's RandomErasing with mode "pixel" (Zhong et al. 2020).
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from fastpt import rng

FILL = 128  # timm's fill value where a picture is moved away
TURNS = 2  # operations of RandAugment a picture
SIGMA = (0.1, 2.0)  # widths of the Gaussian that blurs, pixels
TRIES = 10  # to fit a rectangle, as in timm's RandomErasing
AREA, MIN_ASPECT = (0.02, 1 / 3), 0.3  # of that rectangle: its share of the picture, and how narrow it may be
Images = torch.Tensor  # uint8 [B, H, W, 3]
RngKeys = torch.Tensor  # int64 [B], on the CPU: `Batch.rng_keys`
Pixels = torch.Tensor  # float32 [B, 3, H, W], 0 to 255
Entry = float | torch.Tensor  # of the matrix of a warp: one for all pictures, or float32 [B]
Levels = torch.Tensor  # float32 [B], -1 to 1: the magnitude over 10, with a sign for operations that have a direction

# What a picture's key is used for, so that no two uses share a stream.
RANDAUGMENT, JITTER, GREY, BLUR, ERASING, NOISE = range(6)


def normalize(images: Images, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W], channels last in memory, normalised by `mean` and `std` of 0 to 1."""
    scale = _there([255.0 * value for value in std], images)
    shift = _there([m / s for m, s in zip(mean, std, strict=True)], images)
    return images.to(torch.float32).div_(scale).sub_(shift).permute(0, 3, 1, 2)


def randaugment(images: Images, magnitude: float, spread: float, rng_keys: RngKeys) -> Images:
    """RandAugment; returns a new tensor. `magnitude` and `spread` of 0 to 10."""
    pixels = _pixels(images)
    for turn in range(TURNS):
        choice, applied, sign, radius, angle = _uniform(rng_keys, 5, RANDAUGMENT, turn).T
        normal = torch.sqrt(-2 * torch.log1p(-radius)) * torch.cos(2 * torch.pi * angle)  # Box and Muller
        levels = (magnitude + spread * normal).clamp(0, 10) / 10 * torch.where(sign < 0.5, -1, 1)
        _change(pixels, OPERATIONS, torch.where(applied < 0.5, (choice * len(OPERATIONS)).long(), -1), levels)
    return _images(pixels)


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

    Each picture takes them in an order of its own. Returns a new tensor.
    """
    pixels = _pixels(images)
    draws = _uniform(rng_keys, 9, JITTER)
    applied, order, shares = draws[:, :1] < probability, draws[:, 1:5].argsort(dim=1), draws[:, 5:] * 2 - 1
    widths = torch.tensor([brightness, contrast, saturation, hue], dtype=shares.dtype)
    factors = torch.cat([(1 + shares * widths)[:, :3].clamp(min=0), shares[:, 3:] * hue], dim=1)
    for which in torch.where(applied & (widths > 0)[order], order, -1).T:
        _change(pixels, JITTERS, which, factors.gather(1, which[:, None].clamp(min=0))[:, 0])
    return _images(pixels)


def grayscale(images: Images, probability: float, rng_keys: RngKeys) -> Images:
    """Pictures made grey with a probability. Returns a new tensor."""
    pixels = _pixels(images)
    _change(
        pixels,
        [lambda pixels: _gray(pixels).repeat(1, 3, 1, 1)],
        _first_where(_uniform(rng_keys, 1, GREY), probability),
    )
    return _images(pixels)


def gaussian_blur(images: Images, probability: float, rng_keys: RngKeys) -> Images:
    """Pictures blurred with a probability, by a Gaussian whose width is uniform in `SIGMA`. Returns a new tensor."""
    pixels = _pixels(images)
    draws = _uniform(rng_keys, 2, BLUR)
    widths = SIGMA[0] + (SIGMA[1] - SIGMA[0]) * draws[:, 1]
    reach = int(np.ceil(3 * SIGMA[1]))
    _change(pixels, [lambda pixels, widths: _blur(pixels, widths, reach)], _first_where(draws, probability), widths)
    return _images(pixels)


def random_erasing(pixels: torch.Tensor, probability: float, rng_keys: RngKeys) -> torch.Tensor:
    """Replace, with a probability, a rectangle of a normalised picture, float [B, 3, H, W], by normal noise, in place.

    The rectangle has a share of the picture uniform in `AREA` and a log-uniform aspect from `MIN_ASPECT` to its
    inverse; the first of ten that fits is taken. Its noise is drawn on the device, so GPUs draw another than CPUs.
    """
    height, width = pixels.shape[2:]
    draws = _uniform(rng_keys, 4 * TRIES + 1, ERASING)
    share, aspect, down, across = draws[:, 1:].unflatten(1, (4, TRIES)).unbind(1)
    share = (AREA[0] + (AREA[1] - AREA[0]) * share) * height * width
    aspect = torch.exp((2 * aspect - 1) * np.log(1 / MIN_ASPECT))
    h, w = torch.round(torch.sqrt(share * aspect)), torch.round(torch.sqrt(share / aspect))
    fits = (h < height) & (w < width)
    boxes = torch.stack([(down * (height - h + 1)).floor(), (across * (width - w + 1)).floor(), h, w], dim=-1).long()
    seeds = rng.bits(_bits(rng_keys), NOISE)
    generator = torch.Generator(pixels.device)
    for row in torch.nonzero((draws[:, 0] < probability) & fits.any(1)).flatten().tolist():
        top, left, h, w = boxes[row, fits[row].long().argmax()].tolist()
        generator.manual_seed(int(seeds[row]))
        noise = torch.randn(3, h, w, generator=generator, device=pixels.device, dtype=pixels.dtype)
        pixels[row, :, top : top + h, left : left + w] = noise
    return pixels


def _bits(rng_keys: RngKeys) -> np.ndarray:
    return rng_keys.numpy().view(np.uint64)


def _uniform(rng_keys: RngKeys, count: int, *purpose: int) -> torch.Tensor:
    """float64 [B, count] in [0, 1): numbers of each picture for a purpose."""
    return torch.from_numpy(rng.uniform(_bits(rng_keys)[:, None], *purpose, np.arange(count)))


def _pixels(images: Images) -> Pixels:
    return images.permute(0, 3, 1, 2).to(torch.float32)


def _images(pixels: Pixels) -> Images:
    return pixels.to(torch.uint8).permute(0, 2, 3, 1)


def _first_where(draws: torch.Tensor, probability: float) -> torch.Tensor:
    """`which` of `_change` for one operation that comes with a probability, by the first of the draws [B, n]."""
    return torch.where(draws[:, 0] < probability, 0, -1)


def _change(
    pixels: Pixels, operations: Sequence[Callable[..., Pixels]], which: torch.Tensor, *values: torch.Tensor
) -> None:
    """Do to each picture its operation `which`, int64 [B] on the CPU, in place; -1 leaves it.

    An operation gets its pictures together, and theirs of the `values`, [B] on the CPU. All go over to a GPU at once.
    """
    rows = which.argsort(stable=True)
    there = _there(rows, pixels)
    sorted_values = [_there(value[rows].float(), pixels) for value in values]
    bounds = torch.searchsorted(which[rows], torch.arange(len(operations) + 1)).tolist()
    for operation, first, end in zip(operations, bounds, bounds[1:], strict=False):
        if first < end:
            part = there[first:end]
            changed = operation(pixels[part], *(value[first:end] for value in sorted_values))
            pixels[part] = changed.clamp_(0, 255).round_()


def _there(values: torch.Tensor | Sequence, other: torch.Tensor) -> torch.Tensor:
    """On the device of `other`, without waiting until that has done all it was asked to before."""
    return torch.as_tensor(values).to(other.device, non_blocking=True)


# --- operations: (pixels, values a picture) -> pixels, which may leave 0 to 255 ------------------------------------


def _column(values: torch.Tensor) -> torch.Tensor:
    return values.view(-1, 1, 1, 1)


def _warp(
    pixels: Pixels,
    a: Entry = 1.0,
    b: Entry = 0.0,
    c: Entry = 0.0,
    d: Entry = 0.0,
    e: Entry = 1.0,
    f: Entry = 0.0,
) -> Pixels:
    """The picture at (x, y) is what was at (a x + b y + c, d x + e y + f), in units of half a side from the centre."""
    theta = torch.zeros(len(pixels), 6, device=pixels.device)
    for column, value in enumerate((a, b, c, d, e, f)):
        theta[:, column] = value
    grid = F.affine_grid(theta.view(-1, 2, 3), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels - FILL, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + FILL


def _auto_contrast(pixels: Pixels, _: Levels) -> Pixels:
    low, high = pixels.amin((2, 3), keepdim=True), pixels.amax((2, 3), keepdim=True)
    spread = high - low
    return torch.where(spread > 0, (pixels - low) * 255 / spread.clamp(min=1), pixels)


def _equalize(pixels: Pixels, _: Levels) -> Pixels:
    """PIL's rule: step = (pixels but those of the brightest value) // 255; v -> (pixels below v + step/2) / step."""
    rows = pixels.flatten(0, 1).flatten(1).long()  # [B * 3, H * W]
    counts = torch.zeros(len(rows), 256, device=pixels.device, dtype=torch.long)
    counts.scatter_add_(1, rows, torch.ones_like(rows))
    brightest = counts.gather(1, rows.amax(1, keepdim=True))
    step = (rows.shape[1] - brightest) // 255
    below = counts.cumsum(1) - counts
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=pixels.device))
    return table.gather(1, rows).view(pixels.shape).to(pixels.dtype)


def _invert(pixels: Pixels, _: Levels) -> Pixels:
    return 255 - pixels


def _rotate(pixels: Pixels, levels: Levels) -> Pixels:
    angle = torch.deg2rad(levels * 30)
    cos, sin = torch.cos(angle), torch.sin(angle)
    aspect = pixels.shape[3] / pixels.shape[2]
    return _warp(pixels, a=cos, b=-sin / aspect, d=sin * aspect, e=cos)


def _posterize(pixels: Pixels, levels: Levels) -> Pixels:
    step = 2.0 ** (8 - (4 - torch.floor(levels.abs() * 4)))  # keeps the 4 to 0 highest bits
    return torch.floor(pixels / _column(step)) * _column(step)


def _solarize(pixels: Pixels, levels: Levels) -> Pixels:
    threshold = 256 - torch.floor(levels.abs() * 256)
    return torch.where(pixels < _column(threshold), pixels, 255 - pixels)


def _solarize_add(pixels: Pixels, levels: Levels) -> Pixels:
    return torch.where(pixels < 128, pixels + _column(torch.floor(levels.abs() * 110)), pixels)


def _blend(pixels: Pixels, degenerate: torch.Tensor, levels: Levels) -> Pixels:
    """PIL's ImageEnhance: away from 1 in either direction, at least 0.1."""
    factor = _column((1 + levels * 0.9).clamp(min=0.1))
    return degenerate + (pixels - degenerate) * factor


def _gray(pixels: Pixels) -> torch.Tensor:
    weights = _there([0.299, 0.587, 0.114], pixels).view(1, 3, 1, 1)
    return (pixels * weights).sum(1, keepdim=True)


def _color(pixels: Pixels, levels: Levels) -> Pixels:
    return _blend(pixels, _gray(pixels), levels)


def _contrast(pixels: Pixels, levels: Levels) -> Pixels:
    return _blend(pixels, _gray(pixels).mean((2, 3), keepdim=True).round(), levels)


def _brightness(pixels: Pixels, levels: Levels) -> Pixels:
    return _blend(pixels, torch.zeros_like(pixels), levels)


def _sharpness(pixels: Pixels, levels: Levels) -> Pixels:
    kernel = _there([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]], pixels).div(13)
    smooth = pixels.clone()  # PIL leaves the border as it is
    inner = F.conv2d(pixels, kernel.expand(3, 1, 3, 3).contiguous(), groups=3)
    smooth[:, :, 1:-1, 1:-1] = inner
    return _blend(pixels, smooth, levels)


def _shear_x(pixels: Pixels, levels: Levels) -> Pixels:
    slope = levels * 0.3 * (pixels.shape[2] / pixels.shape[3])
    return _warp(pixels, b=slope, c=slope)  # the top edge stays, as in PIL


def _shear_y(pixels: Pixels, levels: Levels) -> Pixels:
    slope = levels * 0.3 * (pixels.shape[3] / pixels.shape[2])
    return _warp(pixels, d=slope, f=slope)  # the left edge stays


def _translate_x(pixels: Pixels, levels: Levels) -> Pixels:
    return _warp(pixels, c=levels * 0.9)  # 0.45 of the side


def _translate_y(pixels: Pixels, levels: Levels) -> Pixels:
    return _warp(pixels, f=levels * 0.9)


def _brighten(pixels: Pixels, factors: torch.Tensor) -> Pixels:
    return pixels * _column(factors)


def _stretch(pixels: Pixels, factors: torch.Tensor) -> Pixels:
    mean = _gray(pixels).mean((2, 3), keepdim=True)
    return mean + (pixels - mean) * _column(factors)


def _saturate(pixels: Pixels, factors: torch.Tensor) -> Pixels:
    gray = _gray(pixels)
    return gray + (pixels - gray) * _column(factors)


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
    offsets = _there([5.0, 3.0, 1.0], pixels).view(1, 3, 1, 1)
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

# timm's _RAND_INCREASING_TRANSFORMS, in its order.
OPERATIONS: tuple[Callable[[Pixels, Levels], Pixels], ...] = (
    _auto_contrast,
    _equalize,
    _invert,
    _rotate,
    _posterize,
    _solarize,
    _solarize_add,
    _color,
    _contrast,
    _brightness,
    _sharpness,
    _shear_x,
    _shear_y,
    _translate_x,
    _translate_y,
)
