"""Resizing one plane of a picture by area, by _area.c: OpenCV's pixels (to rounding), three times as fast.

It is built with the package where a C compiler is found. Without it, and where a side grows, OpenCV does it.
"""

import ctypes
from functools import cache

import cv2
import numpy as np

from fastpt import native


def resize(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A plane, uint8 [H, W] with rows of any stride, at `size` (width, height): each pixel the mean of its area."""
    height, width = plane.shape
    library = _library()
    if library is None or size[0] > width or size[1] > height:
        return cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
    smaller = np.empty(size[::-1], np.uint8)
    if not library.fastpt_area(plane.ctypes.data, plane.strides[0], width, height, smaller.ctypes.data, *size):
        raise MemoryError
    return smaller


@cache
def _library() -> ctypes.CDLL | None:
    library = native.load("_area", __file__)
    if library:
        number, pointer = ctypes.c_int, ctypes.c_void_p
        library.fastpt_area.argtypes = [pointer, ctypes.c_ssize_t, number, number, pointer, number, number]
    return library
