"""What a step asks of a GPU, counted on the CPU."""

import pytest
import torch

from fastpt.identity import flat
from fastpt.training.config import Optim
from fastpt.training.optim import build_optimizer
from tools.bench.launches import counted
from tools.bench.recipes import ROWS, of_pictures

AUGMENT = "augment={randaugment: m7-std0.5, color_jitter: [0.4, 0.4, 0.4, 0.1], grayscale: 0.2, blur: 0.5}"
ALL = ("ema=0.9", "engine.gradient_clipping=1.0", AUGMENT)


@pytest.mark.parametrize("optim", ["{name: lamb, lr: 0.01}", "{name: adamw, lr: 0.01}", "{name: sgd, lr: 0.01}"])
def test_a_step_waits_for_nothing(supervised, optim):
    """Not for the host to read a value, nor by DeepSpeed's synchronisations, nor in a copy that nobody sees."""
    count = counted(supervised(f"optim={optim}", *ALL, "augment.mixup=0.1", "augment.cutmix=1.0"))
    assert not count.waits


def test_a_step_of_clip_waits_for_nothing(clip):
    assert not counted(clip(*ALL)).waits


def test_a_step_that_records_its_samples_waits_for_nothing(supervised):
    assert not counted(supervised("record.samples=[loss, margin, correct]", *ALL)).waits


def test_averaging_and_clipping_take_few_operations_however_many_weights(supervised):
    count = counted(supervised("model={name: resnet18}", "optim={name: lamb, lr: 0.01}", *ALL))
    assert count.operations["moving average"] <= 4
    assert count.operations["optimiser"] <= 50


@pytest.mark.parametrize("settings", [{"name": "adamw"}, {"name": "sgd"}])
def test_a_fused_optimiser_moves_weights_as_torchs_own_loop(settings):
    def moved(fused: bool) -> torch.Tensor:
        torch.manual_seed(0)
        model = torch.nn.Linear(8, 8)
        optimizer = build_optimizer(
            model, Optim(lr=0.1, weight_decay=0.1, **settings), lambda _, one: one.ndim > 1, fused
        )
        for _ in range(3):
            model(torch.ones(8)).square().sum().backward()
            optimizer.step()
        return model.weight.detach()

    assert torch.allclose(moved(True), moved(False), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ROWS)
def test_a_recipe_is_counted_without_the_data_that_it_names(name, tmp_path):
    told = flat(of_pictures(name, tmp_path, "synthetic").as_dict())
    del told["data.prep"]
    assert [key for key, value in told.items() if str(value).startswith("data/")] == []
    assert str(tmp_path) in told.values()
