"""The decoder of crops, against the long way of reference.py: at most one level off, whatever the picture and box."""

import io
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fastpt.jpeg import entropy, kernel
from tests.jpeg import reference
from tests.jpeg.reference import SAMPLINGS, encoded, optimized, resaved

SIZES = [(1, 1), (7, 9), (16, 16), (17, 1000), (130, 97), (40, 300)]  # height, width
LEVELS = {"plain": 0, "SSE2": 1, "AVX2": 2}


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def edges(height: int, width: int, seed: int = 0) -> np.ndarray:
    blocks = 255 * np.random.default_rng(seed).integers(0, 2, (height // 5 + 1, width // 5 + 1, 3), np.uint8)
    return blocks.repeat(5, 0).repeat(5, 1)[:height, :width]


def flat(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.full((height, width, 3), np.random.default_rng(seed).integers(0, 256, 3, np.uint8))


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    grain = np.random.default_rng(seed).integers(-8, 9, (height, width, 3))
    return (cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) + grain).clip(0, 255).astype(np.uint8)


PICTURES = {"noise": noise, "edges": edges, "flat": flat, "smooth": smooth}


def some_boxes(height: int, width: int, count: int, seed: int = 0) -> np.ndarray:
    """Boxes int32 [count, 4] in a picture: all of it, some at each of its borders, others anywhere."""
    rng = np.random.default_rng(seed)
    boxes = [(0, 0, height, width)]
    while len(boxes) < count:
        h, w = rng.integers(1, height + 1), rng.integers(1, width + 1)
        low, right = height - h, width - w
        top, left = [(0, rng.integers(right + 1)), (low, right), rng.integers((low + 1, right + 1))][len(boxes) % 3]
        boxes.append((top, left, h, w))
    return np.array(boxes, np.int32)


def decoded(jpeg: bytes, shape: tuple[int, int], box, size: int, interpolation="area", flip=False) -> np.ndarray:
    """uint8 [size, size, 3]; fails where the picture is left to another decoder."""
    image, status = attempt(jpeg, shape, box, size, interpolation, flip)
    assert status == kernel.DECODED
    return image


def attempt(jpeg: bytes, shape: tuple[int, int], box, size: int, interpolation="area", flip=False):
    image = np.full((size, size, 3), 77, np.uint8)
    stored = np.frombuffer(jpeg, np.uint8)
    return image, kernel.decode_one(stored, np.array(shape), np.array(box), flip, interpolation, image)


def with_entry_points(jpeg: bytes, shape: tuple[int, int]) -> bytes:
    noted = entropy.note_entry_points(jpeg, shape[::-1])
    assert noted.has_entry_points
    return noted.jpeg


def assert_right(jpeg: bytes, sampling: str, shape: tuple[int, int], box, size: int, interpolation: str) -> None:
    ours = decoded(jpeg, shape, box, size, interpolation)
    assert np.abs(ours - reference.crop(jpeg, sampling, box, size, interpolation)).max() < 1


@pytest.fixture(params=LEVELS)
def level(request):
    """Decode by one set of instructions, then by the best again."""
    library = kernel.kernel()
    if not library.fastpt_decoder_level(LEVELS[request.param]):
        pytest.skip(f"no {request.param} here")
    yield request.param
    assert any(library.fastpt_decoder_level(number) for number in (2, 1, 0))


@pytest.mark.parametrize("interpolation", kernel.INTERPOLATIONS)
@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_pixels_are_at_most_a_level_off(sampling, kind, interpolation):
    rng = np.random.default_rng(0)
    for height, width in SIZES:
        jpeg = encoded(PICTURES[kind](height, width), sampling)
        for box in some_boxes(height, width, 4):
            assert_right(jpeg, sampling, (height, width), box, int(rng.integers(4, 60)), interpolation)


@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:0"])
@pytest.mark.parametrize("kind", ["noise", "smooth"])
def test_every_quality_is_decoded_right(kind, sampling):
    for quality in range(1, 101):
        jpeg = encoded(PICTURES[kind](61, 83), sampling, quality)
        assert_right(jpeg, sampling, (61, 83), (5, 9, 50, 64), 31, "area")


def test_the_same_pixels_by_every_level(level):
    for sampling in SAMPLINGS:
        for kind, draw in PICTURES.items():
            jpeg = encoded(draw(130, 97), sampling, 95)
            for interpolation in kernel.INTERPOLATIONS:
                ours = decoded(jpeg, (130, 97), (9, 5, 111, 83), 45, interpolation)
                kernel.kernel().fastpt_decoder_level(0)
                plain = decoded(jpeg, (130, 97), (9, 5, 111, 83), 45, interpolation)
                kernel.kernel().fastpt_decoder_level(LEVELS[level])
                assert np.array_equal(ours, plain), (sampling, kind, interpolation)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_entry_points_make_no_difference(sampling):
    for height, width in ((130, 97), (90, 300), (300, 33)):
        for quality in (30, 100):
            jpeg = encoded(noise(height, width), sampling, quality)
            entered = with_entry_points(jpeg, (height, width))
            for box in some_boxes(height, width, 12):
                plain = decoded(jpeg, (height, width), box, 24)
                assert np.array_equal(decoded(entered, (height, width), box, 24), plain)


def test_what_was_decoded_before_makes_no_difference():
    jpegs = [encoded(draw(h, w), sampling) for sampling in SAMPLINGS for draw in PICTURES.values() for h, w in SIZES]
    shapes = len(SAMPLINGS) * len(PICTURES) * SIZES
    cases = [(jpegs[k], shape, (0, 0, *shape), 20 + k % 30) for k, shape in enumerate(shapes)]

    def alone(case):
        with ThreadPoolExecutor(1) as thread:  # a new one, with a decoder that has decoded nothing
            return thread.submit(decoded, *case).result()

    fresh = [alone(case) for case in cases]
    for k in np.random.default_rng(0).permutation(len(cases)).tolist():
        assert np.array_equal(decoded(*cases[k]), fresh[k])


def test_threads_do_not_mix_their_pictures():
    jpegs = [with_entry_points(encoded(noise(200, 220, seed), quality=70), (200, 220)) for seed in range(8)]
    one_by_one = [decoded(jpeg, (200, 220), (3, 5, 190, 201), 64) for jpeg in jpegs]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda k: decoded(jpegs[k % 8], (200, 220), (3, 5, 190, 201), 64), range(400)))
    assert all(np.array_equal(image, one_by_one[k % 8]) for k, image in enumerate(together))


