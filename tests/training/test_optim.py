import ast
from pathlib import Path

import open_clip
import open_clip_train
import pytest
import timm.optim
import torch

from fastpt.training.config import Optim
from fastpt.training.launch import start
from fastpt.training.optim import build_optimizer, open_clip_decays, timm_decays
from fastpt.training.tasks.clip.task import Clip
from fastpt.training.tasks.supervised.task import build_model


def test_norms_and_biases_are_not_decayed(supervised):
    recipe = supervised()
    model = build_model(recipe, 4)
    for group in build_optimizer(model, recipe.optim, timm_decays(model)).param_groups:
        decays = [parameter.ndim > 1 for parameter in group["params"]]
        assert all(decays) if group["weight_decay"] else not any(decays)


@pytest.mark.parametrize(("name", "kind"), [("lamb", "Lamb"), ("adamw", "AdamW"), ("sgd", "SGD")])
def test_optimisers_by_name(supervised, name, kind):
    optimizer = build_optimizer(torch.nn.Linear(2, 2), supervised(f"optim.name={name}").optim, lambda *_: True)
    assert type(optimizer).__name__ == kind


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "xcit_nano_12_p16_224", "resnet18"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_groups_are_timms(name, decay):
    model = timm.create_model(name)
    wanted = timm.optim.param_groups_weight_decay(
        model, decay, no_weight_decay_list=getattr(model, "no_weight_decay", set)()
    )
    found = build_optimizer(model, Optim(name="adamw", lr=1.0, weight_decay=decay), timm_decays(model)).param_groups
    assert [group["weight_decay"] for group in found] == [group["weight_decay"] for group in wanted]
    for ours, theirs in zip(found, wanted, strict=True):
        assert list(map(id, ours["params"])) == list(map(id, theirs["params"]))


def open_clips_rule():
    """Which parameters open_clip's own training spares: a function of (name, parameter), read from its source."""
    source = ast.parse((Path(open_clip_train.__path__[0]) / "main.py").read_text())
    assignments = [node for node in ast.walk(source) if isinstance(node, ast.Assign)]
    (rule,) = [node for node in assignments if ast.unparse(node.targets[0]) == "exclude"]
    return eval(compile(ast.Expression(rule.value), "main.py", "eval"))


@pytest.mark.parametrize("name", ["RN50", "RN50-quickgelu", "ViT-B-16"])
def test_groups_of_clip_are_open_clips(name):
    with torch.device("meta"):
        model = open_clip.model.CLIP(**open_clip.get_model_config(name), nonscalar_logit_scale=True)
    excluded = open_clips_rule()
    spared, decayed = build_optimizer(
        model, Optim(name="adamw", lr=1.0, weight_decay=0.2), open_clip_decays
    ).param_groups
    named = dict(model.named_parameters())
    assert [id(p) for p in spared["params"]] == [id(p) for name, p in named.items() if excluded(name, p)]
    assert [id(p) for p in decayed["params"]] == [id(p) for name, p in named.items() if not excluded(name, p)]
    assert (spared["weight_decay"], decayed["weight_decay"]) == (0.0, 0.2)
    positions = [name for name in named if "positional_embedding" in name]
    assert len(positions) == 2
    assert {id(named[name]) for name in positions} <= {id(p) for p in decayed["params"]}


def test_clip_trains_with_open_clips_groups(clip):
    task = Clip(clip(), start())
    assert task.decays is open_clip_decays
