"""JPEG to planes and back, by whole.c and encode.c: what most pictures need to be made smaller.

A colour JPEG holds a plane of brightness and two of colour, usually at half the size. Reducing these planes one by one
and encoding them again spares the conversion to RGB and back, the enlargement of the colour planes, and half of the
resizing; and each plane is rounded once only. Samples and bytes are those of libjpeg with its accurate DCT ("islow").
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fastpt.jpeg import kernel


class _Picture(ctypes.Structure):
    _fields_ = [
        ("planes", ctypes.c_void_p * 3),
        ("strides", ctypes.c_int64 * 3),
        *((name, ctypes.c_int32) for name in ("plane_count", "halved", "width", "height")),
    ]


@dataclass(frozen=True)
class Encoded:
    """A JPEG, and whether it has entry points."""

    jpeg: bytes
    has_entry_points: bool


def decode(jpeg: bytes, size: tuple[int, int]) -> list[np.ndarray] | None:
    """The planes, uint8, of a JPEG of `size` (width, height): one if it is grey, else three.

    Those of colour have the size at which they are stored, rounded up.

    None for a JPEG that is not sound (see `entropy.is_sound`), has restart intervals, or is of another kind than
    baseline grey or YCbCr; and without the library.
    """
    library = kernel.kernel()
    if library is None:
        return None
    blocks, shape = (ctypes.c_int32 * 6)(), (ctypes.c_int32 * 2)(size[1], size[0])
    count = library.fastpt_plane_blocks(jpeg, len(jpeg), shape, blocks)
    sides = [(8 * blocks[2 * i + 1], 8 * blocks[2 * i]) for i in range(count)]
    planes = [np.empty(side, np.uint8) for side in sides]
    places = (ctypes.c_void_p * 3)(*(plane.ctypes.data for plane in planes))
    if not count or library.fastpt_decode_planes(kernel.of_thread(library), jpeg, len(jpeg), shape, places):
        return None
    cut = [tuple(-(-size[1 - axis] * side[axis] // sides[0][axis]) for axis in (0, 1)) for side in sides]
    return [plane[:height, :width] for plane, (height, width) in zip(planes, cut, strict=True)]


def encode(
    planes: Sequence[np.ndarray], subsampling: Literal["420", "444"], quality: int, entry_points: bool
) -> Encoded:
    """The JPEG of a picture by its planes, uint8 [H, W], one or three.

    With 420 those of colour have half the size, rounded up. There are entry points if they are wanted, and the picture
    is not too small.

    Raises RuntimeError without the library; `is_built` of `entropy` says so before.
    """
    library = kernel.kernel()
    if library is None:
        raise RuntimeError("fastpt/jpeg was not built")
    height, width = planes[0].shape
    halved = subsampling == "420" and len(planes) == 3
    shape = (-(-height // 2), -(-width // 2)) if halved else (height, width)
    assert all(plane.dtype == np.uint8 and plane.strides[1] == 1 for plane in planes)
    assert all(plane.shape == shape for plane in planes[1:])
    picture = _Picture(
        (ctypes.c_void_p * 3)(*(plane.ctypes.data for plane in planes)),
        (ctypes.c_int64 * 3)(*(plane.strides[0] for plane in planes)),
        *(len(planes), halved, width, height),
    )
    out = np.empty(library.fastpt_encoded_room(ctypes.byref(picture)), np.uint8)
    noted = ctypes.c_int(entry_points)
    length = library.fastpt_encode(ctypes.byref(picture), quality, out.ctypes.data, ctypes.byref(noted))
    if not length:
        raise MemoryError
    return Encoded(out[:length].tobytes(), bool(noted.value))
