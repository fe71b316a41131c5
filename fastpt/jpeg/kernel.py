"""The decoder of decode.c: decodes only what a crop needs of a JPEG, and resizes it on the way.

It is built with the package where a C compiler is found. Without it, or for a picture that it leaves (progressive,
CMYK, 12 bits, restart markers; or data that do not make sense), the cpu decoder decodes the whole picture.
"""

import ctypes
import threading
from functools import cache
from typing import NamedTuple, get_args

import numpy as np

from fastpt import native
from fastpt.jpeg import Interpolation

DECODED, UNUSUAL, MISLED = 0, 1, 2  # what becomes of a picture, as in decode.h
INTERPOLATIONS: tuple[Interpolation, ...] = get_args(Interpolation)  # numbered as in taps.h


@cache
def kernel() -> ctypes.CDLL | None:
    """The library with the decoder, or None where it was not built or does not load."""
    library = native.load("_jpeg", __file__)
    if library:
        number, pointer = ctypes.c_int, ctypes.c_void_p
        library.fastpt_decoder_new.restype = pointer
        library.fastpt_decoder_name.restype = ctypes.c_char_p
        library.fastpt_decoder_free.argtypes = [pointer]
        library.fastpt_decoder_free.restype = None
        library.fastpt_decode_one.argtypes = [pointer, pointer, ctypes.c_uint64, *2 * [pointer], *3 * [number], pointer]
        jpeg = [ctypes.c_char_p, ctypes.c_size_t]
        library.fastpt_plane_blocks.argtypes = [*jpeg, pointer, pointer]
        library.fastpt_decode_planes.argtypes = [pointer, *jpeg, pointer, pointer]
        library.fastpt_encoded_room.argtypes = [pointer]
        library.fastpt_encoded_room.restype = ctypes.c_size_t
        library.fastpt_encode.argtypes = [pointer, number, pointer, pointer]
        library.fastpt_encode.restype = ctypes.c_size_t
    return library


def name() -> str:
    """What decodes on this machine."""
    library = kernel()
    return (
        f"fastpt's ({library.fastpt_decoder_name().decode()})" if library else "libjpeg-turbo (fastpt's was not built)"
    )


class Functions(NamedTuple):
    """Where the functions are that decode one picture after the other, for a pool of threads in C."""

    new: int
    """`void *new(void)`: what a thread keeps from picture to picture; NULL if there is no memory."""
    free: int
    """`void free(void *)`."""
    decode: int
    """`int decode(void *, jpeg, length, shape, box, flip, filter, size, out)`: DECODED, UNUSUAL or MISLED."""


def functions() -> Functions | None:
    """The decoder's `Functions`, or None without the library."""
    library = kernel()
    if library is None:
        return None
    names = ("fastpt_decoder_new", "fastpt_decoder_free", "fastpt_decode_one")
    return Functions(*(native.address(library, name) for name in names))


class _Decoder:
    """Tables and memory that a thread uses for all its pictures: fresh pages would cost more than decoding does."""

    def __init__(self, library: ctypes.CDLL):
        self._library, self.pointer = library, library.fastpt_decoder_new()
        if not self.pointer:
            raise MemoryError

    def __del__(self) -> None:
        self._library.fastpt_decoder_free(self.pointer)


_of_thread = threading.local()


def of_thread(library: ctypes.CDLL) -> int:
    """The decoder of this thread, for the library's functions."""
    decoder = getattr(_of_thread, "decoder", None)
    if decoder is None:
        decoder = _of_thread.decoder = _Decoder(library)
    return decoder.pointer


def decode_one(
    jpeg: np.ndarray, shape: np.ndarray, box: np.ndarray, flip: bool, interpolation: Interpolation, out: np.ndarray
) -> int:
    """Decode, crop, resize and flip one picture into `out`, uint8 [S, S, 3].

    `shape` is the height and width that its header must state, `box` (top, left, height, width) lies within them. Luma
    and chroma are resized each by itself, as libjpeg's accurate inverse DCT gives them, and then made RGB. Bilinear and
    bicubic are antialiased as in torch and Pillow; area is as in OpenCV, where it is linear if the box grows.

    Returns DECODED; MISLED if its entry points do not fit its data, without which it was then decoded; or UNUSUAL if it
    is left to another decoder, as without the library all are: `out` then holds nothing.
    """
    library = kernel()
    if library is None:
        return UNUSUAL
    shape, box = shape.astype(np.int32), box.astype(np.int32)
    settings = (flip, INTERPOLATIONS.index(interpolation), len(out))
    places = (jpeg.ctypes.data, jpeg.size, shape.ctypes.data, box.ctypes.data)
    return library.fastpt_decode_one(of_thread(library), *places, *settings, out.ctypes.data)


def decode(
    jpegs: list[np.ndarray],
    shapes: np.ndarray,
    boxes: np.ndarray,
    flips: np.ndarray,
    interpolation: Interpolation,
    images: np.ndarray,
    rows: np.ndarray,
) -> np.ndarray:
    """`decode_one` for K pictures, into `rows`, int64 [K], of `images`, uint8 [B, S, S, 3].

    `shapes` is int [K, 2], `boxes` int [K, 4], `flips` bool [K]. Returns which came out, bool [K].
    """
    done = np.zeros(len(jpegs), bool)
    for k, jpeg in enumerate(jpegs):
        picture = (jpeg, shapes[k], boxes[k], bool(flips[k]))
        done[k] = decode_one(*picture, interpolation, images[rows[k]]) in (DECODED, MISLED)
    return done
