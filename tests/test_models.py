import math

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch.utils.flop_counter import FlopCounterMode

import fastpt.models


@pytest.mark.parametrize("name", fastpt.models.SMALL_STEMS)
def test_small_stems_keep_more_of_a_small_picture(name):
    model = timm.create_model(name, num_classes=3, channels=(8, 8, 16, 16))
    maps = timm.create_model(name, features_only=True, channels=(8, 8, 16, 16))
    picture = torch.randn(2, 3, 32, 32)
    sides = [16, 16, 8, 4, 2]
    assert [feature.shape[-1] for feature in maps(picture)] == sides
    assert [32 // info["reduction"] for info in model.feature_info] == sides
    assert model(picture).shape == (2, 3)


BINOMIAL = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16


def blurred(x, stride=1):
    return F.conv2d(x, BINOMIAL.repeat(x.shape[1], 1, 1, 1), stride=stride, padding=1, groups=x.shape[1])


def published(blurs_pooling: bool) -> torch.nn.Module:
    """torchvision's ResNet-50 with ffcv-imagenet's change of it, or that of MosaicML's Composer, done by hooks."""
    model = torchvision.models.resnet50()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d) and max(module.stride) > 1 and module.in_channels >= 16:
            module.register_forward_pre_hook(lambda _, inputs: blurred(*inputs))
    if blurs_pooling:
        model.maxpool.stride = 1
        model.maxpool.register_forward_hook(lambda _, inputs, output: blurred(output, stride=2))
    return model


@pytest.mark.parametrize(("name", "blurs_pooling"), [("resnet50_blurpool", False), ("resnet50_mosaic", True)])
def test_blurred_resnets_compute_what_was_published(name, blurs_pooling):
    theirs, ours = published(blurs_pooling).eval(), timm.create_model(name).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    pictures = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(pictures), theirs(pictures), rtol=1e-4, atol=1e-5)


def multiply_adds(name: str) -> int:
    """For one picture of 224 px."""
    model = timm.create_model(name).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 224, 224))
    return counter.get_total_flops() // 2


def test_blurring_adds_nine_multiply_adds_a_value_that_is_strided_over():
    strided = 128 * 56**2 + 256 * 56**2 + 256 * 28**2 + 512 * 28**2 + 512 * 14**2 + 1024 * 14**2
    plain = multiply_adds("resnet50")
    assert multiply_adds("resnet50_blurpool") == plain + 9 * strided
    assert 9 * strided / plain == pytest.approx(0.0046, abs=1e-4)
    assert multiply_adds("resnet50_mosaic") == plain + 9 * strided + 9 * 64 * 56**2
    assert multiply_adds("resnetblur50") / plain == pytest.approx(1.255, abs=1e-3)  # timm's, which is another


@pytest.mark.parametrize("name", fastpt.models.BLURRED)
def test_blurring_adds_no_parameter(name):
    model = timm.create_model(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == 25_557_032
    assert model.state_dict().keys() == timm.create_model("resnet50").state_dict().keys()


def test_blurpool_begins_as_torchvision_does():
    torch.manual_seed(0)
    ours, theirs = timm.create_model("resnet50_blurpool"), torchvision.models.resnet50()
    for (name, mine), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert mine.std().item() == pytest.approx(other.std().item(), rel=0.1), name
        assert mine.mean().item() == pytest.approx(other.mean().item(), abs=0.01), name


def test_mosaic_begins_with_the_share_of_a_class():
    model = timm.create_model("resnet50_mosaic", num_classes=10)
    assert torch.equal(model.fc.bias, torch.full((10,), -math.log(10)))
    assert 0 <= model.bn1.weight.min() < 0.2 < 0.8 < model.bn1.weight.max() <= 1


def test_blurred_resnets_give_feature_maps():
    maps = timm.create_model("resnet50_blurpool", features_only=True)
    assert [feature.shape[-1] for feature in maps(torch.randn(1, 3, 64, 64))] == [32, 16, 8, 4, 2]
