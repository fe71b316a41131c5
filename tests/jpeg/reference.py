"""What a crop's pixels are, worked out the long way: libjpeg's planes, resized by equations in float64, then colour."""

import ctypes
import io

import numpy as np
from PIL import Image, ImageFile

from tests.jpeg import turbojpeg

ImageFile.MAXBLOCK = 1 << 22  # so that Pillow finds room for noise at quality 100 with tables of its own

SAMPLINGS = {
    "4:4:4": (0, 1, 1),
    "4:2:2": (1, 2, 1),
    "4:2:0": (2, 2, 2),
    "grey": (3, 1, 1),
    "4:4:0": (4, 1, 2),
    "4:1:1": (5, 4, 1),
}
"""Of each: TurboJPEG's number; how many pixels one chroma sample covers across, and down."""


def encoded(pixels: np.ndarray, sampling: str = "4:2:0", quality: int = 90) -> bytes:
    """A JPEG of uint8 [h, w, 3], by libjpeg-turbo."""
    library, _, encoder = turbojpeg._turbojpeg()
    (height, width, _), number = pixels.shape, SAMPLINGS[sampling][0]
    room = np.empty(library.tjBufSize(width, height, number), np.uint8)
    start, length = ctypes.c_void_p(room.ctypes.data), ctypes.c_ulong(room.size)
    pixels = np.ascontiguousarray(pixels)
    arguments = (ctypes.byref(start), ctypes.byref(length), number, quality, turbojpeg.NO_REALLOCATION)
    assert not library.tjCompress2(
        ctypes.c_void_p(encoder), ctypes.c_void_p(pixels.ctypes.data), width, 0, height, 0, *arguments
    )
    return room[: length.value].tobytes()


def resaved(jpeg: bytes, **settings) -> bytes:
    """The same picture as Pillow writes it: optimized tables, EXIF, a comment ..."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(jpeg)) as image:
        image.save(buffer, "JPEG", **{"quality": "keep", **settings})
    return buffer.getvalue()


def optimized(jpeg: bytes) -> bytes:
    """What `jpegtran -copy all -optimize` makes of a JPEG with entry points: other Huffman codes, the old segment."""
    start = jpeg.index(b"\xff\xe9")
    segment = jpeg[start : start + 2 + int.from_bytes(jpeg[start + 2 : start + 4])]
    return b"\xff\xd8" + segment + resaved(jpeg, optimize=True)[2:]


def planes(jpeg: bytes) -> list[np.ndarray]:
    """Luma, and chroma if there is some, float64, as libjpeg's accurate inverse DCT gives them."""
    with Image.open(io.BytesIO(jpeg)) as image:
        size = image.size
    return [plane.astype(float) for plane in turbojpeg.decode(jpeg, size)]


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys' kernel, a = -1/2."""
    x = np.abs(x)
    return np.where(x < 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))


def weights(length: int, size: int, interpolation: str, shrinks: bool) -> np.ndarray:
    """float64 [size, length]: of which pixels each output is the mean."""
    scale, j = length / size, np.arange(length)
    low, high = (np.arange(i, size + i)[:, None] * length / size for i in (0, 1))
    if interpolation == "area" and shrinks:
        matrix = np.clip(np.minimum(j + 1, high) - np.maximum(j, low), 0, None)
    elif interpolation == "area":  # linear, of the two pixels that OpenCV takes
        first = np.floor(low)
        share = np.clip((high - first - 1) / scale, 0, None) * (first + 1 < length)
        matrix = (1 - share) * (j == first) + share * (j == first + 1)
    else:
        x = (j + 0.5 - (low + high) / 2) / max(scale, 1)
        matrix = cubic(x) if interpolation == "bicubic" else np.clip(1 - np.abs(x), 0, None)
    return matrix / matrix.sum(1, keepdims=True)


def upsampling(start: int, length: int, covered: int, samples: int) -> np.ndarray:
    """float64 [length, samples]: of which samples each pixel of a box is the linear interpolation.

    It is one between their centres. Those that the box does not touch are not looked at: the outermost that it touches
    stands for them.
    """
    inside = np.arange(start // covered, (start + length - 1) // covered + 1)
    place = ((start + np.arange(length) + 0.5) / covered - 0.5).clip(inside[0], inside[-1])[:, None]
    return np.clip(1 - np.abs(np.arange(samples) - place), 0, None)


def crop(jpeg: bytes, sampling: str, box: np.ndarray, size: int, interpolation: str) -> np.ndarray:
    """The box (top, left, height, width) as float64 [size, size, 3]; a pixel is right if it is less than 1 away."""
    _, across, down = SAMPLINGS[sampling]
    top, left, height, width = (int(side) for side in box)
    shrinks, resized = min(height, width) >= size, []
    for plane in planes(jpeg):
        h, v = (across, down) if resized else (1, 1)
        rows = weights(height, size, interpolation, shrinks) @ upsampling(top, height, v, plane.shape[0])
        columns = weights(width, size, interpolation, shrinks) @ upsampling(left, width, h, plane.shape[1])
        resized.append(rows @ plane @ columns.T)
    if len(resized) == 1:
        return np.stack(3 * resized, -1).clip(0, 255)
    y, cb, cr = resized[0], resized[1] - 128, resized[2] - 128
    return np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], -1).clip(0, 255)
