"""The optimisers that recipes name, and what decays."""

from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any

import torch
from timm.optim.lamb import Lamb
from torch import nn

from fastpt.training.config import Optim

Decays = Callable[[str, nn.Parameter], bool]
"""Whether weight decay acts on a parameter, by its name in the model."""


def timm_decays(model: nn.Module) -> Decays:
    """timm's rule: neither vectors, biases, nor what the model exempts (positions of a vision transformer, say)."""
    exempt = model.no_weight_decay() if hasattr(model, "no_weight_decay") else set()  # type: ignore[operator]

    def decays(name: str, parameter: nn.Parameter) -> bool:
        return not (parameter.ndim < 2 or name.endswith(".bias") or any(fnmatch(name, pattern) for pattern in exempt))

    return decays


def open_clip_decays(name: str, parameter: nn.Parameter) -> bool:
    """open_clip's rule: neither vectors nor what is called a norm, a bias or the logit scale; positions decay."""
    return parameter.ndim >= 2 and not any(part in name for part in ("bn", "ln", "bias", "logit_scale"))


def build_optimizer(model: nn.Module, optim: Optim, decays: Decays, fused: bool | None = None) -> torch.optim.Optimizer:
    """The optimiser over two groups, of which the second `decays`; with nothing to decay, one.

    `fused`: SGD and AdamW as one kernel over all weights; None leaves it to torch. On a GPU, timm's LAMB goes over all
    weights in some twenty kernels whatever it says.
    """
    groups = _groups(model, optim.weight_decay, decays)
    if optim.name == "sgd":
        nesterov = bool(optim.nesterov and optim.momentum)
        return torch.optim.SGD(groups, lr=optim.lr, momentum=optim.momentum or 0.0, nesterov=nesterov, fused=fused)
    settings: dict[str, Any] = {"lr": optim.lr, "betas": optim.betas, "eps": optim.eps}
    return torch.optim.AdamW(groups, fused=fused, **settings) if optim.name == "adamw" else Lamb(groups, **settings)


def _groups(model: nn.Module, weight_decay: float, decays: Decays) -> list[dict]:
    decayed, others = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (decayed if weight_decay and decays(name, parameter) else others).append(parameter)
    groups = ({"params": others, "weight_decay": 0.0}, {"params": decayed, "weight_decay": weight_decay})
    return [group for group in groups if group["params"]]
