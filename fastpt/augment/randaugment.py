"""RandAugment as timm's `rand-m<M>-mstd<S>-inc1` does it (Wightman et al. 2021), on a whole batch.

Two operations a picture are drawn from 15 with replacement, each applied with probability 0.5, its magnitude drawn from
N(M, S) and clipped to 0 to 10. Each computes what Pillow computes, to within one level: where Pillow drops fractions,
so do these.

Operations are of few kinds (turns, shifts along an axis, tables of levels, blends), and all pictures that drew one of a
kind go through it together, each with its own parameters: so a batch takes the same few large kernels whatever it drew.
Compiled, a kind is given two pictures at least, as graphs for none and for one would be others: a picture that did not
draw it has parameters that change nothing.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch.fx.experimental import _config as symbolic_shapes

from fastpt.augment.per_picture import RANDAUGMENT, Images, RngKeys, gray, to_device_of, uniform

# In the order of timm's `_RAND_INCREASING_TRANSFORMS`.
(
    AUTO_CONTRAST,
    EQUALIZE,
    INVERT,
    ROTATE,
    POSTERIZE,
    SOLARIZE,
    SOLARIZE_ADD,
    COLOR,
    CONTRAST,
    BRIGHTNESS,
    SHARPNESS,
    SHEAR_X,
    SHEAR_Y,
    TRANSLATE_X,
    TRANSLATE_Y,
) = range(15)
OPERATIONS, NOTHING = 15, -1
MEASURED = (AUTO_CONTRAST, EQUALIZE, CONTRAST)  # tables that depend on the picture
BY_TABLE = (*MEASURED, INVERT, POSTERIZE, SOLARIZE, SOLARIZE_ADD, BRIGHTNESS)
BLENDED = (COLOR, SHARPNESS)
ALONG_X, ALONG_Y = (SHEAR_X, TRANSLATE_X), (SHEAR_Y, TRANSLATE_Y)
KINDS = ((ROTATE,), (*ALONG_X, *ALONG_Y), MEASURED, BY_TABLE, BLENDED)

TURNS = 2  # operations a picture
BACKEND = "inductor"  # of torch.compile
PIECE = 2  # pictures that a CPU changes at a time, so that what is computed of them stays in its cache
ROUNDING = 2.0**-10  # so that a level whose shares do not quite add up to 1 is not dropped for the one below
Drawn = torch.Tensor  # int64 [B]: the operation of each picture, or NOTHING
Levels = torch.Tensor  # [B], -1 to 1: the magnitude over 10, with a sign for operations that have a direction
Colors = torch.Tensor  # float32 [n, H, W, 3], 0 to 255
Tables = torch.Tensor  # uint8 [n, 256, 3]: what becomes of each level of each channel


def randaugment(
    images: Images,
    magnitude: float,
    spread: float,
    rng_keys: RngKeys,
    fill: Sequence[float],
    bicubic: bool,
    compiled: bool = False,
) -> Images:
    """RandAugment; returns a new tensor.

    `magnitude` and `spread` of 0 to 10; `fill`: the colour that comes in where a picture is moved away, three levels of
    0 to 255; `bicubic`: whether a picture that is moved is interpolated bicubically or bilinearly; `compiled`: by
    torch.compile, one graph for all batches.
    """
    for turn in range(TURNS):
        choice, applied, sign, radius, angle = uniform(rng_keys, 5, RANDAUGMENT, turn).T
        normal = torch.sqrt(-2 * torch.log1p(-radius)) * torch.cos(2 * torch.pi * angle)  # Box and Muller
        levels = (magnitude + spread * normal).clamp(0, 10) / 10 * torch.where(sign < 0.5, -1, 1)
        drawn = torch.where(applied < 0.5, (choice * OPERATIONS).long(), NOTHING)
        images = apply(images, drawn, levels, fill, bicubic, compiled)
    return images


def apply(
    images: Images, drawn: Drawn, levels: Levels, fill: Sequence[float], bicubic: bool, compiled: bool = False
) -> Images:
    """Do to each picture the operation that it drew at its level; returns a new tensor. `drawn`, `levels`: on the CPU.

    All parameters are computed there, and sent together with the pictures' places in the batch.
    """
    levels, (height, width) = levels.float(), images.shape[1:3]
    sent = [
        torch.cat(
            [
                drawn[:, None],
                _factors(drawn, levels, CONTRAST),
                _factors(drawn, levels, *BLENDED),
                _shifts(drawn, levels, width, height),
                _turns(drawn, levels, width, height),
            ],
            dim=1,
        ),
        _tables(drawn, levels),
        torch.tensor([height, width], dtype=torch.int32),
        torch.tensor(fill, dtype=torch.uint8),
        *(_rows(drawn, kind, least=2 if compiled else 0) for kind in KINDS),
    ]
    images = images.clone(memory_format=torch.contiguous_format)  # not compiled: views would have a graph of their own
    piece = PIECE if images.device.type == "cpu" and not compiled else None
    return (_compiled() if compiled else _applied)(images, bicubic, piece, *(to_device_of(one, images) for one in sent))


def _rows(drawn: Drawn, kind: tuple[int, ...], least: int) -> torch.Tensor:
    """Where in the batch are those that drew one of these operations, int64 [n]; filled up with others to `least`."""
    among = torch.isin(drawn, torch.tensor(kind))
    return among.int().argsort(descending=True, stable=True)[: max(least, int(among.sum()))]


def _applied(
    images: Images,
    bicubic: bool,
    piece: int | None,
    numbers: torch.Tensor,
    tables: torch.Tensor,
    sides: torch.Tensor,
    fill: torch.Tensor,
    turned: torch.Tensor,
    shifted: torch.Tensor,
    measured: torch.Tensor,
    by_table: torch.Tensor,
    blended: torch.Tensor,
) -> Images:
    """On the device, in place. `numbers`: float32 [B, 12], a row a picture: what it drew, and all parameters of it."""
    (drawn, contrasts, factors), shifts, turns = numbers[:, :3].unbind(1), numbers[:, 3:6], numbers[:, 6:]
    tables = tables[:, :, None].repeat(1, 1, 3)

    def change(rows: torch.Tensor, kind: Callable[..., torch.Tensor], *values: torch.Tensor) -> None:
        if not len(rows):
            return
        for some in rows.split(piece) if piece else [rows]:
            parameters = (value.index_select(0, some) for value in values)
            images.index_copy_(0, some, kind(images.index_select(0, some), *parameters))

    change(turned, lambda some, turns: _turn(some.float(), turns, sides, fill, bicubic), turns)
    change(
        shifted, lambda some, drawn, shifts: _shift(some.float(), drawn, shifts, sides, fill, bicubic), drawn, shifts
    )
    some, *rest = (value.index_select(0, measured) for value in (images, tables, drawn, contrasts))
    tables.index_copy_(0, measured, _measured_tables(some, *rest))
    change(by_table, lambda some, tables: tables.gather(1, some.flatten(1, 2).long()).view_as(some), tables)
    change(blended, lambda some, drawn, factors: _blend(some.float(), drawn, factors), drawn, factors)
    return images


@cache
def _compiled() -> Callable[..., Images]:
    """One graph for pictures of any number and size, whatever they drew."""
    compiled = torch.compile(_applied, backend=BACKEND, fullgraph=True, dynamic=True)

    def run(*arguments: Any) -> Images:
        # Sizes that are equal by chance are not taken for the same.
        with symbolic_shapes.patch(use_duck_shape=False):  # type: ignore[attr-defined]
            return compiled(*arguments)

    return run


# --- of colour ------------------------------------------------------------------------------------------------------


def _factors(drawn: Drawn, levels: Levels, *kind: int) -> torch.Tensor:
    """PIL's ImageEnhance, float32 [B, 1]: away from 1 in either direction, at least 0.1; 1 for other operations."""
    among = torch.isin(drawn, torch.tensor(kind))
    return torch.where(among, (1 + levels * 0.9).clamp(min=0.1), 1.0)[:, None]


