"""The image policy: what is stored for each source picture, or why it is left out.

- A sane JPEG (RGB or grey, upright, no side over `max_side`) is stored byte for byte.
- Everything else is decoded, turned upright by its EXIF orientation, reduced to 8-bit RGB or grey, resized by area
  so that no side exceeds `max_side`, and encoded as JPEG (4:2:0) at `quality`.
  Alpha is laid over white, 16-bit values keep their upper eight bits, of an animation the first frame counts.

libjpeg-turbo does this for upright JPEGs without a flaw; Pillow does all the rest, and is the judge of what has flaws.
"""

import io
import warnings
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageOps

from datasets_prep.images import turbojpeg
from fastpt.jpeg import entropy

ORIENTATION = 0x0112  # the EXIF tag
LARGEST_SIDE = 65_500  # pixels, libjpeg's limit

cv2.setNumThreads(1)  # the conversion's workers are its threads


@dataclass(frozen=True)
class ImagePolicy:
    """`max_side` in pixels, or None to keep every size; `quality` of JPEG, 1 to 100."""

    max_side: int | None = 500
    quality: int = 90


@dataclass(frozen=True)
class EncodedImage:
    """What goes into the shard."""

    jpeg: bytes
    width: int
    height: int


class RejectedImage(Exception):
    """The picture cannot be stored; the message is the reason."""


def encode(source: bytes, policy: ImagePolicy) -> EncodedImage:
    """Apply the policy to the bytes of a source picture. Raises RejectedImage."""
    if not source:
        raise RejectedImage("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)  # odd metadata is no reason to leave a picture out
            with Image.open(io.BytesIO(source)) as image:
                if not _is_plain_jpeg(image):
                    return _encoded(image, policy)
                size = _within(image.size, policy)
                return _checked(image, source) if size == image.size else _reduced(image, source, size, policy)
    except RejectedImage:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise RejectedImage(f"more than {Image.MAX_IMAGE_PIXELS} pixels") from None
    except Image.UnidentifiedImageError:
        raise RejectedImage("not a picture that can be read") from None
    except Exception as error:  # decoders of hostile bytes raise nearly anything; the picture is named
        raise RejectedImage(f"does not decode: {type(error).__name__}: {error}") from None


def _is_plain_jpeg(image: Image.Image) -> bool:
    """An RGB or grey JPEG that need not be turned."""
    return image.format == "JPEG" and image.mode in ("RGB", "L") and image.getexif().get(ORIENTATION, 1) == 1


def _within(size: tuple[int, int], policy: ImagePolicy) -> tuple[int, int]:
    """The size (width, height) at which a picture of `size` is stored."""
    scale = min(1.0, (policy.max_side or LARGEST_SIDE) / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _checked(image: Image.Image, source: bytes) -> EncodedImage:
    size = image.size
    if entropy.is_sound(source, size):
        return EncodedImage(source, *size)
    try:
        turbojpeg.check(source, size)
    except turbojpeg.NotPlain:
        image.draft(None, (1, 1))  # an eighth of the size: reads all entropy-coded data, skips most of the arithmetic
        image.load()
    return EncodedImage(source, *size)


def _reduced(image: Image.Image, source: bytes, size: tuple[int, int], policy: ImagePolicy) -> EncodedImage:
    try:
        return EncodedImage(turbojpeg.reduce(source, image.size, size, policy.quality), *size)
    except turbojpeg.NotPlain:
        return _encoded(image, policy)


def _encoded(image: Image.Image, policy: ImagePolicy) -> EncodedImage:
    if image.format == "JPEG":
        width, height = _within(image.size, policy)
        image.draft(None, (2 * width, 2 * height))  # as `turbojpeg.reduce` does
    upright = _eight_bit(ImageOps.exif_transpose(image))
    size = _within(upright.size, policy)
    if size != upright.size:
        upright = Image.fromarray(cv2.resize(np.asarray(upright), size, interpolation=cv2.INTER_AREA))
    buffer = io.BytesIO()
    upright.save(buffer, "JPEG", quality=policy.quality)
    return EncodedImage(buffer.getvalue(), *upright.size)


def _eight_bit(image: Image.Image) -> Image.Image:
    """The picture as RGB or grey (L), 8 bits a channel."""
    if image.mode in ("RGB", "L"):
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode == "F":
        raise RejectedImage("floating-point pixels have no defined range")
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
