"""Models that timm does not have, registered with it: ResNets of our own, and what installed packages bring.

`import fastpt.models`, then `timm.create_model("resnet18_half")`. A package names its models as entry points of the
group `fastpt.models`, each a function under timm's `register_model`; one that cannot be loaded is left out, with a
warning.

timm's ResNets shrink a picture four times before the first block (a stride-2 convolution and a stride-2 pooling), which
leaves 16 x 16 of 64 pixels. The small ones here have a 3 x 3 stem without pooling, as in the CIFAR variants of He et
al. 2015, but of stride 2: they halve the picture once, for 32 to 128 px.

`resnet50_blurpool` and `resnet50_mosaic` are ResNet-50 as ffcv-imagenet and MosaicML's recipes train it: what strides
is blurred first, so that it does not alias (Zhang 2019). timm's `resnetblur50` is another network: it convolves at full
size and blurs after, with a quarter more multiply-adds, and leaves the shortcuts as they are.
"""

import math
import sys
from collections.abc import Callable
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor, nn

from fastpt.errors import FastptError
from fastpt.printable import printable
from fastpt.registry import Registry

MODELS: Registry[Callable[..., nn.Module]] = Registry("model", {}, "fastpt.models")
SMALL_STEMS = ("resnet10_narrow", "resnet10_half", "resnet18_half")
BLURRED = ("resnet50_blurpool", "resnet50_mosaic")
MIN_BLURRED = 16  # channels that a convolution reads: the pictures themselves are not blurred


class SmallStemResNet(ResNet):
    """timm's ResNet with a 3 x 3 stem of stride 2 and no pooling; everything else is timm's."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        old = self.conv1
        self.conv1 = nn.Conv2d(old.in_channels, old.out_channels, 3, stride=2, padding=1, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.maxpool = nn.Identity()
        for info in self.feature_info:
            if info["module"] != "act1":
                info["reduction"] = int(info["reduction"]) // 2


class Blur(nn.Module):
    """A binomial 3 x 3 filter on each channel, [B, C, H, W] to [B, C, H / stride, W / stride]; outside is 0."""

    def __init__(self, channels: int, stride: int = 1):
        super().__init__()
        side = torch.tensor([0.25, 0.5, 0.25])
        self.stride = stride
        self.register_buffer("filter", torch.outer(side, side).repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.filter, stride=self.stride, padding=1, groups=len(self.filter))  # type: ignore[arg-type]


class BlurredConv2d(nn.Conv2d):
    """A convolution of what is blurred before, with the weight of another one, and a state dictionary like its."""

    def __init__(self, plain: nn.Conv2d):
        super().__init__(
            plain.in_channels,
            plain.out_channels,
            plain.kernel_size,  # type: ignore[arg-type]
            plain.stride,  # type: ignore[arg-type]
            plain.padding,  # type: ignore[arg-type]
            plain.dilation,  # type: ignore[arg-type]
            plain.groups,
            bias=plain.bias is not None,
        )
        self.weight, self.bias, self.blur = plain.weight, plain.bias, Blur(plain.in_channels)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(self.blur(input))


class BlurPoolResNet(ResNet):
    """torchvision's ResNet as timm builds it, with each convolution that strides over what is blurred."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{"zero_init_last": False, **kwargs})
        for parent in list(self.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.Conv2d) and max(child.stride) > 1 and child.in_channels >= MIN_BLURRED:
                    setattr(parent, name, BlurredConv2d(child))


class MosaicResNet(BlurPoolResNet):
    """The pooling blurs, too; initial values are those that MosaicML's recipes name, for a sum of binary losses."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.maxpool = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), Blur(int(self.bn1.num_features), stride=2))  # type: ignore
        self.apply(_mosaic_values)


def _mosaic_values(module: nn.Module) -> None:
    """A first guess of 1 in K for each of K classes; without it the first steps only learn how rare a class is."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)
    if isinstance(module, nn.Linear):
        nn.init.constant_(module.bias, -math.log(module.out_features))
    if isinstance(module, nn.BatchNorm2d):
        nn.init.uniform_(module.weight)


