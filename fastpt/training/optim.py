"""The optimisers that recipes name."""

import torch
from timm.optim import Lamb
from timm.optim._param_groups import param_groups_weight_decay
from torch import nn

from fastpt.recipe import Optim


def build_optimizer(model: nn.Module, optim: Optim) -> torch.optim.Optimizer:
    """The optimiser over two groups: matrices and kernels decay; biases, norms and what the model exempts do not."""
    exempt = model.no_weight_decay() if hasattr(model, "no_weight_decay") else set()
    groups = param_groups_weight_decay(model, optim.weight_decay, no_weight_decay_list=exempt)
    if optim.name == "sgd":
        nesterov = optim.nesterov and optim.momentum > 0
        return torch.optim.SGD(groups, lr=optim.lr, momentum=optim.momentum, nesterov=nesterov)
    kind = {"lamb": Lamb, "adamw": torch.optim.AdamW}[optim.name]
    return kind(groups, lr=optim.lr, betas=optim.betas, eps=optim.eps)
