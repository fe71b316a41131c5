import numpy as np
import pytest
import timm.data
import torch
from PIL import Image
from timm.data import auto_augment

from fastpt.augment import pipeline
from fastpt.augment import randaugment as module
from fastpt.augment.config import Augment
from fastpt.augment.randaugment import apply, randaugment
from tests.augment.pictures import keys, pictures
from tools.bench.launches import Count

NAMES = auto_augment._RAND_INCREASING_TRANSFORMS
FILL = (124, 116, 104)
PIL_NAMES = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
MAGNITUDES = (*range(11), 6.83)


def timms(interpolation: str) -> auto_augment.RandAugment:
    """RandAugment as timm's training makes it of the published string."""
    made = timm.data.create_transform(
        224, is_training=True, auto_augment="rand-m7-mstd0.5-inc1", interpolation=interpolation
    )
    return next(step for step in made.transforms if isinstance(step, auto_augment.RandAugment))


@pytest.mark.parametrize("interpolation", PIL_NAMES)
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("index", "name"), enumerate(NAMES), ids=NAMES)
def test_each_operation_gives_timms_picture_at_each_magnitude(monkeypatch, index, name, sign, interpolation):
    """No level differs by more than 1, and at most one in ten does: a fraction of .0 may be dropped as one of .999."""
    monkeypatch.setattr(auto_augment, "_randomly_negate", lambda value: sign * value)
    theirs = timms(interpolation).ops[index]
    assert theirs.name == name
    theirs.prob, theirs.magnitude_std = 1.0, 0
    images = pictures(size=(40, 56))
    for magnitude in MAGNITUDES:
        if (name, magnitude) == ("PosterizeIncreasing", 10):
            continue  # no bit is left, which Pillow refuses
        theirs.magnitude = magnitude
        expected = torch.stack([torch.from_numpy(np.array(theirs(Image.fromarray(x.numpy())))) for x in images])
        drawn, levels = torch.full((len(images),), index), torch.full((len(images),), sign * magnitude / 10)
        ours = apply(images, drawn, levels, FILL, interpolation == "bicubic")
        difference = (ours.int() - expected.int()).abs()
        assert difference.max() <= 1, magnitude
        assert (difference > 0).float().mean() < 0.1, magnitude


@pytest.mark.parametrize("interpolation", PIL_NAMES)
def test_a_recipe_fills_and_interpolates_as_timm_does(monkeypatch, interpolation):
    asked = {}
    monkeypatch.setattr(
        pipeline, "randaugment", lambda images, *rest, **named: asked.update(named, rest=rest) or images
    )
    augment = Augment(randaugment="m7-std0.5")
    mean, std = timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD
    pipeline.augmented(pictures(), keys(6), augment, interpolation, mean, std)
    magnitude, spread, _, fill = asked["rest"]
    for theirs in timms(interpolation).ops:
        assert theirs.kwargs == {"fillcolor": tuple(fill), "resample": PIL_NAMES[interpolation]}
        assert asked["bicubic"] == (interpolation == "bicubic")
        assert (theirs.magnitude, theirs.magnitude_std, theirs.prob) == (magnitude, spread, 0.5)
        assert theirs.magnitude_max is None
    assert timms(interpolation).num_layers == module.TURNS
    assert timms(interpolation).choice_weights is None


def test_a_flat_picture_keeps_its_colour_wherever_it_is_moved():
    flat = torch.full((4, 24, 24, 3), 201, dtype=torch.uint8)
    levels = torch.tensor([-0.9, -0.31, 0.27, 0.77])
    for bicubic in (False, True):
        for operation in (module.ROTATE, *module.ALONG_X, *module.ALONG_Y):
            assert torch.equal(apply(flat, torch.full((4,), operation), levels, (201, 201, 201), bicubic), flat)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_picture_goes_through_what_it_drew_and_nothing_else(monkeypatch, compiled):
    """Beside those that drew others, or nothing, as by itself; a compiled batch's kinds are filled up to two."""
    monkeypatch.setattr(module, "_compiled", lambda: module._applied)
    images, drawn = pictures(16, (20, 33)), torch.arange(-1, 15)
    levels = torch.linspace(-1, 1, 16)
    expected = [apply(images[i : i + 1], drawn[i : i + 1], levels[i : i + 1], FILL, True) for i in range(16)]
    assert torch.equal(expected[0][0], images[0])
    for some in (torch.arange(16), torch.arange(15, -1, -1), *torch.arange(16).split(2), *torch.arange(16).split(3)):
        found = apply(images[some], drawn[some], levels[some], FILL, True, compiled)
        assert torch.equal(found, torch.cat([expected[i] for i in some]))


@pytest.mark.long
def test_one_compiled_graph_serves_batches_of_every_size_and_draw(monkeypatch):
    """With nothing left out of it (`fullgraph`), and to the pixel; captured here, not written as C++ or Triton."""
    graphs = []
    monkeypatch.setattr(module, "BACKEND", lambda graph, inputs: graphs.append(graph) or graph)
    module._compiled.cache_clear()
    for seed, (count, size) in enumerate([(16, (32, 32)), (16, (32, 32)), (17, (40, 40)), (12, (24, 40)), (3, (9, 9))]):
        batch = pictures(count + 1, size)[1:], 7, 0.5, keys(count, seed), FILL  # a view
        assert torch.equal(randaugment(*batch, bicubic=True, compiled=True), randaugment(*batch, bicubic=True))
    module._compiled.cache_clear()
    assert len(graphs) == 1


def test_a_batch_takes_as_many_operations_however_many_pictures_it_has():
    def operations(pictures_: int) -> int:
        count = Count()
        with count:
            count.on_a_device(randaugment, pictures(pictures_), 7, 0.5, keys(pictures_), FILL, True)
        return count.operations["augmentation"]

    assert operations(64) == operations(256) <= 420


def test_pictures_draw_for_themselves():
    images = pictures(1).expand(64, -1, -1, -1).contiguous()
    out = randaugment(images, 7, 0.5, keys(64), FILL, bicubic=True)
    assert out.dtype == torch.uint8
    assert out.shape == images.shape
    assert len(torch.unique(out.flatten(1), dim=0)) > 30
    unchanged = (out == images).flatten(1).all(1).float().mean()
    assert 0.1 < unchanged < 0.45  # two operations, each left out with probability one half


def test_randaugment_draws_as_timm_does(monkeypatch):
    """How often each operation is applied, and at which levels, over many pictures."""
    seen = []
    monkeypatch.setattr(module, "apply", lambda images, *drawn: seen.append(drawn[:2]) or images)
    randaugment(torch.zeros(30_000, 1, 1, 3, dtype=torch.uint8), 7, 0.5, keys(30_000), FILL, bicubic=True)
    drawn, levels = (torch.cat(each) for each in zip(*seen, strict=True))
    counts, levels = np.bincount(drawn[drawn >= 0]), levels[drawn >= 0]
    assert ((counts - 2000) ** 2 / 2000).sum() < 45  # 14 degrees, p < 1e-4
    assert abs((levels > 0).float().mean() - 0.5) < 0.02
    assert abs(levels.abs().mean() - 0.7) < 0.002
    assert abs(levels.abs().std() - 0.05) < 0.002