@pytest.mark.parametrize("interpolation", kernel.INTERPOLATIONS)
@pytest.mark.parametrize("size", [1, 15, 16, 31, 50])
def test_a_flip_mirrors(interpolation, size):
    jpeg = encoded(smooth(120, 90))
    for box in some_boxes(120, 90, 5):
        upright, mirrored = (decoded(jpeg, (120, 90), box, size, interpolation, flip) for flip in (False, True))
        assert np.array_equal(upright, mirrored[:, ::-1])


def test_one_colour_stays_one_colour():
    jpeg = encoded(flat(200, 300))
    for interpolation in kernel.INTERPOLATIONS:
        image = decoded(jpeg, (200, 300), (1, 2, 133, 277), 99, interpolation)
        assert (image == image[0, 0]).all()


def test_a_box_that_doubles_repeats_every_pixel():
    jpeg = encoded(smooth(120, 90), "4:4:4")
    whole = np.array(Image.open(io.BytesIO(jpeg)))
    image = decoded(jpeg, (120, 90), (40, 21, 32, 32), 64)
    assert np.array_equal(image[::2, ::2], image[1::2, 1::2])
    assert np.abs(image[::2, ::2].astype(int) - whole[40:72, 21:53]).max() <= 1


@pytest.mark.parametrize(
    "settings",
    [
        {"optimize": True},
        {"optimize": True, "quality": 100},
        {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"},
        {"icc_profile": 150_000 * b"p"},
        {"comment": b"\xff\xd9 no end \xff\xda"},
    ],
    ids=str,
)
@pytest.mark.parametrize("sampling", ["4:2:0", "grey"])
def test_tables_and_segments_of_any_kind_are_read(sampling, settings):
    jpeg = resaved(encoded(smooth(130, 97), sampling), **settings)
    for entered in (jpeg, with_entry_points(jpeg, (130, 97)), jpeg + b"trailing \xff\xd8"):
        assert_right(entered, sampling, (130, 97), (30, 20, 81, 77), 40, "bilinear")


@pytest.mark.parametrize(
    "jpeg",
    [
        resaved(encoded(smooth(64, 80)), progressive=True, quality=90),
        resaved(encoded(smooth(64, 80)), restart_marker_blocks=3, quality=90),
        encoded(smooth(64, 81)),
        encoded(smooth(64, 80))[:-300],
        encoded(smooth(64, 80))[:200],
        b"no JPEG at all",
        b"",
    ],
    ids=["progressive", "restarts", "another size", "cut short", "cut in its header", "no JPEG", "nothing"],
)
def test_what_is_out_of_the_ordinary_is_left_to_others(jpeg):
    assert attempt(jpeg, (64, 80), (0, 0, 64, 80), 16)[1] == kernel.UNUSUAL


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, -1, 5, 5), (60, 0, 5, 80), (0, 0, 64, 81), (0, 0, 0, 9)])
def test_a_box_that_is_not_in_the_picture_is_refused(box):
    assert attempt(encoded(smooth(64, 80)), (64, 80), box, 16)[1] == kernel.UNUSUAL


