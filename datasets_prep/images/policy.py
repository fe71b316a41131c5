"""The image policy: what is stored for each source picture, or why it is left out.

- A sane JPEG (RGB or grey, upright, no side over `max_side`, nothing stray among its headers) is stored as it came: its
  pixels are the source's.
- Everything else is decoded, reduced to 8-bit RGB or grey (see `eight_bit`), turned upright by its EXIF orientation,
  resized by area so that no side exceeds `max_side`, and encoded as JPEG: 4:2:0 at `quality`; or, where that would
  spoil its colours (see `chroma`), 4:4:4 with quantisation half as coarse.
  Alpha is laid over white, 16-bit values keep their upper eight bits, of an animation the first frame counts.
- What is stored gets entry points (fastpt/jpeg/entries.h), unless it is of a kind that has none, or `entry_points` is
  none: then a JPEG that is stored as it came is the source byte for byte.

The kind of a file is told by its content, and Pillow is asked for that kind alone: none is read by starting a program.
fastpt/jpeg reduces upright baseline JPEGs without a flaw; Pillow does all the rest, and is the judge of what has flaws.
"""

import io
import warnings
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageFile

from datasets_prep.images import area, chroma
from datasets_prep.images.eight_bit import RejectedImage, eight_bit
from fastpt.errors import FastptError
from fastpt.jpeg import entropy, planes
from fastpt.jpeg.exif import orientation
from fastpt.jpeg.frames import frame_sizes
from fastpt.storage.sniff import HEAD, PICTURES, sniff

LARGEST_SIDE = 65_500  # pixels, libjpeg's limit

cv2.setNumThreads(1)  # the conversion's workers are its threads


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by `orientation`

Subsampling = Literal["420", "444"]  # planes of colour of half the size, or whole
SUBSAMPLINGS = {"420": "4:2:0", "444": "4:4:4"}  # as Pillow calls them


@dataclass(frozen=True)
class ImagePolicy:
    """`max_side` in pixels, or None to keep every size; `quality` of JPEG, 1 to 100; `subsampling` of colour, or
    auto: as each picture needs it; `entry_points` auto: wherever a decoder can use them."""

    max_side: int | None = 500
    quality: int = 90
    subsampling: Subsampling | Literal["auto"] = "auto"
    entry_points: Literal["auto", "none"] = "auto"

    def quality_at(self, subsampling: Subsampling) -> int:
        """Where `auto` finds that a picture needs whole planes, its steps of quantisation are half as large, too."""
        return (101 + self.quality) // 2 if self.subsampling == "auto" and subsampling == "444" else self.quality


@dataclass(frozen=True)
class EncodedImage:
    """What goes into the shard."""

    jpeg: bytes
    width: int
    height: int
    encoded: Subsampling | None  # None for the pixels of the source; grey counts as 420
    has_entry_points: bool


