"""Losses of supervised pre-training that bear wrong labels: each is the function of its name, with its settings."""

import pytest
import torch

from fastpt.errors import RecipeError
from fastpt.losses.classification import generalized_cross_entropy, symmetric_cross_entropy
from fastpt.recipe import load_recipe
from fastpt.training.launch import DistInfo
from fastpt.training.run import train
from fastpt.training.tasks.supervised.task import Supervised
from tests.training.conftest import losses

ALONE = DistInfo(0, 1, torch.device("cpu"))
EXPECTED = {
    "loss: gce": lambda logits, labels: generalized_cross_entropy(logits, labels, 0.7),
    "loss: gce, gce_q: 0.4": lambda logits, labels: generalized_cross_entropy(logits, labels, 0.4),
    "loss: sce": lambda logits, labels: symmetric_cross_entropy(logits, labels, 0.1, 1.0, -4.0),
    "loss: sce, sce_alpha: 6.0, sce_beta: 0.5, sce_log_zero: -6.0": lambda logits, labels: symmetric_cross_entropy(
        logits, labels, 6.0, 0.5, -6.0
    ),
}


@pytest.mark.parametrize("settings", EXPECTED)
def test_a_step_s_loss_is_the_mean_of_the_function(supervised, settings):
    from fastpt import Batch

    task = Supervised(supervised(f"supervised={{{settings}}}"), ALONE)
    logits, ids = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6)
    batch = Batch(torch.zeros(6, 32, 32, 3, dtype=torch.uint8), ids, torch.zeros_like(ids), ids)
    found = task.loss(lambda images: logits, batch, lambda *_: None)
    torch.testing.assert_close(found, EXPECTED[settings](logits, task.labels[ids]).mean())


@pytest.mark.parametrize("loss", ["gce", "sce"])
def test_it_is_learned_by(supervised, tmp_path, loss):
    run = train(supervised(f"supervised.loss={loss}", "schedule.epochs=6"), "tiny", tmp_path / "run")
    found = list(losses(run).values())
    assert sum(found[-5:]) < sum(found[:5])


def test_the_record_states_the_settings_of_the_loss_and_no_other(supervised, tmp_path):
    run = train(supervised("supervised.loss=sce", "schedule={steps: 1}"), "tiny", tmp_path / "run")
    recorded = load_recipe(run / "recipe.yaml").supervised.model_dump(exclude_none=True)
    assert recorded == {
        "loss": "sce",
        "sce_alpha": 0.1,
        "sce_beta": 1.0,
        "sce_log_zero": -4.0,
        "memorization_samples": 1000,
    }


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["supervised.loss=gce", "augment.mixup=0.2"], "gce takes one whole label, so augment.mixup does not go with"),
        (["supervised.loss=sce", "augment.cutmix=1.0"], "sce takes one whole label, so augment.cutmix does not go"),
        (["supervised.loss=gce", "augment.label_smoothing=0.1"], "so augment.label_smoothing does not go with it"),
        (["supervised.gce_q=0.5"], r"supervised\.gce_q applies to loss gce only"),
        (["supervised.loss=gce", "supervised.sce_beta=0.5"], r"supervised\.sce_beta applies to loss sce only"),
        (["supervised.loss=gce", "supervised.gce_q=0"], r"supervised\.gce_q"),
        (["supervised.loss=gce", "supervised.gce_q=1.5"], r"supervised\.gce_q"),
        (["supervised.loss=sce", "supervised.sce_log_zero=4.0"], r"supervised\.sce_log_zero"),
    ],
)
def test_what_does_not_go_together_is_refused(supervised, overrides, said):
    with pytest.raises(RecipeError, match=said):
        supervised(*overrides)
