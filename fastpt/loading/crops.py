"""Where each picture is cropped: pure functions of (seed, epoch, sample id, view), computed for many at once.

A box is (top, left, height, width) in pixels of the stored picture: int32 [B, 4].
"""

import numpy as np

from fastpt import rng

TRIES = 10  # as in torchvision's RandomResizedCrop


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
    widths, heights = np.asarray(widths, np.int64), np.asarray(heights, np.int64)
    numbers = rng.uniform(rng.CROP, seed, epoch, ids[:, None], views[:, None], np.arange(4 * TRIES + 1))
    area, log_ratio, down, across = np.split(numbers[:, :-1], 4, axis=1)
    flips = numbers[:, -1] < 0.5

    area = (widths * heights)[:, None] * (scale[0] + (scale[1] - scale[0]) * area)
    low, high = np.log(ratio)
    aspect = np.exp(low + (high - low) * log_ratio)
    width = np.rint(np.sqrt(area * aspect)).astype(np.int64)
    height = np.rint(np.sqrt(area / aspect)).astype(np.int64)
    fits = (width > 0) & (width <= widths[:, None]) & (height > 0) & (height <= heights[:, None])

    row, first = np.arange(len(ids)), fits.argmax(axis=1)
    height, width = height[row, first], width[row, first]
    top = (down[row, first] * (heights - height + 1)).astype(np.int64)
    left = (across[row, first] * (widths - width + 1)).astype(np.int64)
    boxes = np.stack([top, left, height, width], axis=1)
    fallback = _central(widths, heights, *_within_ratio(widths, heights, ratio))
    return np.where(fits.any(axis=1)[:, None], boxes, fallback).astype(np.int32), flips


def center_crops(widths: np.ndarray, heights: np.ndarray, fraction: float) -> np.ndarray:
    """The evaluation box, int32 [B, 4]: the central square of `fraction` of the shorter side.

    It is what resizing the shorter side to size / fraction and cropping size x size from the centre would keep, to the
    nearest pixel of the stored picture.
    """
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
