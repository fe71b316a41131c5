import numpy as np
import pytest
import torch
from torchvision.transforms import RandomResizedCrop

from fastpt.loading import crops
from fastpt.loading.crops import center_crops, random_resized_crops

N = 4000


def boxes_of(width, height, n=N, seed=0, epoch=0, views=0, **settings):
    sizes = np.full(n, width), np.full(n, height)
    return random_resized_crops(*sizes, np.arange(n), np.full(n, views), seed, epoch, **settings)


def assert_same_distribution(ours, theirs):
    """The Kolmogorov-Smirnov test of two samples of N, at p = 0.001."""
    both = np.concatenate([ours, theirs])
    below = [np.searchsorted(np.sort(sample), both, side="right") / N for sample in (ours, theirs)]
    assert np.abs(below[0] - below[1]).max() < 1.95 * np.sqrt(2 / N)


@pytest.mark.parametrize(("width", "height"), [(500, 375), (64, 64), (200, 1000), (1000, 100), (3, 2), (1, 1)])
@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.5, 0.6)])
def test_boxes_lie_within_the_picture(width, height, scale):
    boxes, flips = boxes_of(width, height, scale=scale)
    assert boxes.dtype == np.int32
    assert flips.dtype == bool
    top, left, box_height, box_width = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (box_height >= 1).all()
    assert (box_width >= 1).all()
    assert (top + box_height <= height).all()
    assert (left + box_width <= width).all()


@pytest.mark.parametrize(("width", "height"), [(500, 375), (300, 900)])
def test_boxes_are_distributed_as_those_of_torchvision(width, height):
    boxes, flips = boxes_of(width, height)
    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    theirs = np.array([RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(N)])
    for ours, other in zip(boxes.T, theirs.T, strict=True):
        assert_same_distribution(ours, other)
    assert_same_distribution(boxes[:, 2] * boxes[:, 3], theirs[:, 2] * theirs[:, 3])
    assert_same_distribution(boxes[:, 3] / boxes[:, 2], theirs[:, 3] / theirs[:, 2])
    assert abs(flips.mean() - 0.5) < 0.03


def test_where_no_draw_fits_the_central_box_of_the_nearest_ratio_is_taken_as_in_torchvision():
    for width, height in [(1000, 20), (20, 1000)]:
        boxes, _ = boxes_of(width, height, n=1, scale=(1, 1))
        image = torch.empty(3, height, width)
        assert tuple(boxes[0]) == RandomResizedCrop.get_params(image, [1, 1], [3 / 4, 4 / 3])


def test_a_box_follows_from_its_own_key_alone():
    widths, heights = np.random.default_rng(0).integers(50, 500, (2, 200))
    ids, views = np.arange(200), np.arange(200) % 3
    whole, whole_flips = random_resized_crops(widths, heights, ids, views, seed=5, epoch=7)
    some = np.random.default_rng(1).permutation(200)[:31]
    part, part_flips = random_resized_crops(widths[some], heights[some], ids[some], views[some], seed=5, epoch=7)
    assert np.array_equal(part, whole[some])
    assert np.array_equal(part_flips, whole_flips[some])


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}, {"views": 1}])
def test_seed_epoch_and_view_each_change_the_box(change):
    boxes, flips = boxes_of(500, 375)
    others, other_flips = boxes_of(500, 375, **change)
    assert np.mean((boxes == others).all(axis=1)) < 0.01
    assert abs(np.mean(flips == other_flips) - 0.5) < 0.03
    assert abs(np.corrcoef(boxes[:, 0], others[:, 0])[0, 1]) < 0.06


def test_boxes_are_pinned():
    """A change of the boxes would silently break resuming runs of an older fastpt: raise STATE_FORMAT with it."""
    boxes, flips = boxes_of(500, 375, n=2)
    assert boxes.tolist() == [[45, 156, 246, 267], [152, 218, 189, 250]]
    assert flips.tolist() == [True, False]


def test_center_crop_is_the_central_square_of_the_fraction_of_the_shorter_side():
    boxes = center_crops(np.array([500, 375, 64, 1]), np.array([375, 500, 64, 9]), fraction=0.875)
    assert boxes.dtype == np.int32
    assert boxes.tolist() == [[23, 86, 328, 328], [86, 23, 328, 328], [4, 4, 56, 56], [4, 0, 1, 1]]


@pytest.mark.parametrize("ratio", [(3 / 4, 4 / 3), (1.0, 1.0), (1e-9, 1e9), (0.1, 0.2), (2.0, 30.0)])
@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.5, 0.6), (1.0, 1.0), (1e-4, 0.01)])
def test_boxes_drawn_in_c_are_those_of_python_to_the_bit(ratio, scale, monkeypatch):
    """A million draws of boxes in all, over pictures from 1 to 65,535 pixels a side."""
    rng = np.random.default_rng(0)
    widths, heights = np.exp(rng.uniform(0, np.log(65536), (2, 50_000))).astype(np.uint16)
    ids, views = rng.integers(0, 2**32, 50_000), rng.integers(0, 9, 50_000).astype(np.int8)
    assert crops._library() is not None
    arguments = (widths, heights, ids, views, 2**64 - 1, 7, scale, ratio)
    boxes, flips = random_resized_crops(*arguments)
    central = center_crops(widths, heights, scale[0])
    monkeypatch.setattr(crops, "_library", lambda: None)
    expected, expected_flips = random_resized_crops(*arguments)
    assert np.array_equal(boxes, expected)
    assert np.array_equal(flips, expected_flips)
    assert np.array_equal(central, center_crops(widths, heights, scale[0]))
    assert (boxes.dtype, flips.dtype, central.dtype) == (np.int32, bool, np.int32)


def test_no_pictures_have_no_boxes():
    none = np.zeros(0, np.int64)
    boxes, flips = random_resized_crops(none, none, none, none, 0, 0)
    assert (boxes.shape, flips.shape, center_crops(none, none, 1.0).shape) == ((0, 4), (0,), (0, 4))


@pytest.mark.parametrize(("bound", "ulps"), [(0.3, 1.0), (700.0, 1.2)])
def test_our_exponential_is_within_about_an_ulp(bound, ulps):
    x = np.random.default_rng(0).uniform(-bound, bound, 1_000_000)
    exact = np.exp(x.astype(np.longdouble))
    assert np.abs((crops.exp(x) - exact) / np.spacing(exact.astype(np.float64))).max() < ulps
    assert crops.exp(np.zeros(1)) == 1
