import io

import cv2
import numpy as np
import pytest
from PIL import Image

from datasets_prep.images import turbojpeg
from datasets_prep.images.policy import ImagePolicy, RejectedImage, encode
from tests.conftest import picture


def pixels(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)))


def encoded(array: np.ndarray, format: str, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, format)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_sane_jpeg_is_stored_byte_for_byte(mode):
    source = picture(0, mode=mode)
    stored = encode(source, ImagePolicy(max_side=80))
    assert stored.jpeg == source
    assert (stored.width, stored.height) == (80, 64)


def test_a_large_picture_is_reduced_to_the_limit_and_keeps_its_shape():
    stored = encode(picture(0, size=(400, 300)), ImagePolicy(max_side=100))
    assert (stored.width, stored.height) == (100, 75)
    assert pixels(stored.jpeg).shape == (75, 100, 3)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4"])
@pytest.mark.parametrize(("size", "limit"), [((400, 300), 257), ((333, 401), 200), ((1203, 901), 101)])
def test_reducing_a_jpeg_is_resizing_its_pixels_by_area(size, limit, subsampling, mode):
    source = picture(0, size=size, mode=mode, subsampling=subsampling, quality=95)
    stored = encode(source, ImagePolicy(max_side=limit, quality=95))
    assert max(stored.width, stored.height) == limit
    expected = cv2.resize(pixels(source), (stored.width, stored.height), interpolation=cv2.INTER_AREA).astype(int)
    found = pixels(stored.jpeg)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 3


def test_a_flawed_jpeg_that_still_decodes_is_reduced_too():
    source = picture(0, size=(400, 300))
    flawed = source[:-2] + b"\0\0\0\0" + source[-2:]  # bytes that belong to nothing: a warning of libjpeg
    with pytest.raises(turbojpeg.NotPlain):
        turbojpeg.check(flawed, (400, 300))
    there, expected = (pixels(encode(jpeg, ImagePolicy(max_side=100)).jpeg) for jpeg in (flawed, source))
    assert np.abs(there.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("limit", [None, 100])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_truncated_jpeg_is_rejected_whether_it_is_reduced_or_not(share, limit):
    source = picture(0, size=(400, 300))
    with pytest.raises(RejectedImage, match="does not decode"):
        encode(source[: int(share * len(source))], ImagePolicy(max_side=limit))


def test_a_cmyk_jpeg_is_reduced_in_its_right_colours():
    source = picture(1, size=(400, 300), mode="CMYK")
    expected = np.asarray(Image.open(io.BytesIO(source)).convert("RGB").reduce(4)).astype(int)
    stored = encode(source, ImagePolicy(max_side=100))
    assert np.abs(pixels(stored.jpeg).astype(int) - expected).mean() < 4


def test_no_limit_keeps_every_size():
    source = picture(0, size=(900, 600))
    assert encode(source, ImagePolicy(max_side=None)).jpeg == source


def test_exif_orientation_is_applied_to_the_pixels():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    source = picture(3, exif=exif)
    stored = encode(source, ImagePolicy())
    assert (stored.width, stored.height) == (64, 80)
    upright = np.rot90(pixels(source), -1).astype(int)
    assert np.abs(pixels(stored.jpeg).astype(int) - upright).mean() < 3
    assert Image.open(io.BytesIO(stored.jpeg)).getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("CMYK JPEG", picture(1, mode="CMYK")),
        ("PNG", picture(1, format="PNG")),
        ("palette PNG", picture(1, mode="P", format="PNG")),
        ("WebP", picture(1, format="WEBP", lossless=True)),
        ("animated GIF", picture(1, mode="P", format="GIF", save_all=True)),
        ("a PNG named JPEG is told by its bytes", picture(1, format="PNG")),
    ],
)
def test_other_kinds_of_picture_keep_their_colours(name, source):
    expected = np.asarray(Image.open(io.BytesIO(source)).convert("RGB")).astype(int)
    stored = encode(source, ImagePolicy())
    assert np.abs(pixels(stored.jpeg).astype(int) - expected).mean() < 4


def test_sixteen_bit_grey_keeps_its_range():
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (64, 1))
    stored = encode(encoded(ramp, "PNG"), ImagePolicy())
    assert np.abs(pixels(stored.jpeg).astype(int) - (ramp >> 8)).max() < 6


def test_alpha_is_laid_over_white():
    clear = np.zeros((16, 16, 4), np.uint8)
    assert pixels(encode(encoded(clear, "PNG"), ImagePolicy()).jpeg).min() == 255


def test_one_pixel_is_a_picture():
    stored = encode(picture(0, size=(1, 1)), ImagePolicy())
    assert (stored.width, stored.height) == (1, 1)
    thin = encode(picture(0, size=(1000, 1)), ImagePolicy(max_side=100))
    assert (thin.width, thin.height) == (100, 1)
    tiny = encode(picture(0, size=(7, 3)), ImagePolicy(max_side=3))
    assert pixels(tiny.jpeg).shape == (1, 3, 3)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b"", "empty"),
        (b"not a picture", "not a picture"),
        (picture(0)[:400], "does not decode"),
        (picture(0, format="PNG")[:200], "does not decode"),
        (encoded(np.zeros((4, 4), np.float32), "TIFF"), "floating-point"),
    ],
)
def test_what_cannot_be_stored_is_rejected_with_the_reason(source, reason):
    with pytest.raises(RejectedImage, match=reason):
        encode(source, ImagePolicy())


def test_a_decompression_bomb_is_rejected_before_it_is_decoded():
    bomb = Image.new("1", (40_000, 10_000))
    buffer = io.BytesIO()
    bomb.save(buffer, "PNG")
    with pytest.raises(RejectedImage, match="pixels"):
        encode(buffer.getvalue(), ImagePolicy())
