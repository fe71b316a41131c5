"""ResNets for small pictures, registered with timm: `import fastpt.models`, then `timm.create_model("resnet18_half")`.

timm's ResNets shrink a picture four times before the first block (a stride-2 convolution and a stride-2 pooling), which
leaves 16 x 16 of 64 pixels. These have a 3 x 3 stem without pooling, as in the CIFAR variants of He et al. 2015, but of
stride 2: they halve the picture once, for 32 to 128 px.
"""

from typing import Any

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, ResNet
from torch import nn

ARCHITECTURES = ("resnet10_narrow", "resnet10_half", "resnet18_half")


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


def _build(variant: str, pretrained: bool, **kwargs: Any) -> SmallStemResNet:
    return build_model_with_cfg(SmallStemResNet, variant, pretrained, **kwargs)


def _pretrained_cfg(size: int) -> dict:
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, size, size),
        "pool_size": (8, 8),
        "crop_pct": 0.95,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "conv1",
        "classifier": "fc",
    }


default_cfgs = generate_default_cfgs({name: _pretrained_cfg(64) for name in ARCHITECTURES})


@register_model
def resnet10_narrow(pretrained: bool = False, **kwargs: Any) -> SmallStemResNet:
    """ResNet-10 with a 3 x 3 stride-2 stem and half the channels: the demo's model, quick on a CPU."""
    kwargs = {"channels": (32, 64, 128, 256), **kwargs}
    return _build("resnet10_narrow", pretrained, block=BasicBlock, layers=(1, 1, 1, 1), **kwargs)


@register_model
def resnet10_half(pretrained: bool = False, **kwargs: Any) -> SmallStemResNet:
    """One basic block a stage, 3 x 3 stride-2 stem."""
    return _build("resnet10_half", pretrained, block=BasicBlock, layers=(1, 1, 1, 1), **kwargs)


@register_model
def resnet18_half(pretrained: bool = False, **kwargs: Any) -> SmallStemResNet:
    """ResNet-18 with a 3 x 3 stride-2 stem."""
    return _build("resnet18_half", pretrained, block=BasicBlock, layers=(2, 2, 2, 2), **kwargs)
