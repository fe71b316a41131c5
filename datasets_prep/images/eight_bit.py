"""Pictures of any depth and colour as 8-bit RGB or grey, by rules that do not depend on what a picture shows.

What has no such rule is rejected by name: floats, 32-bit and signed integers, 16-bit files that use a part of their
bits, previews in the raw files of cameras, and what shows nothing on white, over which alpha is laid.
"""

from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

SUBFILE, DEPTH, PHOTOMETRIC, SAMPLE_FORMAT, DNG_VERSION = 254, 258, 262, 339, 50706  # tags of TIFF
SIGNED, WHITE_IS_ZERO = 2, 0  # values of two of them
RANGE = 1 << 16
LARGEST_JP2_HEAD = 1 << 20  # bytes before the picture, such as a colour profile
LEAST = RANGE >> 2  # a 16-bit picture without a value above this uses 14 bits or less, as 12-bit cameras' do


class RejectedImage(Exception):
    """The picture cannot be stored; the message is the reason."""


def eight_bit(image: ImageFile.ImageFile) -> Image.Image:
    """The picture as RGB or grey (L), 8 bits a channel, not turned. Raises RejectedImage."""
    tiff: Mapping[int, Any] = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    if DNG_VERSION in tiff or tiff.get(SUBFILE, 0) & 1:
        raise RejectedImage("the first picture of this TIFF is a preview, as in the raw files of cameras")
    if SIGNED in _values(tiff, SAMPLE_FORMAT):
        raise RejectedImage("signed integer pixels have no defined range; store them in 8 or 16 bits")
    if image.mode == "F":
        raise RejectedImage("floating-point pixels have no defined range; store them in 8 or 16 bits")
    if image.mode == "I" and image.format != "PPM":  # which states its range, and is scaled by it
        raise RejectedImage("32-bit integer pixels have no defined range; store them in 8 or 16 bits")
    is_sixteen_bit = _is_sixteen_bit(image)
    image.load()
    if image.mode.startswith("I"):
        return _grey(image, tiff)
    if is_sixteen_bit:  # of which Pillow gives the upper eight
        if "transparency" in image.info:
            raise RejectedImage("a transparent colour of 16 bits, which Pillow cannot find; store an alpha channel")
        colours = [band for name, band in zip(image.getbands(), image.split(), strict=True) if name not in "Aa"]
        most = max(int(np.asarray(band).max()) for band in colours)
        is_rounded = image.format == "JPEG2000" and most > 0  # others are cut off
        _check_range(256 * most + (-128 if is_rounded else 255))
    if image.has_transparency_data:
        return _over_white(image)
    return image if image.mode in ("RGB", "L") else image.convert("L" if image.mode == "1" else "RGB")


def _grey(image: Image.Image, tiff: Mapping[int, Any]) -> Image.Image:
    """The upper eight of the 16 (or in TIFF 12) bits of a grey picture."""
    values = np.asarray(image).clip(0, RANGE - 1).astype(np.uint16) << (4 if _values(tiff, DEPTH) == (12,) else 0)
    _check_range(int(values.max()))
    if tiff.get(PHOTOMETRIC) == WHITE_IS_ZERO:  # which Pillow heeds at 8 bits only
        values = RANGE - 1 - values
    if "transparency" in image.info:
        values[values == image.info["transparency"]] = RANGE - 1
    return Image.fromarray((values >> 8).astype(np.uint8))


def _values(tiff: Mapping[int, Any], tag: int) -> tuple[int, ...]:
    found = tiff.get(tag, ())
    return found if isinstance(found, tuple) else (found,)


def _check_range(largest: int) -> None:
    if 0 < largest < LEAST:
        raise RejectedImage(
            f"16-bit values, but none above {largest} of {RANGE - 1}: it would be stored nearly black. Scale values of "
            "fewer bits to 16, or to 8"
        )


def _is_sixteen_bit(image: ImageFile.ImageFile) -> bool:
    """Whether colours have 16 bits a channel in the file; asked before decoding, since Pillow forgets it then."""
    if image.format == "JPEG2000" and image.fp:
        return _jpeg2000_depth(image.fp) == RANGE.bit_length() - 1
    for tile in image.tile:
        words = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        if tile.codec_name == "SGI16" or (image.format == "PPM" and RANGE - 1 in words):
            return True
        if any(str(word).endswith((";16B", ";16L", ";16N")) for word in words):
            return True
    return False


def _jpeg2000_depth(file: IO[bytes]) -> int:
    """The bits a channel of JPEG 2000, of which Pillow says nothing; 0 if they are not where they should be."""
    at = file.tell()
    file.seek(0)
    head = file.read(LARGEST_JP2_HEAD)
    file.seek(at)
    header = head[head.find(b"\xff\x4f\xff\x51") :]  # SOC and SIZ, ISO/IEC 15444-1, A.5.1
    channels = int.from_bytes(header[40:42], "big")
    return max(((depth & 0x7F) + 1 for depth in header[42 : 42 + 3 * channels : 3]), default=0)


def _over_white(image: Image.Image) -> Image.Image:
    layers = image.convert("RGBA")
    shown = Image.alpha_composite(Image.new("RGBA", image.size, "white"), layers).convert("RGB")
    pixels = np.asarray(layers).reshape(-1, 4)
    if np.asarray(shown).min() == 255 and (pixels.min(0) != pixels.max(0)).any():
        raise RejectedImage("it is transparent, and shows nothing on white, over which it is laid")
    return shown
