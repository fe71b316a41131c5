import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import auto_augment

from fastpt.loading import batch_transforms
from fastpt.loading.batch_transforms import OPERATIONS, randaugment, to_floats

NAMES = auto_augment._RAND_INCREASING_TRANSFORMS


def pictures(count: int = 6, size: int = 40) -> torch.Tensor:
    """uint8 [count, size, size, 3], smooth with some noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 5, 5, generator=generator) * 200 + 20
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bicubic")
    smooth += 4 * torch.randn(smooth.shape, generator=generator)
    return smooth.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def test_floats_are_normalised_and_channels_last():
    images = pictures()
    floats = to_floats(images, (0.5, 0.4, 0.3), (0.1, 0.2, 0.3))
    expected = (images.numpy() / 255 - (0.5, 0.4, 0.3)) / (0.1, 0.2, 0.3)
    assert floats.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(floats.permute(0, 2, 3, 1), expected, atol=1e-5)


@pytest.mark.parametrize(("name", "operation"), zip(NAMES, OPERATIONS, strict=True), ids=NAMES)
@pytest.mark.parametrize("sign", [-1, 1])
def test_operations_are_those_of_timm(monkeypatch, name, operation, sign):
    """Each against PIL's, at magnitude 7: equal up to rounding; geometric ones up to interpolation and the border."""
    monkeypatch.setattr(batch_transforms, "_sign", lambda levels: torch.full_like(levels, sign))
    monkeypatch.setattr(auto_augment, "_randomly_negate", lambda value: sign * value)
    images, geometric = pictures(), name.startswith(("Rotate", "Shear", "Translate"))
    pixels = images.permute(0, 3, 1, 2).float()
    ours = operation(pixels, torch.full((len(images),), 0.7)).clamp(0, 255).round().permute(0, 2, 3, 1)
    hparams = {"img_mean": (128, 128, 128), "interpolation": Image.Resampling.BILINEAR}
    apply = auto_augment.AugmentOp(name, prob=1.0, magnitude=7, hparams=hparams)
    theirs = torch.stack([torch.from_numpy(np.array(apply(Image.fromarray(image.numpy())))) for image in images])
    difference = (ours - theirs.float()).abs()
    if geometric:
        assert difference.median() <= 1
        assert (difference > 8).float().mean() < 0.06  # along the moved border
    else:
        assert difference.max() <= 2


def test_pictures_draw_for_themselves():
    torch.manual_seed(0)
    images = pictures(1).expand(64, -1, -1, -1).contiguous()
    out = randaugment(images, 7, 0.5)
    assert out.dtype == torch.uint8
    assert out.shape == images.shape
    assert len(torch.unique(out.flatten(1), dim=0)) > 30
    unchanged = (out == images).flatten(1).all(1).float().mean()
    assert 0.1 < unchanged < 0.45  # two operations, each left out with probability one half


def test_it_is_a_function_of_the_seed():
    def once():
        torch.manual_seed(3)
        return randaugment(pictures(), 7, 0.5)

    assert torch.equal(once(), once())
