import cv2
import numpy as np
import pytest

from datasets_prep.images import area

pytestmark = pytest.mark.skipif(area._library() is None, reason="_area.c was not built")


def plane(height: int, width: int) -> np.ndarray:
    return np.random.default_rng([height, width]).integers(0, 256, (height, width), np.uint8)


def test_the_pixels_are_those_of_opencv_up_to_rounding():
    rng = np.random.default_rng(0)
    for width, height in rng.integers(1, 150, (200, 2)):
        size = int(rng.integers(1, width + 1)), int(rng.integers(1, height + 1))
        ours, theirs = (
            function(plane(height, width), size).astype(int)
            for function in (area.resize, lambda p, s: cv2.resize(p, s, interpolation=cv2.INTER_AREA))
        )
        assert np.abs(ours - theirs).max() <= 1


def test_a_flat_plane_stays_flat_at_every_value():
    for value in (0, 1, 127, 254, 255):
        assert np.unique(area.resize(np.full((97, 61), value, np.uint8), (41, 53))).tolist() == [value]


def test_rows_may_lie_apart():
    whole = plane(60, 90)
    np.testing.assert_array_equal(area.resize(whole[:, :70], (30, 20)), area.resize(whole[:, :70].copy(), (30, 20)))


def test_the_same_size_is_the_same_plane():
    np.testing.assert_array_equal(area.resize(plane(20, 30), (30, 20)), plane(20, 30))


def test_a_side_that_grows_is_left_to_opencv():
    wide = area.resize(plane(20, 30), (40, 10))
    np.testing.assert_array_equal(wide, cv2.resize(plane(20, 30), (40, 10), interpolation=cv2.INTER_AREA))
