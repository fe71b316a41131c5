"""RandAugment as timm's `rand-m<M>-mstd<S>-inc1` does it (Wightman et al. 2021), on a whole batch.

Two operations a picture are drawn from 15 with replacement, each applied with probability 0.5, its magnitude drawn from
N(M, S) and clipped to 0 to 10. Each computes what Pillow computes, to within one level: where Pillow drops fractions,
so do these.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from fastpt.augment.per_picture import (
    RANDAUGMENT,
    Images,
    Operation,
    Pixels,
    RngKeys,
    change,
    column,
    gray,
    images_of,
    pixels_of,
    to_device_of,
    uniform,
)

TURNS = 2  # operations a picture
Levels = torch.Tensor  # float32 [B], -1 to 1: the magnitude over 10, with a sign for operations that have a direction
Entry = float | torch.Tensor  # one for all pictures, or float32 [B]
Row = tuple[Entry, Entry, Entry]
Matrix = tuple[Row, Row]
"""(a, b, c), (d, e, f): what comes to (x, y) was at (a x + b y + c, d x + e y + f), pixels from the top left corner."""
STILL_X, STILL_Y = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)  # rows of a matrix that moves nothing along x, along y
ROUNDING = 2.0**-10  # so that a level whose shares do not quite add up to 1 is not dropped for the one below


def randaugment(
    images: Images, magnitude: float, spread: float, rng_keys: RngKeys, fill: Sequence[float], bicubic: bool
) -> Images:
    """RandAugment; returns a new tensor.

    `magnitude` and `spread` of 0 to 10; `fill`: the colour that comes in where a picture is moved away, three levels of
    0 to 255; `bicubic`: whether a picture that is moved is interpolated bicubically or bilinearly.
    """
    pixels, known = pixels_of(images), operations(fill, bicubic)
    for turn in range(TURNS):
        choice, applied, sign, radius, angle = uniform(rng_keys, 5, RANDAUGMENT, turn).T
        normal = torch.sqrt(-2 * torch.log1p(-radius)) * torch.cos(2 * torch.pi * angle)  # Box and Muller
        levels = (magnitude + spread * normal).clamp(0, 10) / 10 * torch.where(sign < 0.5, -1, 1)
        change(pixels, known, torch.where(applied < 0.5, (choice * len(known)).long(), -1), levels)
    return images_of(pixels)


def operations(fill: Sequence[float], bicubic: bool) -> list[Operation]:
    """The operations, of (pixels, levels), in the order of timm's `_RAND_INCREASING_TRANSFORMS`."""

    def moved(matrix_of: Callable[[Levels, int, int], Matrix]) -> Operation:
        def move(pixels: Pixels, levels: Levels) -> Pixels:
            height, width = pixels.shape[2:]
            return _warp(pixels, matrix_of(levels, width, height), fill, bicubic)

        return move

    return [
        _auto_contrast,
        _equalize,
        _invert,
        moved(_rotation),
        _posterize,
        _solarize,
        _solarize_add,
        _color,
        _contrast,
        _brightness,
        _sharpness,
        moved(_shear_x),
        moved(_shear_y),
        moved(_translation_x),
        moved(_translation_y),
    ]


# --- of colour ------------------------------------------------------------------------------------------------------


def _auto_contrast(pixels: Pixels, _: Levels) -> Pixels:
    low, high = pixels.amin((2, 3), keepdim=True), pixels.amax((2, 3), keepdim=True)
    spread = high - low
    return torch.where(spread > 0, ((pixels - low) * 255 / spread.clamp(min=1)).floor(), pixels)


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


def _posterize(pixels: Pixels, levels: Levels) -> Pixels:
    step = 2.0 ** (8 - (4 - torch.floor(levels.abs() * 4)))  # keeps the 4 to 0 highest bits
    return torch.floor(pixels / column(step)) * column(step)


def _solarize(pixels: Pixels, levels: Levels) -> Pixels:
    threshold = 256 - torch.floor(levels.abs() * 256)
    return torch.where(pixels < column(threshold), pixels, 255 - pixels)


def _solarize_add(pixels: Pixels, levels: Levels) -> Pixels:
    return torch.where(pixels < 128, pixels + column(torch.floor(levels.abs() * 110)), pixels)


def _blend(pixels: Pixels, degenerate: torch.Tensor, levels: Levels) -> Pixels:
    """PIL's ImageEnhance: away from 1 in either direction, at least 0.1."""
    factor = column((1 + levels * 0.9).clamp(min=0.1))
    return (degenerate + (pixels - degenerate) * factor).floor()


