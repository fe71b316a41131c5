"""Which pictures keep their planes of colour whole: drawings do, photos do not, by either encoder."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from datasets_prep.images import chroma
from datasets_prep.images.policy import ImagePolicy, encode
from tests.conftest import picture


def saved(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def lines(side: int, width: int = 1) -> Image.Image:
    """Saturated lines on white, as of icons and charts."""
    image = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(image)
    for i, x in enumerate(range(0, side, 6 * width)):
        draw.line([(x, 0), (side - x, side)], fill=("red", "blue", "magenta", "lime")[i % 4], width=width)
    return image


def text(side: int) -> Image.Image:
    image = Image.new("RGB", (side, side), "yellow")
    for y in range(0, side, 12):
        ImageDraw.Draw(image).text((2, y), "what the user meant " * 4, fill="blue")
    return image


def pixel_art(side: int) -> Image.Image:
    colours = np.random.default_rng(0).integers(0, 256, (8, 3), dtype=np.uint8)
    cells = np.random.default_rng(1).integers(0, 8, (side // 4, side // 4))
    return Image.fromarray(colours[cells].repeat(4, 0).repeat(4, 1))


def psnr(jpeg: bytes, image: Image.Image) -> float:
    error = np.square(np.asarray(Image.open(io.BytesIO(jpeg)), float) - np.asarray(image)).mean()
    return 10 * np.log10(255**2 / max(error, 1e-9))


def subsampling(jpeg: bytes) -> str:
    """Of the JPEG itself, by the sampling factors of its frame header."""
    at = next(i for i in range(len(jpeg)) if jpeg[i : i + 2] in (b"\xff\xc0", b"\xff\xc2"))
    return {0x11: "444", 0x22: "420"}[jpeg[at + 11]]


@pytest.mark.parametrize("drawn", [lines, text, pixel_art])
def test_a_drawing_survives(drawn):
    image = drawn(96)
    stored = encode(saved(image, "PNG"), ImagePolicy())
    assert stored.encoded == subsampling(stored.jpeg) == "444"
    assert psnr(stored.jpeg, image) >= 35
    halved = encode(saved(image, "PNG"), ImagePolicy(subsampling="420"))
    assert psnr(halved.jpeg, image) < 35


def test_a_large_drawing_that_came_as_jpeg_survives():
    image = lines(1000, width=4)
    source = saved(image, "JPEG", quality=98, subsampling="4:4:4")
    stored = encode(source, ImagePolicy(max_side=400))
    assert stored.encoded == subsampling(stored.jpeg) == "444"
    pixels = np.asarray(Image.open(io.BytesIO(source)))
    smaller = Image.fromarray(cv2.resize(pixels, (400, 400), interpolation=cv2.INTER_AREA))
    assert psnr(stored.jpeg, smaller) >= 35
    assert psnr(encode(source, ImagePolicy(400, subsampling="420")).jpeg, smaller) < 32


@pytest.mark.parametrize("source", [picture(0, size=(300, 200), format="PNG"), picture(0, size=(900, 700))])
def test_smooth_colours_are_halved(source):
    stored = encode(source, ImagePolicy())
    assert stored.encoded == subsampling(stored.jpeg) == "420"
    assert stored.jpeg == encode(source, ImagePolicy(subsampling="420")).jpeg


@pytest.mark.parametrize("source", [picture(0, size=(300, 200), format="PNG"), picture(0, size=(900, 700))])
def test_all_are_kept_whole_if_asked_for(source):
    stored = encode(source, ImagePolicy(subsampling="444"))
    assert stored.encoded == subsampling(stored.jpeg) == "444"


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 1), (601, 1), (1, 601), (700, 3)])
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_thin_pictures_are_judged_too(size, mode, format):
    stored = encode(saved(Image.effect_noise(size, 90).convert(mode), format), ImagePolicy(max_side=500))
    assert max(stored.width, stored.height) == min(500, max(size))


def test_bytes_that_are_kept_are_not_judged():
    stored = encode(saved(lines(96), "JPEG"), ImagePolicy())
    assert stored.encoded is None


def test_loss_is_what_comes_back_from_halved_planes():
    pixels = np.asarray(lines(64))
    whole = chroma.planes(pixels)
    back = [cv2.resize(half, (64, 64), interpolation=cv2.INTER_LINEAR) for half in chroma.halved(whole)]
    luma = cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb)[..., 0]
    colours = cv2.cvtColor(np.dstack([luma, back[1], back[0]]), cv2.COLOR_YCrCb2RGB)
    error = np.square(pixels.astype(float) - colours).mean()
    assert chroma.loss(whole, chroma.halved(whole)) == pytest.approx(error, rel=0.6)  # before values are cut off
    assert error > chroma.LIMIT


@pytest.mark.parametrize("angle", range(0, 180, 15))
def test_roughness_sees_stripes_of_every_direction(angle):
    x, y = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    rows, columns = np.mgrid[:60, :60]
    stripes = np.where((x * columns + y * rows) % 8 < 4, 70, 180).astype(np.uint8)
    assert chroma.roughness([stripes, 255 - stripes]) > chroma.ROUGH_LIMIT
