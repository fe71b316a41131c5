"""Where each picture is cropped: pure functions of (seed, epoch, sample id, view), computed for many at once.

A box is (top, left, height, width) in pixels of the stored picture: int32 [B, 4].

_crops.c does it where it was built, at a fortieth of the time; the functions of the same names with an underscore are
what it is compared with, and what does it elsewhere. Both give the same boxes to the bit: they take the same numbers
through the same IEEE operations, `exp` among them, which libraries round each in their own way.
"""

import ctypes
import math
from functools import cache

import numpy as np

from fastpt import native, rng

TRIES = 10  # as in torchvision's RandomResizedCrop
INVERSE_FACTORIALS = [1 / math.factorial(n) for n in range(13, -1, -1)]


def random_resized_crops(
    widths: np.ndarray,
    heights: np.ndarray,
    ids: np.ndarray,
    views: np.ndarray,
    seed: int,
    epoch: int,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes int32 [B, 4] and flips bool [B] for integer arrays [B]; the semantics of torchvision's RandomResizedCrop.

    Up to ten draws of an area (uniform in `scale` of the picture) and an aspect ratio (log-uniform in `ratio`), the
    first that fits placed uniformly; if none fits, the largest central box within `ratio`.
    """
    if (library := _library()) is None:
        return _random_resized_crops(widths, heights, ids, views, seed, epoch, scale, ratio)
    pictures = np.empty((4, len(ids)), np.int64)
    pictures[0], pictures[1], pictures[2], pictures[3] = widths, heights, ids, views
    bounds = _bounds(scale, ratio)
    boxes, flips = np.empty((len(ids), 4), np.int32), np.empty(len(ids), bool)
    library.fastpt_random_resized_crops(
        len(ids), pictures.ctypes.data, seed, epoch, bounds.ctypes.data, boxes.ctypes.data, flips.ctypes.data
    )
    return boxes, flips


def center_crops(widths: np.ndarray, heights: np.ndarray, fraction: float) -> np.ndarray:
    """The evaluation box, int32 [B, 4]: the central square of `fraction` of the shorter side.

    It is what resizing the shorter side to size / fraction and cropping size x size from the centre would keep, to the
    nearest pixel of the stored picture.
    """
    if (library := _library()) is None:
        return _center_crops(widths, heights, fraction)
    pictures, boxes = np.empty((2, len(widths)), np.int64), np.empty((len(widths), 4), np.int32)
    pictures[0], pictures[1] = widths, heights
    library.fastpt_center_crops(len(widths), pictures.ctypes.data, fraction, boxes.ctypes.data)
    return boxes


@cache
def _bounds(scale: tuple[float, float], ratio: tuple[float, float]) -> np.ndarray:
    return np.array([*scale, *ratio, *np.log(ratio)])


@cache
def _library() -> ctypes.CDLL | None:
    """_crops.c, or None where it was not built."""
    library = native.load("_batches", __file__)
    if library:
        count, number, pointer = ctypes.c_int, ctypes.c_uint64, ctypes.c_void_p
        library.fastpt_random_resized_crops.argtypes = [count, pointer, number, number, *3 * [pointer]]
        library.fastpt_random_resized_crops.restype = None
        library.fastpt_center_crops.argtypes = [count, pointer, ctypes.c_double, pointer]
        library.fastpt_center_crops.restype = None
    return library


def exp(x: np.ndarray) -> np.ndarray:
    """e to the power of float64 `x`, by IEEE operations that any machine rounds alike; less than 1.2 ulp off.

    x = k ln 2 + r with |r| <= ln(2) / 2, ln 2 in two parts (the first has few enough bits for k times it to be exact);
    the Taylor series of e^r to r^13, whose remainder is below 2^-57 of it; times 2^k.
    """
    power = np.rint(x * float.fromhex("0x1.71547652b82fep+0"))
    rest = x - power * float.fromhex("0x1.62e42feep-1") - power * float.fromhex("0x1.a39ef35793c76p-33")
    total = np.full_like(rest, INVERSE_FACTORIALS[0])
    for factor in INVERSE_FACTORIALS[1:]:
        total = total * rest + factor
    return np.ldexp(total, power.astype(np.int32))


def _random_resized_crops(
    widths: np.ndarray,
    heights: np.ndarray,
    ids: np.ndarray,
    views: np.ndarray,
    seed: int,
    epoch: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray]:
    widths, heights = np.asarray(widths, np.int64), np.asarray(heights, np.int64)
    numbers = rng.uniform(rng.CROP, seed, epoch, ids[:, None], views[:, None], np.arange(4 * TRIES + 1))
    area, log_ratio, down, across = np.split(numbers[:, :-1], 4, axis=1)
    flips = numbers[:, -1] < 0.5

    area = (widths * heights)[:, None] * (scale[0] + (scale[1] - scale[0]) * area)
    low, high = np.log(ratio)
    aspect = exp(low + (high - low) * log_ratio)
    width, height = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
    fits = (width > 0) & (width <= widths[:, None]) & (height > 0) & (height <= heights[:, None])

    row, first = np.arange(len(ids)), fits.argmax(axis=1)
    any_fits = fits[row, first]
    height, width = (np.where(any_fits, side[row, first], 1).astype(np.int64) for side in (height, width))
    top = (down[row, first] * (heights - height + 1)).astype(np.int64)
    left = (across[row, first] * (widths - width + 1)).astype(np.int64)
    boxes = np.stack([top, left, height, width], axis=1)
    fallback = _central(widths, heights, *_within_ratio(widths, heights, ratio))
    return np.where(any_fits[:, None], boxes, fallback).astype(np.int32), flips


def _center_crops(widths: np.ndarray, heights: np.ndarray, fraction: float) -> np.ndarray:
    widths, heights = np.asarray(widths, np.int64), np.asarray(heights, np.int64)
    side = np.maximum(np.rint(np.minimum(widths, heights) * fraction), 1).astype(np.int64)
    return _central(widths, heights, side, side).astype(np.int32)


def _within_ratio(widths: np.ndarray, heights: np.ndarray, ratio: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Height and width of the largest box whose width / height lies within `ratio`."""
    low, high = min(ratio), max(ratio)
    height = np.where(widths < low * heights, np.rint(widths / low), heights)
    width = np.where(widths > high * heights, np.rint(heights * high), widths)
    return np.maximum(height, 1).astype(np.int64), np.maximum(width, 1).astype(np.int64)


def _central(widths: np.ndarray, heights: np.ndarray, height: np.ndarray, width: np.ndarray) -> np.ndarray:
    return np.stack([(heights - height) // 2, (widths - width) // 2, height, width], axis=1)