def _color(pixels: Pixels, levels: Levels) -> Pixels:
    return _blend(pixels, gray(pixels).round(), levels)


def _contrast(pixels: Pixels, levels: Levels) -> Pixels:
    return _blend(pixels, gray(pixels).round().mean((2, 3), keepdim=True).round(), levels)


def _brightness(pixels: Pixels, levels: Levels) -> Pixels:
    return _blend(pixels, torch.zeros_like(pixels), levels)


def _sharpness(pixels: Pixels, levels: Levels) -> Pixels:
    kernel = to_device_of([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]], pixels).div(13)
    smooth = pixels.clone()  # PIL leaves the border as it is
    inner = F.conv2d(pixels, kernel.expand(3, 1, 3, 3).contiguous(), groups=3)
    smooth[:, :, 1:-1, 1:-1] = inner.round()
    return _blend(pixels, smooth, levels)


# --- of place: matrices for pictures of a width and a height --------------------------------------------------------


def _rotation(levels: Levels, width: int, height: int) -> Matrix:
    """Up to 30 degrees about the middle."""
    angle = torch.deg2rad(levels * 30)
    cos, sin, x, y = torch.cos(angle), torch.sin(angle), width / 2, height / 2
    return (cos, -sin, x - x * cos + y * sin), (sin, cos, y - x * sin - y * cos)


def _shear_x(levels: Levels, width: int, height: int) -> Matrix:
    return (1.0, levels * 0.3, 0.0), STILL_Y


def _shear_y(levels: Levels, width: int, height: int) -> Matrix:
    return STILL_X, (levels * 0.3, 1.0, 0.0)


def _translation_x(levels: Levels, width: int, height: int) -> Matrix:
    return (1.0, 0.0, levels * (0.45 * width)), STILL_Y


def _translation_y(levels: Levels, width: int, height: int) -> Matrix:
    return STILL_X, (0.0, 1.0, levels * (0.45 * height))


def _warp(pixels: Pixels, matrix: Matrix, fill: Sequence[float], bicubic: bool) -> Pixels:
    """Pictures moved by Pillow's rules.

    What comes from outside is `fill`; of a place inside, neighbours that lie outside are those of the edge; fractions
    of a level are dropped. Bicubic is cubic convolution with a = -1, where torch's grid_sample has a = -0.75.
    """
    height, width = pixels.shape[2:]
    x = torch.arange(width, device=pixels.device) + 0.5
    y = torch.arange(height, device=pixels.device)[:, None] + 0.5
    across, down = _moved(matrix[0], x, y), _moved(matrix[1], x, y)
    inside = ((across >= 0) & (across < width) & (down >= 0) & (down < height))[:, None]

    flat, moved = pixels.flatten(2), torch.zeros_like(pixels)
    beside = _neighbours(across, width, bicubic)
    for top, share_of_row in _neighbours(down, height, bicubic):
        for left, share in beside:
            places = (top * width + left).flatten(1)[:, None].expand(-1, 3, -1)
            moved.addcmul_(flat.gather(2, places).view_as(pixels), (share_of_row * share)[:, None])
    moved = moved.add_(ROUNDING).clamp_(0, 255).floor_()
    return torch.where(inside, moved, to_device_of(fill, pixels).view(1, 3, 1, 1))


def _moved(row: Row, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Where pixels come from along an axis: [B, H, W], or `x` [W] or `y` [H, 1] itself where nothing moves along it."""
    if row is STILL_X or row is STILL_Y:
        return x if row is STILL_X else y
    a, b, c = (entry.view(-1, 1, 1) if isinstance(entry, torch.Tensor) else entry for entry in row)
    return a * x + b * y + c


def _neighbours(at: torch.Tensor, side: int, bicubic: bool) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The pixels along an axis that an interpolation takes at these places, and their shares: [B, H, W] each.

    Cubic convolution (Keys 1981) has four, linear interpolation two; where nothing moves there is one.
    """
    if at.ndim < 3:
        return [(at.long(), torch.ones_like(at))]
    first = (at - 0.5).floor()
    t = at - 0.5 - first
    if bicubic:
        shares = [t * (t * (2 - t) - 1), 1 - t * t * (2 - t), t * (1 + t * (1 - t)), t * t * (t - 1)]
    else:
        shares = [1 - t, t]
    start = -1 if bicubic else 0
    return [((first.long() + step).clamp_(0, side - 1), share) for step, share in enumerate(shares, start)]