def _tables(drawn: Drawn, levels: Levels) -> torch.Tensor:
    """What becomes of each level, uint8 [B, 256], where that does not depend on the picture; of others, the level."""
    at, strength = torch.arange(256.0), levels.abs()[:, None]
    step = 2.0 ** (8 - (4 - torch.floor(strength * 4)))  # keeps the 4 to 0 highest bits
    tables = at.expand(len(drawn), -1)
    for operation, table in (
        (INVERT, 255 - at),
        (POSTERIZE, torch.floor(at / step) * step),
        (SOLARIZE, torch.where(at < 256 - torch.floor(strength * 256), at, 255 - at)),
        (SOLARIZE_ADD, torch.where(at < 128, at + torch.floor(strength * 110), at)),
        (BRIGHTNESS, torch.floor(at * _factors(drawn, levels, BRIGHTNESS))),
    ):
        tables = torch.where(drawn[:, None] == operation, table, tables)
    return tables.clamp(0, 255).to(torch.uint8)


def _measured_tables(images: Images, tables: Tables, drawn: torch.Tensor, factors: torch.Tensor) -> Tables:
    """Auto-contrast, equalisation and contrast of these pictures; of those that drew another operation, `tables`."""
    at, pixels = torch.arange(256, device=images.device)[:, None], images.flatten(1, 2).long()
    counts = torch.zeros(len(images), 256, 3, dtype=torch.int32, device=images.device)
    counts.scatter_add_(1, pixels, torch.ones_like(pixels, dtype=torch.int32))
    up_to = counts.cumsum(1)
    low, high = (up_to == 0).sum(1, keepdim=True), (up_to < pixels.shape[1]).sum(1, keepdim=True)
    stretched = torch.where(high > low, ((at - low) * 255 / (high - low).clamp(min=1)).floor(), at)
    # PIL's rule: step = (pixels but those of the brightest value) // 255; v -> (pixels below v + step/2) / step.
    step = (pixels.shape[1] - counts.gather(1, high)) // 255
    equal = torch.where(step > 0, (up_to - counts + step // 2) // step.clamp(min=1), at)
    mean = gray(images.permute(0, 3, 1, 2).float()).round().mean((2, 3)).round()[:, :, None]
    contrasted = (mean + (at - mean) * factors[:, None, None]).floor()
    for operation, found in ((AUTO_CONTRAST, stretched), (EQUALIZE, equal), (CONTRAST, contrasted)):
        chosen = (drawn == operation)[:, None, None]
        tables = torch.where(chosen, found.clamp(0, 255).to(torch.uint8), tables)
    return tables


def _blend(colors: Colors, drawn: torch.Tensor, factors: torch.Tensor) -> Images:
    """Away from grey (saturation) or from a smooth picture (sharpness), or towards it, by PIL's rules."""
    grey = gray(colors.permute(0, 3, 1, 2)).round().permute(0, 2, 3, 1)
    rows = colors[:, 1:-1] + colors[:, :-2] + colors[:, 2:]
    around = rows[:, :, 1:-1] + rows[:, :, :-2] + rows[:, :, 2:]
    smooth = colors.clone()  # the border stays as it is
    smooth[:, 1:-1, 1:-1] = around.add(colors[:, 1:-1, 1:-1], alpha=4).div(13).round()
    degenerate = torch.where((drawn == SHARPNESS)[:, None, None, None], smooth, grey)
    blended = degenerate + (colors - degenerate) * factors[:, None, None, None]
    return blended.floor().clamp(0, 255).to(torch.uint8)


# --- of place -------------------------------------------------------------------------------------------------------


def _shifts(drawn: Drawn, levels: Levels, width: int, height: int) -> torch.Tensor:
    """(a, b, c), float32 [B, 3]: what comes to (x, y) was at a x + b y + c along x, or so along y with y and x.

    Pixels from the top left corner. 0.3 of a shear, 0.45 of a side.
    """
    shear = torch.where(torch.isin(drawn, torch.tensor([SHEAR_X, SHEAR_Y])), levels * 0.3, 0.0)
    distance = torch.where(drawn == TRANSLATE_X, levels * (0.45 * width), 0.0)
    distance = torch.where(drawn == TRANSLATE_Y, levels * (0.45 * height), distance)
    return torch.stack([torch.ones_like(shear), shear, distance], dim=1)


def _turns(drawn: Drawn, levels: Levels, width: int, height: int) -> torch.Tensor:
    """(a, b, c, d, e, f), float32 [B, 6]: what comes to (x, y) was at y = a x + b y + c, x = d x + e y + f.

    Up to 30 degrees about the middle.
    """
    angle = torch.deg2rad(torch.where(drawn == ROTATE, levels * 30, 0.0))
    cos, sin, x, y = torch.cos(angle), torch.sin(angle), width / 2, height / 2
    return torch.stack([sin, cos, y - x * sin - y * cos, cos, -sin, x - x * cos + y * sin], dim=1)


def _turn(colors: Colors, turns: torch.Tensor, sides: torch.Tensor, fill: torch.Tensor, bicubic: bool) -> Images:
    """Pictures moved along both axes."""
    width = colors.shape[2]
    x, y = _places(colors)
    a, b, c = turns.view(-1, 2, 3, 1, 1).unbind(2)
    at, side = a * x + b * y + c, sides.view(2, 1, 1)  # [n, 2, H, W]: down, across
    near, shares = _neighbours(at, side[..., None] - 1, bicubic)
    (rows, columns), (of_row, of_column) = near.unbind(1), shares.unbind(1)
    places = (rows * width)[..., :, None] + columns[..., None, :]
    shares = of_row[..., :, None] * of_column[..., None, :]
    return _interpolated(colors, places.flatten(3), shares.flatten(3), ((at >= 0) & (at < side)).all(1), fill)


def _shift(
    colors: Colors, drawn: torch.Tensor, shifts: torch.Tensor, sides: torch.Tensor, fill: torch.Tensor, bicubic: bool
) -> Images:
    """Pictures moved along one axis, which takes a quarter of the neighbours."""
    width = colors.shape[2]
    x, y = _places(colors)
    upright = ((drawn == SHEAR_Y) | (drawn == TRANSLATE_Y))[:, None, None]
    along, beside = torch.where(upright, y, x), torch.where(upright, x, y)
    a, b, c = shifts[..., None, None].unbind(1)
    at, (high, wide) = a * along + b * beside + c, sides
    side = torch.where(upright, high, wide)
    near, shares = _neighbours(at, side[..., None] - 1, bicubic)
    start = torch.where(upright, x.int(), y.int() * width)  # of the line that a pixel lies on
    places = start[..., None] + near * torch.where(upright, wide, 1)[..., None]
    return _interpolated(colors, places, shares, (at >= 0) & (at < side), fill)


def _places(colors: Colors) -> tuple[torch.Tensor, torch.Tensor]:
    """Middles of the pixels: x [W] and y [H, 1]."""
    height, width = colors.shape[1:3]
    return torch.arange(width, device=colors.device) + 0.5, torch.arange(height, device=colors.device)[:, None] + 0.5


def _neighbours(at: torch.Tensor, last: torch.Tensor, bicubic: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The pixels along an axis that an interpolation takes at places [..., H, W], and their shares [..., H, W, K].

    Cubic convolution (Keys 1981) has four, linear interpolation two. Pillow's has a = -1, torch's grid_sample -0.75. Of
    neighbours that lie outside, the edge's are taken.
    """
    first = (at - 0.5).floor()
    t = at - 0.5 - first
    if bicubic:
        shares = [t * (t * (2 - t) - 1), 1 - t * t * (2 - t), t * (1 + t * (1 - t)), t * t * (t - 1)]
    else:
        shares = [1 - t, t]
    steps = torch.arange(len(shares), device=at.device, dtype=torch.int32) - (1 if bicubic else 0)
    return (first.int()[..., None] + steps).clamp_(min=0).clamp_(max=last), torch.stack(shares, -1)


def _interpolated(
    colors: Colors, places: torch.Tensor, shares: torch.Tensor, inside: torch.Tensor, fill: torch.Tensor
) -> Images:
    """Sums of the pixels at `places` of each picture, int [n, H, W, K], by `shares`; `fill` where not `inside`.

    Fractions of a level are dropped, as Pillow does.
    """
    count, height, width = colors.shape[:3]
    first = torch.arange(count, device=places.device, dtype=torch.int32) * (height * width)
    places += first.view(-1, 1, 1, 1)
    sums = F.embedding_bag(
        places.flatten(0, 2), colors.flatten(0, 2), mode="sum", per_sample_weights=shares.flatten(0, 2)
    )
    moved = sums.view_as(colors).add_(ROUNDING).clamp_(0, 255).to(torch.uint8)
    return torch.where(inside[..., None], moved, fill)
