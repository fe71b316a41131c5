"""The kernel of _kernel.c: decodes only what a crop needs of a JPEG, and resizes it on the way.

It is built with the package where a C compiler and libjpeg-turbo's headers are found. Without it, or for a picture that
it leaves (progressive, CMYK, or one that libjpeg warns of), the cpu decoder decodes the whole picture.
"""

import ctypes
from functools import cache
from typing import NamedTuple, get_args

import numpy as np

from fastpt import native
from fastpt.jpeg import Interpolation

INTERPOLATIONS: tuple[Interpolation, ...] = get_args(Interpolation)  # numbered as in _kernel.c


@cache
def kernel() -> ctypes.CDLL | None:
    """The compiled kernel, or None where it was not built or does not load."""
    library = native.load("_kernel", __file__)
    if library:
        number, pointer = ctypes.c_int, ctypes.c_void_p
        library.fastpt_decode.argtypes = [number, *5 * [pointer], number, number, pointer, pointer]
        library.fastpt_decode.restype = None
    return library


class Functions(NamedTuple):
    """Where the functions are that decode one picture after the other, for a pool of threads in C."""

    new: int
    """`void *new(void)`: what a thread keeps from picture to picture; NULL if there is no memory."""
    free: int
    """`void free(void *)`."""
    decode: int
    """`int decode(void *, jpeg, length, shape, box, flip, filter, size, out)`: 0 if the picture came out."""


def functions() -> Functions | None:
    """The kernel's `Functions`, or None without it."""
    library = kernel()
    if library is None:
        return None
    names = ("fastpt_decoder_new", "fastpt_decoder_free", "fastpt_decode_one")
    return Functions(*(native.address(library, name) for name in names))


def decode(
    jpegs: list[np.ndarray],
    shapes: np.ndarray,
    boxes: np.ndarray,
    flips: np.ndarray,
    interpolation: Interpolation,
    images: np.ndarray,
    rows: np.ndarray,
) -> np.ndarray:
    """Decode, crop, resize and flip K pictures into `rows`, int64 [K], of `images`, uint8 [B, S, S, 3].

    `shapes`, int32 [K, 2], are the pictures' heights and widths; `boxes`, int32 [K, 4], lie within them (top, left,
    height, width); `flips` is bool [K]. Bilinear and bicubic are antialiased as in torch and Pillow; area is as in
    OpenCV, where it is linear if the box grows. Returns which came out, bool [K]; the rows of others hold nothing.
    Without the kernel none comes out.
    """
    library = kernel()
    if library is None:
        return np.zeros(len(jpegs), bool)
    addresses = np.array([jpeg.__array_interface__["data"][0] for jpeg in jpegs], np.uint64)
    lengths = np.array([jpeg.size for jpeg in jpegs], np.uint64)
    outs = np.uint64(images.ctypes.data) + rows.astype(np.uint64) * np.uint64(images.strides[0])
    left_out = np.empty(len(jpegs), np.uint8)
    arrays = (addresses, lengths, shapes.astype(np.int32, "C"), boxes.astype(np.int32, "C"), flips.astype(np.uint8))
    library.fastpt_decode(
        len(jpegs),
        *(array.ctypes.data for array in arrays),
        INTERPOLATIONS.index(interpolation),
        images.shape[1],
        outs.ctypes.data,
        left_out.ctypes.data,
    )
    return left_out == 0