def entry_bytes(jpeg: bytes) -> range:
    """Where the changes between entries stand in a JPEG that has them."""
    start = jpeg.index(b"\xff\xe9")
    return range(start + 14, start + 2 + int.from_bytes(jpeg[start + 2 : start + 4]))


def test_entry_points_that_do_not_fit_are_told_and_do_no_harm():
    shape, box = (200, 300), (0, 0, 140, 300)  # whole rows, from the first one on: each begins where one ended
    jpeg = with_entry_points(encoded(noise(*shape), quality=60), shape)
    right = decoded(jpeg, shape, box, 32)
    statuses = []
    for at in entry_bytes(jpeg):
        changed = bytearray(jpeg)
        changed[at] ^= 0x02
        image, status = attempt(bytes(changed), shape, box, 32)
        assert np.array_equal(image, right)
        statuses.append(status)
    assert set(statuses) == {kernel.DECODED, kernel.MISLED}  # those that are not needed are not looked at
    assert statuses.count(kernel.MISLED) > len(statuses) / 2
    assert statuses[-1] == kernel.DECODED


def corner_boxes(height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Boxes at the lower right corner, of a few rows of MCUs and columns."""
    return [(height - h, width - w, h, w) for h in (1, 20, 50) for w in (1, 30, 90, width)]


@pytest.mark.parametrize("kind", ["smooth", "edges"])
@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:0", "4:1:1", "grey"])
def test_stale_entry_points_are_told_whatever_the_box(sampling, kind):
    for shape in ((120, 120), (150, 400)):
        jpeg = with_entry_points(encoded(PICTURES[kind](*shape), sampling, 20), shape)
        stale, right = optimized(jpeg), resaved(jpeg, optimize=True)
        for box in [*some_boxes(*shape, 40), *corner_boxes(*shape)]:
            image, status = attempt(stale, shape, box, 16)
            assert status == kernel.MISLED, (shape, box)
            assert np.array_equal(image, decoded(right, shape, box, 16))


def test_the_entry_points_of_another_picture_are_told_and_do_no_harm():
    shape = (200, 300)
    one, other = (with_entry_points(encoded(noise(*shape, seed)), shape) for seed in (0, 1))
    length = entry_bytes(one).stop
    mixed = one[:length] + other[entry_bytes(other).stop :]
    for box in [*some_boxes(*shape, 40), *corner_boxes(*shape)]:
        image, status = attempt(mixed, shape, box, 32)
        assert status == kernel.MISLED, box
        assert np.array_equal(image, decoded(other, shape, box, 32))


@pytest.mark.parametrize("entered", [False, True], ids=["from the start", "with entry points"])
def test_hostile_bytes_harm_nothing(entered):
    rng, shape = np.random.default_rng(0), (64, 120)
    sane = encoded(noise(*shape), quality=50)
    sane = with_entry_points(sane, shape) if entered else sane
    for _ in range(1000):
        hostile = bytearray(sane[: rng.integers(1, len(sane) + 1)] if rng.random() < 0.3 else sane)
        for at in rng.integers(0, len(hostile), rng.integers(1, 6)):
            hostile[at] = rng.integers(256)
        attempt(bytes(hostile), shape, some_boxes(*shape, 4)[rng.integers(4)], 16)
    assert attempt(sane, shape, (0, 0, *shape), 16)[1] == kernel.DECODED  # and it still does its work


def test_photos_come_out_as_if_they_were_decoded_whole():
    folder = os.environ.get("FASTPT_REAL_DATA")
    if not folder:
        pytest.skip("FASTPT_REAL_DATA does not name a folder of real images")
    ratios, rng = [], np.random.default_rng(0)
    with tarfile.open(Path(folder) / "photos_fullsize.tar") as tar:
        for member in [member for member in tar if member.name.endswith(".jpg")][::5]:
            pixels = np.array(Image.open(tar.extractfile(member)).convert("RGB"))
            scale = 500 / max(pixels.shape)
            pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            jpeg, (height, width, _) = encoded(pixels), pixels.shape
            h, w = (int(side * rng.uniform(0.6, 1)) for side in (height, width))
            top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
            whole = np.array(Image.open(io.BytesIO(jpeg)))[top : top + h, left : left + w]
            theirs = cv2.resize(whole, (224, 224), interpolation=cv2.INTER_AREA).astype(float)
            ours = decoded(jpeg, (height, width), (top, left, h, w), 224)
            ratios.append(10 * np.log10(255**2 / np.square(ours - theirs).mean()))
    assert min(ratios) > 45
