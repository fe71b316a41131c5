import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from fastpt.errors import FastptError
from fastpt.tuning.corruptions import Corruption, corrupted
from fastpt.tuning.suite_files import load_suite
from tests.tuning.test_suites import write

GREY = np.full((3, 40, 40, 3), 128, np.uint8)
KEYS = ["a.jpg", "b.jpg", "c.jpg"]


def test_noise_has_the_sd_that_is_asked_for():
    change = corrupted(GREY, KEYS, Corruption(noise=30)).astype(float) - 128
    assert abs(change.mean()) < 1
    assert change.std() == pytest.approx(30, abs=0.6)  # of 14,400 draws: 4 standard errors


def test_noise_goes_by_key_and_seed_and_not_by_the_batch():
    whole = corrupted(GREY, KEYS, Corruption(noise=30))
    assert (corrupted(GREY[:1], ["c.jpg"], Corruption(noise=30))[0] == whole[2]).all()
    assert (whole[0] != whole[1]).any()
    assert (corrupted(GREY, KEYS, Corruption(noise=30, seed=1)) != whole).any()


def test_the_same_noise_is_added_to_what_any_decoder_gives():
    changes = [corrupted(GREY + shift, KEYS, Corruption(noise=10)).astype(int) - GREY - shift for shift in (0, 1)]
    assert (changes[0] == changes[1]).all()


def test_noise_is_the_same_on_any_machine():
    assert corrupted(GREY[:1], ["a.jpg"], Corruption(noise=30))[0, 0, :2].tolist() == [[142, 94, 145], [125, 150, 130]]


def test_blur_is_in_pixels_of_224():
    images = np.random.default_rng(0).integers(0, 256, (1, 56, 56, 3)).astype(np.uint8)
    wanted = images.astype(float)
    for axis in (1, 2):
        wanted = gaussian_filter1d(wanted, 1.0, axis, mode="nearest")
    assert np.abs(corrupted(images, ["a"], Corruption(blur=4)) - wanted).max() <= 0.51


def test_corruptions_that_mean_nothing_are_refused(tmp_path):
    def suite(train="a", **corruption):
        tests = {"t": {"split": "a", "corruption": corruption}}
        return write(tmp_path, {"name": "x", "ood": [{"name": "s", "train": train, "tests": tests}]})

    for wrong, message in (
        ({}, "neither or both of noise and blur"),
        ({"noise": 1, "blur": 1}, "neither or both of noise and blur"),
        ({"noise": -1}, "greater than 0"),
        ({"blurr": 1}, "did you mean .*blur"),
    ):
        with pytest.raises(FastptError, match=message):
            load_suite(suite(**wrong))
    with pytest.raises(FastptError, match="corrupts what heads are trained on"):
        load_suite(suite(train={"split": "a", "corruption": {"blur": 1}}, blur=1))
