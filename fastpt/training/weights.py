"""A model's weights as a whole, whatever ZeRO stage cuts them, and their moving average."""

from collections.abc import Iterator
from itertools import chain

import torch
import torch.distributed as dist
from timm.utils.model_ema import ModelEmaV3
from torch import nn

from fastpt.errors import RecipeError
from fastpt.training.deepspeed_adapter import gathered_parameters
from fastpt.training.launch import DistInfo


def checkpoint_activations(model: nn.Module, tower: nn.Module, what: str) -> None:
    """Have `model` compute activations again in the backward pass. Raises RecipeError if `tower` of it cannot.

    Some of open_clip's pass the wish over without a word, so that the flag is looked for.
    """
    try:
        model.set_grad_checkpointing()  # type: ignore[operator]
    except (AssertionError, AttributeError, TypeError):
        can = False
    else:
        can = any(getattr(module, "grad_checkpointing", False) for module in tower.modules())
    if not can:
        raise RecipeError(
            f"engine.activation_checkpointing: {what} cannot do it. Leave it out, raise "
            "engine.gradient_accumulation_steps, or choose a vision transformer."
        )


def full_state_dict(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copies on the CPU of all weights and buffers, contiguous. Under ZeRO 3 every process must call this."""
    with gathered_parameters(model.parameters()):
        return {
            name: tensor.detach().to("cpu", copy=True).contiguous(memory_format=torch.contiguous_format)
            for name, tensor in model.state_dict().items()
        }


def average_batch_norm(model: nn.Module, dist_info: DistInfo) -> None:
    """Replace BatchNorm's running statistics, which each process keeps of its own pictures, by their mean over all."""
    if dist_info.world_size == 1:
        return
    for buffer in model.buffers():
        if buffer.is_floating_point():
            dist.all_reduce(buffer)
            buffer /= dist_info.world_size


class Ema(ModelEmaV3):
    """timm's moving average of weights and buffers, with its warm-up of the decay; every process keeps all of it.

    The decay is a function of the step, and the average itself is the checkpoint's model.safetensors, so nothing else
    need be saved.
    """

    def __init__(self, model: nn.Module, decay: float):
        super().__init__(model, decay, use_warmup=True)

    def follow(self, model: nn.Module, step: int) -> None:
        """Move towards the weights after step `step` (from 1). Under ZeRO 3 every process must call this."""
        with gathered_parameters(model.parameters()), torch.no_grad():
            pairs = zip(_tensors(self.module), _tensors(model), strict=True)
            moved, copied = [], []
            for own, other in pairs:
                (moved if own.is_floating_point() else copied).append((own, other))
            torch._foreach_lerp_(*_columns(moved), weight=1 - self.get_decay(step))  # type: ignore[attr-defined]
            if copied:  # the counters of BatchNorms: a kernel each, one by one
                torch._foreach_copy_(*_columns(copied))  # type: ignore[attr-defined]


def _tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    return chain(model.parameters(), model.buffers())


def _columns(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    return [own for own, _ in pairs], [other for _, other in pairs]