def _pretrained_cfg(size: int, reduction: int) -> dict[str, Any]:
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, size, size),
        "pool_size": (size // reduction, size // reduction),
        "crop_pct": 0.95,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "conv1",
        "classifier": "fc",
    }


_small: dict[str, Any] = {name: _pretrained_cfg(64, 16) for name in SMALL_STEMS}
default_cfgs = generate_default_cfgs(_small | {name: _pretrained_cfg(224, 32) for name in BLURRED})


@register_model
def resnet10_narrow(pretrained: bool = False, **kwargs: Any) -> SmallStemResNet:
    """ResNet-10 with a 3 x 3 stride-2 stem and half the channels: the demo's model, quick on a CPU."""
    kwargs = {"block": BasicBlock, "layers": (1, 1, 1, 1), "channels": (32, 64, 128, 256), **kwargs}
    return build_model_with_cfg(SmallStemResNet, "resnet10_narrow", pretrained, **kwargs)


@register_model
def resnet10_half(pretrained: bool = False, **kwargs: Any) -> SmallStemResNet:
    """One basic block a stage, 3 x 3 stride-2 stem."""
    kwargs = {"block": BasicBlock, "layers": (1, 1, 1, 1), **kwargs}
    return build_model_with_cfg(SmallStemResNet, "resnet10_half", pretrained, **kwargs)


@register_model
def resnet18_half(pretrained: bool = False, **kwargs: Any) -> SmallStemResNet:
    """ResNet-18 with a 3 x 3 stride-2 stem."""
    kwargs = {"block": BasicBlock, "layers": (2, 2, 2, 2), **kwargs}
    return build_model_with_cfg(SmallStemResNet, "resnet18_half", pretrained, **kwargs)


@register_model
def resnet50_blurpool(pretrained: bool = False, **kwargs: Any) -> BlurPoolResNet:
    """ffcv-imagenet's BlurPool ResNet-50: convolutions that stride and read 16 channels or more are blurred before."""
    kwargs = {"block": Bottleneck, "layers": (3, 4, 6, 3), **kwargs}
    return build_model_with_cfg(BlurPoolResNet, "resnet50_blurpool", pretrained, **kwargs)


@register_model
def resnet50_mosaic(pretrained: bool = False, **kwargs: Any) -> MosaicResNet:
    """The ResNet-50 of MosaicML's recipes: blurred convolutions and pooling, their initial values."""
    kwargs = {"block": Bottleneck, "layers": (3, 4, 6, 3), **kwargs}
    return build_model_with_cfg(MosaicResNet, "resnet50_mosaic", pretrained, **kwargs)


def module_of(architecture: str) -> str | None:
    """What has to be imported for timm to know an architecture; None for timm's own, and for what it does not know."""
    if not timm.is_model(architecture):
        return None
    module = timm.model_entrypoint(architecture).__module__
    return None if module.partition(".")[0] == "timm" else module


def _register_installed() -> dict[str, str]:
    """Load the models of installed packages, by which timm comes to know them: the packages and their versions."""
    versions, known = {}, set(timm.list_models())
    for name in MODELS.names():
        try:
            package = MODELS.origin(name)
            assert package  # none is of a table
            where = f"model {name!r} of package {package.distribution}"
            if name in known and module_of(name) != MODELS.module(name):
                raise FastptError(f"{where} is left out: there is one of that name. Rename it.")
            MODELS.get(name)
            if not timm.is_model(name):
                raise FastptError(f"{where} is not known to timm once it is loaded. Put register_model on it.")
            versions[package.distribution] = package.version
        except FastptError as error:
            print(printable(f"warning: {error}"), file=sys.stderr)
    return versions


INSTALLED = _register_installed()
