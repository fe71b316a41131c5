"""Planes out of JPEGs and back: libjpeg's samples and bytes, entry points included."""

import io

import numpy as np
import pytest
from PIL import Image

from fastpt.jpeg import entropy, kernel, planes
from tests.jpeg import turbojpeg
from tests.jpeg.reference import SAMPLINGS, encoded, resaved

pytestmark = pytest.mark.skipif(kernel.kernel() is None, reason="fastpt/jpeg was not built")
LEVELS = {"plain": 0, "SSE2": 1, "AVX2": 2}


@pytest.fixture(params=LEVELS.values(), ids=LEVELS)
def level(request):
    library = kernel.kernel()
    if not library.fastpt_decoder_level(request.param):
        pytest.skip("the processor has no such level")
    yield
    any(library.fastpt_decoder_level(number) for number in (2, 1, 0))


def noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """From nearly flat to all that a plane can hold, which asks most of the arithmetic."""
    values = rng.integers(0, rng.integers(1, 257), (height, width), np.uint8)
    return np.where(values > values.mean(), 255, 0).astype(np.uint8) if rng.integers(4) == 0 else values


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_planes_are_those_of_libjpeg(level, sampling):
    rng = np.random.default_rng(0)
    for size in ((1, 1), (16, 16), (17, 23), (130, 97), (40, 300)):
        pixels = rng.integers(0, 256, (*size, 3), np.uint8)
        for quality in (1, 60, 90, 100):
            source = encoded(pixels, sampling, quality)
            found, expected = planes.decode(source, size[::-1]), turbojpeg.decode(source, size[::-1])
            assert found is not None
            assert [plane.shape for plane in found] == [plane.shape for plane in expected]
            assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", ["420", "444", "grey"])
def test_bytes_are_those_of_libjpeg_with_the_entry_points_of_a_walk(level, kind):
    rng = np.random.default_rng(0)
    for _ in range(100):
        height, width = rng.integers(1, 70, 2).tolist()
        quality, by = int(rng.integers(1, 101)), 2 if kind == "420" else 1
        colours = [noise(rng, -(-height // by), -(-width // by)) for _ in range(0 if kind == "grey" else 2)]
        picture, subsampling = [noise(rng, height, width), *colours], "420" if kind == "grey" else kind
        expected = turbojpeg.encode(picture, (width, height), subsampling, quality)
        assert planes.encode(picture, subsampling, quality, entry_points=False) == planes.Encoded(expected, False)
        noted = entropy.note_entry_points(expected, (width, height))
        found = planes.encode(picture, subsampling, quality, entry_points=True)
        assert found == planes.Encoded(noted.jpeg, noted.has_entry_points)


def test_rows_of_planes_may_lie_apart():
    wide = noise(np.random.default_rng(0), 40, 90)
    cut, copied = wide[:, 5:61], np.ascontiguousarray(wide[:, 5:61])
    assert planes.encode([cut], "420", 90, True) == planes.encode([copied], "420", 90, True)


def test_a_picture_with_entry_points_of_others_is_decoded_by_those_that_are_right():
    rng = np.random.default_rng(0)
    source = entropy.note_entry_points(encoded(rng.integers(0, 256, (64, 64, 3), np.uint8)), (64, 64)).jpeg
    lying = bytearray(source)
    at = source.index(b"fastpt\0") + 12
    lying[at] ^= 1
    expected, found = planes.decode(source, (64, 64)), planes.decode(bytes(lying), (64, 64))
    assert expected is not None
    assert found is not None
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"restart_marker_blocks": 2}], ids=["progressive", "restarts"]
)
def test_other_kinds_are_left(options):
    assert planes.decode(resaved(encoded(np.zeros((40, 40, 3), np.uint8)), **options), (40, 40)) is None


@pytest.mark.parametrize("damage", [lambda jpeg: jpeg[:-40], lambda jpeg: jpeg[:-2] + b"\0\0" + jpeg[-2:]])
def test_what_is_not_sound_is_left(damage):
    source = encoded(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    assert planes.decode(damage(source), (40, 40)) is None


def test_another_size_than_the_headers_is_left():
    assert planes.decode(encoded(np.zeros((40, 40, 3), np.uint8)), (40, 41)) is None


def test_noise_at_the_best_quality_has_room_to_be_encoded():
    rng = np.random.default_rng(0)
    pixels = [np.where(rng.random((200, 200)) < 0.5, 0, 255).astype(np.uint8) for _ in range(3)]
    buffer = io.BytesIO(planes.encode(pixels, "444", 100, True).jpeg)
    assert Image.open(buffer).size == (200, 200)
