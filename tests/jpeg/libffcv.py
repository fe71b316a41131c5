"""libffcv, FFCV's C library: whole pictures by libjpeg-turbo.

It is found without importing FFCV's Python package, which compiles with numba.
"""

import ctypes
import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from fastpt.jpeg.frames import frame_sizes


@cache
def load() -> ctypes.CDLL:
    """The library; it is linked with libjpeg-turbo, whose functions it offers too. Skips the test without it."""
    spec = importlib.util.find_spec("ffcv")
    folders = (spec and spec.submodule_search_locations) or []
    found = [path for folder in folders for path in Path(folder).glob("_libffcv*.so")]
    if not found:
        pytest.skip("ffcv is not installed")
    library = ctypes.CDLL(str(found[0]))
    number, pointer = ctypes.c_uint32, ctypes.c_void_p
    library.imdecode.argtypes = [pointer, ctypes.c_uint64, number, number, pointer, *6 * [number], *2 * [ctypes.c_bool]]
    return library


def decode(jpeg: np.ndarray, picture: np.ndarray) -> bool:
    """Decode a JPEG, uint8 [bytes], into `picture`, uint8 [h, w, 3], which has its size.

    Returns whether it could, by libffcv's standards: the least warning of libjpeg's counts as a failure.
    """
    if tuple(frame_sizes([jpeg])[0]) != picture.shape[:2]:  # libffcv goes by the frame header, and writes so far
        return False
    size, start, scale = picture.shape[:2], (0, 0), (1, 1)
    failed = load().imdecode(
        jpeg.ctypes.data, jpeg.size, *size, picture.ctypes.data, *size, *start, *scale, False, False
    )
    return not failed
