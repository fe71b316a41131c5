"""The size of a JPEG, as its own frame header states it: what any decoder goes by, whatever a table says of it.

markers.c does it where it was built, Python elsewhere.
"""

import ctypes
from collections.abc import Sequence
from functools import cache

import numpy as np

from fastpt import native

STARTS_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
SCAN = 0xDA
ENDS = (0xD8, 0xD9)  # another picture, the end


def frame_sizes(jpegs: Sequence[np.ndarray]) -> np.ndarray:
    """Height and width of K JPEGs, uint8 [bytes] each: int32 [K, 2], pixels; 0 and 0 for none, or without a scan."""
    library = _library()
    if library is None:
        return np.array([_frame_size(jpeg.tobytes()) for jpeg in jpegs], np.int32).reshape(-1, 2)
    addresses = np.array([jpeg.__array_interface__["data"][0] for jpeg in jpegs], np.uint64)
    lengths = np.array([jpeg.size for jpeg in jpegs], np.uint64)
    sizes = np.empty((len(jpegs), 2), np.int32)
    library.fastpt_frame_sizes(len(jpegs), addresses.ctypes.data, lengths.ctypes.data, sizes.ctypes.data)
    return sizes


def function() -> int | None:
    """Where `fastpt_frame_sizes` is, for C that calls it; None where it was not built."""
    library = _library()
    return library and native.address(library, "fastpt_frame_sizes")


def _frame_size(jpeg: bytes) -> tuple[int, int]:
    at, height, width = 2, 0, 0
    while jpeg[:2] == b"\xff\xd8" and len(jpeg) - at >= 4 and jpeg[at] == 0xFF:
        marker, size = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4])
        if marker == 0xFF:  # filling
            at += 1
            continue
        if size < 2 or len(jpeg) - at - 2 < size or marker in ENDS:
            break
        if marker == SCAN:
            return height, width
        if marker in STARTS_OF_FRAME and not height:
            if size < 7:
                break
            height, width = int.from_bytes(jpeg[at + 5 : at + 7]), int.from_bytes(jpeg[at + 7 : at + 9])
        at += 2 + size
    return 0, 0


@cache
def _library() -> ctypes.CDLL | None:
    library = native.load("_jpeg", __file__)
    if library:
        library.fastpt_frame_sizes.argtypes = [ctypes.c_int, *3 * [ctypes.c_void_p]]
        library.fastpt_frame_sizes.restype = None
    return library
