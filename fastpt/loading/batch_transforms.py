"""What happens to a whole batch on the training device: to floats, and RandAugment, drawn by torch's global generator.

RandAugment follows timm's `rand-m<M>-mstd<S>-inc1` (Wightman et al. 2021): two operations a picture, drawn from 15 with
replacement, each applied with probability 0.5, its magnitude drawn from N(M, S) and clipped to 0 to 10. Each picture
draws its own operations; pictures that drew the same one are computed together. What differs from timm: geometric
operations interpolate bilinearly, and pixels are rounded once an operation rather than as PIL does.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

FILL = 128  # timm's fill value where a picture is moved away
Pixels = torch.Tensor  # float32 [B, 3, H, W], 0 to 255
Levels = torch.Tensor  # float32 [B], 0 to 1: the magnitude over 10


def to_floats(images: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W], channels last in memory, normalised by `mean` and `std` of 0 to 1."""
    scale = torch.tensor([255.0 * value for value in std], device=images.device)
    shift = torch.tensor([m / s for m, s in zip(mean, std, strict=True)], device=images.device)
    return images.to(torch.float32).div_(scale).sub_(shift).permute(0, 3, 1, 2)


def randaugment(images: torch.Tensor, magnitude: float, spread: float, operations: int = 2) -> torch.Tensor:
    """RandAugment on uint8 [B, H, W, 3]; returns a new tensor of the same kind. `magnitude` and `spread` of 0 to 10."""
    batch = len(images)
    pixels = images.permute(0, 3, 1, 2).to(torch.float32)
    for _ in range(operations):
        # Drawn on the CPU: the same on any device, and no wait for the device when grouping.
        chosen = torch.randint(len(OPERATIONS), (batch,))
        applied = torch.rand(batch) < 0.5
        levels = (magnitude + spread * torch.randn(batch)).clamp(0, 10) / 10
        for index, operation in enumerate(OPERATIONS):
            rows = torch.nonzero(applied & (chosen == index)).flatten()
            if len(rows):
                here = rows.to(pixels.device)
                changed = operation(pixels[here], levels[rows].to(pixels.device))
                pixels[here] = changed.clamp_(0, 255).round_()
    return pixels.to(torch.uint8).permute(0, 2, 3, 1)


def _sign(levels: Levels) -> torch.Tensor:
    return (torch.randint(2, levels.shape) * 2 - 1).to(levels.device)


def _column(values: torch.Tensor) -> torch.Tensor:
    return values.view(-1, 1, 1, 1)


def _warp(pixels: Pixels, a=1.0, b=0.0, c=0.0, d=0.0, e=1.0, f=0.0) -> Pixels:
    """The picture at (x, y) is what was at (a x + b y + c, d x + e y + f), in units of half a side from the centre."""
    theta = torch.zeros(len(pixels), 2, 3, device=pixels.device)
    for place, value in zip([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)], (a, b, c, d, e, f), strict=True):
        theta[:, place[0], place[1]] = value
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
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
    angle = torch.deg2rad(levels * 30) * _sign(levels)
    cos, sin = torch.cos(angle), torch.sin(angle)
    aspect = pixels.shape[3] / pixels.shape[2]
    return _warp(pixels, a=cos, b=-sin / aspect, d=sin * aspect, e=cos)


def _posterize(pixels: Pixels, levels: Levels) -> Pixels:
    step = 2.0 ** (8 - (4 - torch.floor(levels * 4)))  # keeps the 4 to 0 highest bits
    return torch.floor(pixels / _column(step)) * _column(step)


def _solarize(pixels: Pixels, levels: Levels) -> Pixels:
    threshold = 256 - torch.floor(levels * 256)
    return torch.where(pixels < _column(threshold), pixels, 255 - pixels)


def _solarize_add(pixels: Pixels, levels: Levels) -> Pixels:
    return torch.where(pixels < 128, pixels + _column(torch.floor(levels * 110)), pixels)


def _blend(pixels: Pixels, degenerate: torch.Tensor, levels: Levels) -> Pixels:
    """PIL's ImageEnhance: away from 1 in either direction, at least 0.1."""
    factor = _column((1 + levels * 0.9 * _sign(levels)).clamp(min=0.1))
    return degenerate + (pixels - degenerate) * factor


def _gray(pixels: Pixels) -> torch.Tensor:
    weights = torch.tensor([0.299, 0.587, 0.114], device=pixels.device).view(1, 3, 1, 1)
    return (pixels * weights).sum(1, keepdim=True)


def _color(pixels: Pixels, levels: Levels) -> Pixels:
    return _blend(pixels, _gray(pixels), levels)


def _contrast(pixels: Pixels, levels: Levels) -> Pixels:
    return _blend(pixels, _gray(pixels).mean((2, 3), keepdim=True).round(), levels)


def _brightness(pixels: Pixels, levels: Levels) -> Pixels:
    return _blend(pixels, torch.zeros_like(pixels), levels)


def _sharpness(pixels: Pixels, levels: Levels) -> Pixels:
    kernel = torch.tensor([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]], device=pixels.device).div_(13)
    smooth = pixels.clone()  # PIL leaves the border as it is
    inner = F.conv2d(pixels, kernel.expand(3, 1, 3, 3).contiguous(), groups=3)
    smooth[:, :, 1:-1, 1:-1] = inner
    return _blend(pixels, smooth, levels)


def _shear_x(pixels: Pixels, levels: Levels) -> Pixels:
    slope = levels * 0.3 * _sign(levels) * (pixels.shape[2] / pixels.shape[3])
    return _warp(pixels, b=slope, c=slope)  # the top edge stays, as in PIL


def _shear_y(pixels: Pixels, levels: Levels) -> Pixels:
    slope = levels * 0.3 * _sign(levels) * (pixels.shape[3] / pixels.shape[2])
    return _warp(pixels, d=slope, f=slope)  # the left edge stays


def _translate_x(pixels: Pixels, levels: Levels) -> Pixels:
    return _warp(pixels, c=levels * 0.9 * _sign(levels))  # 0.45 of the side


def _translate_y(pixels: Pixels, levels: Levels) -> Pixels:
    return _warp(pixels, f=levels * 0.9 * _sign(levels))


# timm's _RAND_INCREASING_TRANSFORMS, in its order.
OPERATIONS: tuple[Callable[[Pixels, Levels], Pixels], ...] = (
    _auto_contrast, _equalize, _invert, _rotate, _posterize, _solarize, _solarize_add, _color, _contrast, _brightness,
    _sharpness, _shear_x, _shear_y, _translate_x, _translate_y,
)  # fmt: skip
