"""torchvision's ResNets as encoders: torchvision:resnet18:WEIGHTS gives the pooled features before the classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastpt.errors import FastptError
from fastpt.tuning.encoders.encoder import LibraryEncoder, Preprocessing

if TYPE_CHECKING:
    import torch

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load(name: str, weights: str) -> tuple[torch.nn.Module, Preprocessing]:
    import torch
    from torchvision import models

    if name not in (known := models.list_models(models, include="resnet*")):
        raise FastptError(f"torchvision has no ResNet {name!r}; it has {', '.join(known)}.")
    if not weights:
        raise FastptError(f"torchvision:{name} names no weights. Write torchvision:{name}:FILE.")
    model = models.get_model(name)
    model.load_state_dict(torch.load(weights, weights_only=True))
    model.fc = torch.nn.Identity()
    return model, Preprocessing(size=224, crop_fraction=0.875, interpolation="bilinear", mean=MEAN, std=STD)


KIND = LibraryEncoder("torchvision", "torchvision:NAME:WEIGHTS", load)
