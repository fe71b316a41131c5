"""libjpeg-turbo's planes and bytes, which ours are to be: TurboJPEG through ctypes, as libffcv is linked with it."""

import ctypes
from functools import cache
from typing import Literal

import numpy as np

from tests.jpeg import libffcv

YCBCR, GREY = 1, 2  # TurboJPEG's numbers of colour spaces
WHOLE, SUBSAMPLED_420, ONE_PLANE = 0, 2, 3  # and of subsamplings
GREY_PIXELS = 6  # and of a pixel format
NO_REALLOCATION, ACCURATE_DCT, STOP_ON_WARNING, LIMIT_SCANS = 1024, 4096, 8192, 32768  # and of flags
STRICT = STOP_ON_WARNING | LIMIT_SCANS


class NotPlain(Exception):
    """This is no undamaged grey or YCbCr JPEG; another decoder may know what it is."""


def check(jpeg: bytes, size: tuple[int, int]) -> None:
    """Decode all of a JPEG of `size` (width, height), at an eighth. Raises NotPlain at the least irregularity."""
    _header(jpeg, size)
    width, height = (-(-side // 8) for side in size)
    pixels = np.empty((height, width), np.uint8)
    library, decoder, _ = _turbojpeg()
    if library.tjDecompress2(
        decoder, jpeg, len(jpeg), pixels.ctypes.data, width, 0, height, GREY_PIXELS, STRICT | ACCURATE_DCT
    ):
        raise NotPlain


def decode(jpeg: bytes, size: tuple[int, int]) -> list[np.ndarray]:
    """The planes, uint8, of a JPEG of `size` (width, height): one if it is grey, else three.

    Raises NotPlain at the least irregularity.
    """
    subsampling, (width, height) = _header(jpeg, size), size
    planes = [np.empty(_plane_shape(i, width, height, subsampling), np.uint8) for i in _planes(subsampling)]
    library, decoder, _ = _turbojpeg()
    if library.tjDecompressToYUVPlanes(
        decoder, jpeg, len(jpeg), _pointers(planes), width, None, height, STRICT | ACCURATE_DCT
    ):
        raise NotPlain
    planes[0] = planes[0][:height, :width]  # without the column or row that fills up a pair
    return planes


def encode(planes: list[np.ndarray], size: tuple[int, int], subsampling: Literal["420", "444"], quality: int) -> bytes:
    """The JPEG of a picture of `size` (width, height) by its planes."""
    library, _, encoder = _turbojpeg()
    number = _number(planes, subsampling)
    evened = [side - length for side, length in zip(_plane_shape(0, *size, number), planes[0].shape, strict=True)]
    planes = [np.pad(planes[0], [(0, more) for more in evened], "edge"), *map(np.ascontiguousarray, planes[1:])]
    room = np.empty(library.tjBufSize(*size, number), np.uint8)
    start, length = ctypes.c_void_p(room.ctypes.data), ctypes.c_ulong(room.size)
    if library.tjCompressFromYUVPlanes(
        encoder,
        _pointers(planes),
        size[0],
        None,
        size[1],
        number,
        ctypes.byref(start),
        ctypes.byref(length),
        quality,
        NO_REALLOCATION | ACCURATE_DCT,
    ):
        raise NotPlain
    return room[: length.value].tobytes()


def _number(planes: list[np.ndarray], subsampling: Literal["420", "444"]) -> int:
    """TurboJPEG's number of a subsampling."""
    if len(planes) == 1:
        return ONE_PLANE
    return SUBSAMPLED_420 if subsampling == "420" else WHOLE


def _header(jpeg: bytes, size: tuple[int, int]) -> int:
    """The subsampling. Raises NotPlain if the JPEG has another size or other planes than brightness and colour."""
    library, decoder, _ = _turbojpeg()
    width, height, subsampling, space = (ctypes.c_int() for _ in range(4))
    found = (ctypes.byref(value) for value in (width, height, subsampling, space))
    if library.tjDecompressHeader3(decoder, jpeg, len(jpeg), *found):
        raise NotPlain
    if (width.value, height.value) != size or space.value not in (YCBCR, GREY):
        raise NotPlain
    return subsampling.value


def _planes(subsampling: int) -> range:
    return range(1 if subsampling == ONE_PLANE else 3)


def _plane_shape(plane: int, width: int, height: int, subsampling: int) -> tuple[int, int]:
    """Height and width of a plane in memory; a side of the first is even where the others have half of it."""
    library, _, _ = _turbojpeg()
    return library.tjPlaneHeight(plane, height, subsampling), library.tjPlaneWidth(plane, width, subsampling)


def _pointers(planes: list[np.ndarray]) -> ctypes.Array:
    return (ctypes.c_void_p * 3)(*(plane.ctypes.data for plane in planes))


@cache
def _turbojpeg() -> tuple[ctypes.CDLL, int, int]:
    """TurboJPEG, as libffcv is linked with it, so that it is there wherever FFCV is; a decoder; an encoder."""
    library = libffcv.load()
    number, size, pointer = ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p
    library.tjInitDecompress.restype = library.tjInitCompress.restype = pointer
    library.tjBufSize.restype = size
    library.tjDecompressHeader3.argtypes = [pointer, pointer, size, *4 * [pointer]]
    library.tjDecompress2.argtypes = [pointer, pointer, size, pointer, *5 * [number]]
    library.tjDecompressToYUVPlanes.argtypes = [pointer, pointer, size, pointer, number, pointer, number, number]
    library.tjCompressFromYUVPlanes.argtypes = [
        pointer,
        pointer,
        number,
        pointer,
        number,
        number,
        pointer,
        pointer,
        number,
        number,
    ]
    return library, library.tjInitDecompress(), library.tjInitCompress()
