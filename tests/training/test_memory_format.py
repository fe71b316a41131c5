"""Pictures and weights are in channels_last from the loader to the last convolution: no step shuffles them."""

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

import fastpt.models  # noqa: F401  which registers ours
from fastpt.training.run import train

EVERYTHING = (
    "augment.randaugment=m7-std0.5",
    "augment.color_jitter=[0.4, 0.4, 0.4, 0.1]",
    "augment.grayscale=0.5",
    "augment.blur=0.5",
    "augment.random_erasing=0.5",
    "augment.mixup=0.2",
    "augment.cutmix=1.0",
)


@pytest.mark.parametrize("model", ["resnet10t", "resnet50_blurpool"])
def test_no_convolution_of_a_step_gets_pictures_or_weights_in_another_order(model, supervised, tmp_path):
    orders = []

    def seen(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, nn.Conv2d) and module.training:
            orders.append(all(one.is_contiguous(memory_format=torch.channels_last) for one in (*inputs, module.weight)))

    hook = register_module_forward_pre_hook(seen)
    try:
        recipe = supervised(*EVERYTHING, f"model.name={model}", "schedule.epochs=1", "schedule.warmup_epochs=0")
        train(recipe, "tiny", run_dir=tmp_path / "run")
    finally:
        hook.remove()
    assert len(orders) > 10
    assert all(orders)
