"""The kernel among the others: against Pillow's full decode, beside pictures that it leaves, and without it."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from fastpt.jpeg import kernel
from fastpt.loading.decoders import cpu
from tests.conftest import made_up, picture, prepared
from tests.loading.decoders.test_decoders import images_of

SIZES = [(500, 375), (333, 251), (97, 130), (17, 15), (1, 1), (40, 3)]


def smooth(size: tuple[int, int], mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Colour blobs with some grain, of width and height `size`."""
    numbers = np.random.default_rng(seed)
    coarse = numbers.integers(0, 256, (7, 9, 3)).astype(np.uint8)
    pixels = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC).astype(int) + numbers.integers(
        -8, 9, (*size[::-1], 3)
    )
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode)


def encoded(image: Image.Image, **settings) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **{"quality": 90, **settings})
    return buffer.getvalue()


def some_boxes(width: int, height: int, count: int, seed: int) -> np.ndarray:
    """Boxes int32 [count, 4] in a picture; the first is all of it."""
    numbers = np.random.default_rng(seed)
    boxes = [(0, 0, height, width)]
    for _ in range(count - 1):
        h, w = numbers.integers(1, height + 1), numbers.integers(1, width + 1)
        boxes.append((numbers.integers(0, height - h + 1), numbers.integers(0, width - w + 1), h, w))
    return np.array(boxes, np.int32)


def decoded(
    stored: bytes, shape: tuple[int, int], boxes: np.ndarray, size: int, interpolation: str = "area", flip=False
):
    """What the kernel makes of the boxes of one picture: uint8 [K, size, size, 3], and which came out."""
    count = len(boxes)
    images = np.full((count, size, size, 3), 77, np.uint8)
    done = kernel.decode(
        count * [np.frombuffer(stored, np.uint8)],
        np.full((count, 2), shape),
        boxes,
        np.full(count, flip),
        interpolation,
        images,
        np.arange(count),
    )
    return images, done


def resized(pixels: np.ndarray, box: np.ndarray, size: int, interpolation: str) -> np.ndarray:
    """The reference for one box: OpenCV for area, torch for the others."""
    out = np.empty((size, size, 3), np.uint8)
    cpu.resize(pixels, box.tolist(), out, interpolation)
    return out


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / max(np.square(a.astype(float) - b).mean(), 1e-9))


def test_the_kernel_is_built_where_tools_setup_ran():
    assert kernel.kernel() is not None


@pytest.mark.parametrize("interpolation", kernel.INTERPOLATIONS)
@pytest.mark.parametrize(("mode", "settings"), [("RGB", {"subsampling": 0}), ("L", {})])
def test_boxes_come_out_as_from_the_whole_picture(mode, settings, interpolation):
    for seed, (width, height) in enumerate(SIZES):
        stored = encoded(smooth((width, height), mode, seed), **settings)
        pixels = np.array(Image.open(io.BytesIO(stored)).convert("RGB"))
        boxes = some_boxes(width, height, 12, seed)
        size = 1 + min(width, height) // 3
        images, done = decoded(stored, (height, width), boxes, size, interpolation)
        assert done.all()
        for box, image in zip(boxes, images, strict=True):
            if interpolation == "area" and min(box[2:]) < size:
                continue  # a box that grows is linear: test_decoder.py
            assert psnr(image, resized(pixels, box, size, interpolation)) > 48


@pytest.mark.parametrize(
    "stored",
    [
        encoded(smooth((64, 48)), progressive=True),
        encoded(smooth((64, 48), "CMYK")),
        encoded(smooth((64, 50))),  # not the size that was recorded
        encoded(smooth((64, 48)))[:-300],
        encoded(smooth((64, 48)))[:200],
        b"no JPEG at all",
        b"",
    ],
    ids=["progressive", "CMYK", "other size", "cut short", "cut in its header", "no JPEG", "nothing"],
)
def test_what_is_out_of_the_ordinary_is_left_to_the_caller_and_the_rest_is_done(stored):
    sane = encoded(smooth((64, 48)))
    images = np.zeros((3, 16, 16, 3), np.uint8)
    done = kernel.decode(
        [np.frombuffer(each, np.uint8) for each in (sane, stored, sane)],
        np.full((3, 2), (48, 64)),
        np.full((3, 4), (0, 0, 48, 64)),
        np.zeros(3, bool),
        "area",
        images,
        np.array([2, 1, 0]),
    )
    assert done.tolist() == [True, False, True]
    assert np.array_equal(images[0], images[2])
    assert images[0].any()


@pytest.mark.parametrize("interpolation", kernel.INTERPOLATIONS)
def test_without_the_kernel_the_pictures_are_nearly_the_same(split, monkeypatch, interpolation):
    ours = images_of(split, "cpu", 32, interpolation=interpolation)
    monkeypatch.setattr(kernel, "kernel", lambda: None)
    theirs = images_of(split, "cpu", 32, interpolation=interpolation)
    assert not np.array_equal(ours, theirs)
    assert psnr(ours, theirs) > 40


def test_progressive_pictures_are_loaded_beside_others(tmp_path):
    baseline = picture(0, size=(64, 64), quality=95)
    with Image.open(io.BytesIO(baseline)) as image:
        progressive = encoded(image, quality=95, progressive=True)
    dataset = prepared(tmp_path, made_up(2, special={0: baseline, 1: progressive}))
    ours = images_of(dataset, "cpu", crop="center", crop_fraction=1.0)
    assert psnr(*ours) > 30