def encode(source: bytes, policy: ImagePolicy) -> EncodedImage:
    """Apply the policy to the bytes of a source picture. Raises RejectedImage; FastptError if entry points are wanted
    where fastpt/jpeg was not built."""
    if not source:
        raise RejectedImage("the file is empty")
    kind = sniff(source[:HEAD])
    if kind not in PICTURES:
        raise RejectedImage("not a picture that can be read" + (f", but {kind}" if kind else ""))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)  # odd metadata is no reason to leave a picture out
            with Image.open(io.BytesIO(source), formats=[PICTURES[kind]]) as image:
                if not _is_plain_jpeg(image):
                    return _encoded(image, policy)
                size = _within(image.size, policy)
                return _checked(image, source, policy) if size == image.size else _reduced(image, source, size, policy)
    except (RejectedImage, FastptError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise RejectedImage(f"more than {Image.MAX_IMAGE_PIXELS} pixels") from None
    except Image.UnidentifiedImageError:
        raise RejectedImage(f"cannot be read as {kind}") from None
    except Exception as error:  # decoders of hostile bytes raise nearly anything; the picture is named
        raise RejectedImage(f"does not decode: {type(error).__name__}: {error}") from None


def _is_plain_jpeg(image: Image.Image) -> bool:
    """An RGB or grey JPEG that need not be turned."""
    return image.format == "JPEG" and image.mode in ("RGB", "L") and orientation(image) == 1


def _within(size: tuple[int, int], policy: ImagePolicy) -> tuple[int, int]:
    """The size (width, height) at which a picture of `size` is stored."""
    scale = min(1.0, (policy.max_side or LARGEST_SIDE) / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _checked(image: ImageFile.ImageFile, source: bytes, policy: ImagePolicy) -> EncodedImage:
    size = image.size
    if policy.entry_points == "auto":
        noted = entropy.note_entry_points(source, size)
    else:
        noted = entropy.Noted(source, entropy.is_sound(source, size), False)
    if not noted.sound:
        if frame_sizes([np.frombuffer(source, np.uint8)]).tolist() != [[image.height, image.width]]:
            return _encoded(image, policy)  # Pillow mends such headers; loaders, who go by them, would call it damaged
        image.draft("L", (1, 1))  # an eighth of the size, without colour: reads all data, skips most arithmetic
        image.load()
    return EncodedImage(noted.jpeg, *size, None, noted.has_entry_points)


def _reduced(image: ImageFile.ImageFile, source: bytes, size: tuple[int, int], policy: ImagePolicy) -> EncodedImage:
    decoded = planes.decode(source, image.size) if entropy.is_built() else None
    if decoded is None:
        if not _can_give_planes(image):
            return _encoded(image, policy)
        decoded = _planes(image, size)
    half = (-(-size[0] // 2), -(-size[1] // 2))
    colours, subsampling = [area.resize(plane, half) for plane in decoded[1:]], "420"
    if colours and policy.subsampling != "420":
        forced = policy.subsampling == "444"
        if forced or chroma.roughness(colours) > chroma.ROUGH_LIMIT:
            whole = [area.resize(plane, size) for plane in decoded[1:]]
            if forced or chroma.loss(whole, colours) > chroma.LIMIT:
                colours, subsampling = whole, "444"
    smaller = [area.resize(decoded[0], size), *colours]
    encoded = planes.encode(smaller, subsampling, policy.quality_at(subsampling), policy.entry_points == "auto")
    return EncodedImage(encoded.jpeg, *size, subsampling, encoded.has_entry_points)


def _can_give_planes(image: ImageFile.ImageFile) -> bool:
    """Whether Pillow can leave a JPEG's colours as they are, by libjpeg's rules for what they are."""
    if not entropy.is_built():
        return False
    ids = bytes(component[0] for component in image.layer)  # type: ignore[attr-defined]  (of JPEGs)
    return image.mode == "L" or "jfif" in image.info or (image.info.get("adobe_transform", 1) == 1 and ids != b"RGB")


def _planes(image: ImageFile.ImageFile, size: tuple[int, int]) -> list[np.ndarray]:
    """The planes that a JPEG is reduced by, all of one size, by Pillow: of those that our own decoder leaves."""
    image.draft("L" if image.mode == "L" else "YCbCr", (2 * size[0], 2 * size[1]))
    return [np.asarray(plane) for plane in image.split()]


def _encoded(image: ImageFile.ImageFile, policy: ImagePolicy) -> EncodedImage:
    if image.format == "JPEG":
        width, height = _within(image.size, policy)
        image.draft(None, (2 * width, 2 * height))  # the decoder's own reduction is coarser: it leaves twice the size
    upright = eight_bit(image)
    if turn := TURNS.get(orientation(image)):  # of a TIFF it is gone by now: Pillow turns those itself
        upright = upright.transpose(turn)
    size = _within(upright.size, policy)
    if size != upright.size:
        upright = Image.fromarray(cv2.resize(np.asarray(upright), size, interpolation=cv2.INTER_AREA))
    buffer = io.BytesIO()
    if upright.mode == "L":  # one plane: nothing to halve
        upright.save(buffer, "JPEG", quality=policy.quality)
        return _stored(buffer.getvalue(), size, "420", policy)
    subsampling = policy.subsampling if policy.subsampling != "auto" else _needed(np.asarray(upright))
    upright.save(buffer, "JPEG", quality=policy.quality_at(subsampling), subsampling=SUBSAMPLINGS[subsampling])
    return _stored(buffer.getvalue(), size, subsampling, policy)


def _stored(jpeg: bytes, size: tuple[int, int], subsampling: Subsampling, policy: ImagePolicy) -> EncodedImage:
    """A JPEG that was encoded here."""
    if policy.entry_points == "none":
        return EncodedImage(jpeg, *size, subsampling, False)
    noted = entropy.note_entry_points(jpeg, size)
    return EncodedImage(noted.jpeg, *size, subsampling, noted.has_entry_points)


def _needed(pixels: np.ndarray) -> Subsampling:
    """What pixels of colour, uint8 [H, W, 3], need, so that they are not spoiled."""
    whole = chroma.planes(pixels)
    return "444" if chroma.loss(whole, chroma.halved(whole)) > chroma.LIMIT else "420"
