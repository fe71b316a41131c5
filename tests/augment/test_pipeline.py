import numpy as np
import pytest
import torch

from fastpt.augment.config import Augment
from fastpt.augment.pipeline import augmented
from fastpt.augment.transforms import normalize

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (16, 24, 24, 3), dtype=np.uint8))
KEYS = torch.arange(16) * 2**40 + 7


def changed(**settings) -> torch.Tensor:
    """Which pictures differ from their merely normalised selves, bool [16]."""
    out = augmented(IMAGES, KEYS, Augment(**settings), "bicubic", MEAN, STD)
    return (out != normalize(IMAGES, MEAN, STD)).flatten(1).any(1)


def test_nothing_but_normalising_happens_unless_asked():
    assert not changed().any()


@pytest.mark.parametrize(
    "settings",
    [{"color_jitter": (0.4, 0.4, 0.4, 0.1)}, {"grayscale": 1.0}, {"blur": 1.0}, {"random_erasing": 1.0}],
    ids=lambda settings: next(iter(settings)),
)
def test_each_key_of_the_recipe_reaches_the_pixels(settings):
    assert changed(**settings).sum() > 10  # a blur of 0.1 pixels is none


@pytest.mark.parametrize(
    "settings",
    [
        {"color_jitter": (0.4, 0.4, 0.4, 0.1), "color_jitter_probability": 0.5},
        {"grayscale": 0.5},
        {"blur": 0.5},
        {"random_erasing": 0.5},
        {"randaugment": "m7-std0.5"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_shares_of_the_pictures_are_left_alone(settings):
    assert 0 < changed(**settings).sum() < 16
