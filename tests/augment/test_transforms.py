import random

import numpy as np
import pytest
import torch
from timm.data.random_erasing import RandomErasing
from torchvision.transforms.v2 import functional as v2

from fastpt.augment import transforms
from fastpt.augment.randaugment import randaugment
from fastpt.augment.transforms import (
    JITTERS,
    color_jitter,
    gaussian_blur,
    grayscale,
    normalize,
    random_erasing,
)
from tests.augment.pictures import keys, pictures


def test_floats_are_normalised_and_channels_last():
    images = pictures()
    floats = normalize(images, (0.5, 0.4, 0.3), (0.1, 0.2, 0.3))
    expected = (images.numpy() / 255 - (0.5, 0.4, 0.3)) / (0.1, 0.2, 0.3)
    assert floats.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(floats.permute(0, 2, 3, 1), expected, atol=1e-5)


TRANSFORMS = {
    "randaugment": lambda images, keys: randaugment(images, 7, 0.5, keys, (124, 116, 104), bicubic=True),
    "color_jitter": lambda images, keys: color_jitter(images, 0.4, 0.4, 0.4, 0.1, keys, probability=0.8),
    "grayscale": lambda images, keys: grayscale(images, 0.5, keys),
    "gaussian_blur": lambda images, keys: gaussian_blur(images, 0.5, keys),
    "random_erasing": lambda images, keys: random_erasing(normalize(images, (0, 0, 0), (1, 1, 1)), 0.5, keys),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_what_a_picture_goes_through_follows_from_its_key_and_not_from_its_batch(transform):
    images, some = pictures(24), torch.randperm(24, generator=torch.Generator().manual_seed(0))[:10]
    whole = transform(images, keys(24))
    torch.testing.assert_close(transform(images[some], keys(24)[some]), whole[some], rtol=0, atol=1e-5)
    assert not torch.equal(transform(images, keys(24, seed=1)), whole)


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_transforms_take_an_empty_batch_and_leave_their_input_alone(transform):
    assert len(transform(pictures(1)[:0], keys(0))) == 0
    images = pictures()
    transform(images, keys(6))
    assert torch.equal(images, pictures())


FACTORS = torch.tensor([0.6, 0.8, 1.0, 1.1, 1.3, 1.4])
SHARES = torch.tensor([-0.5, -0.2, 0.0, 0.1, 0.25, 0.5])


@pytest.mark.parametrize(
    ("operation", "theirs", "factors"),
    zip(
        JITTERS,
        (v2.adjust_brightness, v2.adjust_contrast, v2.adjust_saturation, v2.adjust_hue),
        (FACTORS, FACTORS, FACTORS, SHARES),
        strict=True,
    ),
    ids=["brightness", "contrast", "saturation", "hue"],
)
def test_jitters_are_those_of_torchvision(operation, theirs, factors):
    pixels = pictures().permute(0, 3, 1, 2).float()
    ours = operation(pixels, factors).clamp(0, 255)
    expected = torch.stack([theirs(picture / 255, float(f)) for picture, f in zip(pixels, factors, strict=True)])
    torch.testing.assert_close(ours, expected * 255, rtol=0, atol=0.1)


def test_color_jitter_draws_factors_orders_and_pictures(monkeypatch):
    seen = []

    def spy(index):
        return lambda pixels, factors: seen.append((index, factors, pixels)) or pixels

    monkeypatch.setattr(transforms, "JITTERS", tuple(spy(index) for index in range(4)))
    number = torch.arange(20_000)
    images = torch.stack([number % 256, number // 256, 0 * number], 1).to(torch.uint8).view(-1, 1, 1, 3)
    color_jitter(images, 0.4, 0.3, 0.2, 0.1, keys(20_000), probability=0.8)
    met = [[one[:2, 0, 0].tolist() for i, _, pixels in seen if i == index for one in pixels] for index in range(4)]
    assert sorted(met[0]) == sorted(met[1]) == sorted(met[2]) == sorted(met[3])  # each picture meets each of the four
    assert len({*map(tuple, met[0])}) == len(met[0])  # once
    for index, (low, high) in enumerate([(0.6, 1.4), (0.7, 1.3), (0.8, 1.2), (-0.1, 0.1)]):
        factors = [factors for i, factors, _ in seen if i == index]
        assert all(abs(len(part) - 4000) < 300 for part in factors)  # a quarter of 80 % in each of the four turns
        factors = torch.cat(factors)
        assert low <= factors.min() < low + 0.01
        assert high - 0.01 < factors.max() <= high
        assert abs(factors.mean() - (low + high) / 2) < 0.01


def test_a_jitter_of_more_than_all_draws_no_factor_below_0(monkeypatch):
    seen = []
    monkeypatch.setattr(transforms, "JITTERS", (lambda pixels, factors: seen.append(factors) or pixels,) * 4)
    color_jitter(torch.zeros(9000, 1, 1, 3, dtype=torch.uint8), 2.0, 0, 0, 0, keys(9000))
    factors = torch.cat(seen)
    assert 0 < factors.min() < 0.01
    assert abs(factors.mean() - 1.5) < 0.05  # uniform from 0 to 3, as torchvision draws it


def test_grey_is_that_of_torchvision():
    images, probability = pictures(400, size=8), 0.3
    out = grayscale(images, probability, keys(400))
    changed = (out != images).flatten(1).any(1)
    assert 0.22 < changed.float().mean() < 0.38
    expected = v2.rgb_to_grayscale(images[changed].permute(0, 3, 1, 2), 3).permute(0, 2, 3, 1)
    assert (out[changed].int() - expected.int()).abs().max() <= 1


def test_blur_is_that_of_torchvision():
    pixels = pictures().permute(0, 3, 1, 2).float()
    sigmas = torch.tensor([0.1, 0.5, 1.0, 1.5, 1.9, 2.0])
    expected = [v2.gaussian_blur(p, [13, 13], [float(s)] * 2) for p, s in zip(pixels, sigmas, strict=True)]
    torch.testing.assert_close(transforms._blur(pixels, sigmas, 6), torch.stack(expected), rtol=0, atol=0.01)


def test_blur_is_that_of_timm_to_within_a_level():
    """timm's kernel reaches 11 pixels at every width; beyond three widths there is next to nothing of a Gaussian."""
    pixels, sigmas = pictures().permute(0, 3, 1, 2).float(), torch.full((6,), 2.0)
    expected = v2.gaussian_blur(pixels, [23, 23], [2.0, 2.0])
    torch.testing.assert_close(transforms._blur(pixels, sigmas, 6), expected, rtol=0, atol=1)


def test_erasing_cuts_the_rectangles_of_timm():
    """Share of pictures, of area and its spread, and shapes, against timm's own on as many pictures."""
    count, size = 2000, 32
    ours = random_erasing(torch.zeros(count, 3, size, size), 0.4, keys(count)) != 0
    random.seed(0)
    theirs = RandomErasing(0.4, mode="pixel", device="cpu")(torch.zeros(count, 3, size, size)) != 0
    for erased in (ours, theirs):  # a rectangle: its rows times its columns
        spread = erased[:, 0].any(2).sum(1) * erased[:, 0].any(1).sum(1)
        assert torch.equal(spread, erased[:, 0].sum((1, 2)))
    areas = [erased[:, 0].float().mean((1, 2)) for erased in (ours, theirs)]
    assert abs((areas[0] > 0).float().mean() - 0.4) < 0.04
    assert abs(areas[0].sum() / areas[1].sum() - 1) < 0.1
    assert abs(areas[0][areas[0] > 0].std() - areas[1][areas[1] > 0].std()) < 0.01
    sides = [(erased[:, 0].any(2).sum(1), erased[:, 0].any(1).sum(1)) for erased in (ours, theirs)]
    shapes = [torch.log(high[high > 0] / wide[wide > 0]) for high, wide in sides]
    for share in (0.1, 0.3, 0.7, 0.9):  # height to width
        assert abs(shapes[0].quantile(share) - shapes[1].quantile(share)) < 0.2
    middles = [erased[:, 0].float().mean(0) / erased[:, 0].float().mean() for erased in (ours, theirs)]
    assert (middles[0] - middles[1]).abs().max() < 0.35  # as often in every place


def test_what_is_erased_is_normal_noise():
    noise = random_erasing(torch.zeros(200, 3, 32, 32), 1.0, keys(200))
    noise = noise[noise != 0]
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
