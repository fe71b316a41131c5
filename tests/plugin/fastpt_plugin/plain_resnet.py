"""A model: timm's ResNet with one basic block a stage, which timm knows once this is imported."""

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, ResNet

default_cfgs = generate_default_cfgs({"plain_resnet": {"input_size": (3, 64, 64), "classifier": "fc"}})


@register_model
def plain_resnet(pretrained: bool = False, **kwargs: Any) -> ResNet:
    kwargs = {"block": BasicBlock, "layers": (1, 1, 1, 1), "channels": (8, 16, 32, 64), **kwargs}
    return build_model_with_cfg(ResNet, "plain_resnet", pretrained, **kwargs)
