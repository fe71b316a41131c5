"""A model's weights as a whole, whatever ZeRO stage cuts them, and their moving average."""

import torch
import torch.distributed as dist
from timm.utils import ModelEmaV3
from torch import nn

from fastpt.training.launch import DistInfo


def gathered_parameters(model: nn.Module):
    """A context in which each process holds all weights: ZeRO 3 gathers them; otherwise nothing happens."""
    import deepspeed

    return deepspeed.zero.GatheredParameters(list(model.parameters()))


def full_state_dict(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copies on the CPU of all weights and buffers, contiguous. Under ZeRO 3 every process must call this."""
    with gathered_parameters(model):
        return {
            name: tensor.detach().to("cpu", copy=True).contiguous(memory_format=torch.contiguous_format)
            for name, tensor in model.state_dict().items()
        }


def average_batch_norm(model: nn.Module, process: DistInfo) -> None:
    """Replace BatchNorm's running statistics, which each process keeps of its own pictures, by their mean over all."""
    if process.world_size == 1:
        return
    for buffer in model.buffers():
        if buffer.is_floating_point():
            dist.all_reduce(buffer)
            buffer /= process.world_size


class Ema(ModelEmaV3):
    """timm's moving average of weights and buffers, with its warm-up of the decay; every process keeps all of it.

    The decay is a function of the step, and the average itself is the checkpoint's model.safetensors, so nothing else
    need be saved.
    """

    def __init__(self, model: nn.Module, decay: float):
        super().__init__(model, decay, use_warmup=True)

    def follow(self, model: nn.Module, step: int) -> None:
        """Move towards the weights after step `step` (from 1). Under ZeRO 3 every process must call this."""
        with gathered_parameters(model):
            self.update(model, step)
