import pytest
import timm.optim
import torch

from fastpt.training.config import Optim
from fastpt.training.optim import build_optimizer
from fastpt.training.tasks.supervised.task import build_model


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


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "xcit_nano_12_p16_224", "resnet18"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_groups_are_timms(name, decay):
    model = timm.create_model(name)
    wanted = timm.optim.param_groups_weight_decay(
        model, decay, no_weight_decay_list=getattr(model, "no_weight_decay", set)()
    )
    found = build_optimizer(model, Optim(name="adamw", lr=1.0, weight_decay=decay)).param_groups
    assert [group["weight_decay"] for group in found] == [group["weight_decay"] for group in wanted]
    for ours, theirs in zip(found, wanted, strict=True):
        assert list(map(id, ours["params"])) == list(map(id, theirs["params"]))
