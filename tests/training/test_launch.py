import pytest
import torch

from fastpt.training import launch
from fastpt.training.optim import build_optimizer
from fastpt.training.tasks.supervised import build_model


@pytest.mark.parametrize("clipping", [0.0, 1.5])
def test_clipping_is_always_stated(supervised, clipping):
    # DeepSpeed clips at 1.0 where the configuration says nothing.
    recipe = supervised(f"engine.gradient_clipping={clipping}")
    assert launch.deepspeed_config(recipe, 1, "fp32")["gradient_clipping"] == clipping


def test_the_batch_is_cut_for_processes_and_pieces(supervised):
    config = launch.deepspeed_config(supervised("engine.gradient_accumulation_steps=2"), 2, "bf16")
    assert config["train_batch_size"] == 8
    assert config["train_micro_batch_size_per_gpu"] == 2
    assert config["torch_autocast"] == {"enabled": True, "dtype": "bfloat16"}


def test_norms_and_biases_are_not_decayed(supervised):
    recipe = supervised()
    model = build_model(recipe, 4)
    for group in build_optimizer(model, recipe.optim).param_groups:
        decays = [parameter.ndim > 1 for parameter in group["params"]]
        assert all(decays) if group["weight_decay"] else not any(decays)


@pytest.mark.parametrize(("name", "kind"), [("lamb", "Lamb"), ("adamw", "AdamW"), ("sgd", "SGD")])
def test_optimisers_by_name(supervised, name, kind):
    optimizer = build_optimizer(torch.nn.Linear(2, 2), supervised(f"optim.name={name}").optim)
    assert type(optimizer).__name__ == kind
