"""The optimisers that recipes name."""

from fnmatch import fnmatch

import torch
from timm.optim.lamb import Lamb
from torch import nn

from fastpt.training.config import Optim


def build_optimizer(model: nn.Module, optim: Optim) -> torch.optim.Optimizer:
    """The optimiser over two groups: matrices and kernels decay; biases, norms and what the model exempts do not."""
    groups = _groups(model, optim.weight_decay)
    if optim.name == "sgd":
        nesterov = bool(optim.nesterov and optim.momentum)
        return torch.optim.SGD(groups, lr=optim.lr, momentum=optim.momentum or 0.0, nesterov=nesterov)
    kind = {"lamb": Lamb, "adamw": torch.optim.AdamW}[optim.name]
    return kind(groups, lr=optim.lr, betas=optim.betas, eps=optim.eps)


def _groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """As timm groups them; with nothing to decay, one group."""
    exempt = model.no_weight_decay() if hasattr(model, "no_weight_decay") else set()  # type: ignore[operator]
    decayed, others = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            spared = parameter.ndim < 2 or name.endswith(".bias") or any(fnmatch(name, pattern) for pattern in exempt)
            (others if spared or not weight_decay else decayed).append(parameter)
    groups = ({"params": others, "weight_decay": 0.0}, {"params": decayed, "weight_decay": weight_decay})
    return [group for group in groups if group["params"]]
