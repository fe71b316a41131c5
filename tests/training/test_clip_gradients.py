"""The contrastive gradient of the whole batch, however it is cut over processes, pieces and ZeRO stages."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from fastpt.errors import RecipeError
from fastpt.recipe import Recipe
from fastpt.training import checkpoint
from fastpt.training.gradcache import whole_batch_losses
from fastpt.training.launch import DistInfo
from fastpt.training.run import train
from fastpt.training.tasks.clip.task import MAX_LOGIT_SCALE, contrastive_loss
from tests.training.conftest import VIT_CLIP, in_processes, losses, save, train_all

# One step of plain SGD at rate 1 moves the weights by their gradient.
ONE_STEP = (
    f"model={json.dumps(VIT_CLIP)}",
    "data.size=16",
    "schedule={steps: 1}",
    "data.val=null",
    "clip.zero_shot=null",
    "optim={name: sgd, lr: 1.0, momentum: 0.0}",
    "schedule.warmup_steps=0",
)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(checkpoint.newest_first(run)[0] / "model.safetensors")


@pytest.mark.parametrize(
    ("loss", "processes"), [("softmax", 1), ("softmax", 2), ("softmax", 4), ("sigmoid", 1), ("sigmoid", 2)]
)
def test_the_gradient_is_that_of_the_whole_batch(clip, tmp_path, loss, processes):
    """Without BatchNorm and in fp32: loss and gradient of each ZeRO stage, in one piece and in two."""
    step = (*ONE_STEP, f"clip.loss={loss}")
    one = train(clip(*step), "tiny", tmp_path / "whole")
    cuts = {
        f"zero{zero}-pieces{pieces}": clip(
            *step, f"engine.zero_stage={zero}", f"engine.gradient_accumulation_steps={pieces}"
        )
        for zero in range(4)
        for pieces in (1, 2)
    }
    for run in trained(tmp_path, processes, cuts):
        assert losses(run) == pytest.approx(losses(one), rel=1e-5), run
        torch.testing.assert_close(weights(run), weights(one), rtol=1e-4, atol=1e-5)


def test_sigmoid_learns_the_bias_and_softmax_has_none(clip, tmp_path):
    runs = {
        loss: train(clip(*ONE_STEP, f"clip.loss={loss}"), "tiny", tmp_path / loss) for loss in ("softmax", "sigmoid")
    }
    assert "logit_bias" not in weights(runs["softmax"])
    assert weights(runs["sigmoid"])["logit_bias"].item() != -10.0


def test_a_model_with_a_bias_that_the_loss_does_not_learn_is_refused(clip, tmp_path):
    biased = {**VIT_CLIP, "config": {**VIT_CLIP["config"], "init_logit_bias": -5.0}}
    with pytest.raises(RecipeError, match=r"init_logit_bias, which only clip\.loss sigmoid learns"):
        train(clip(*ONE_STEP, f"model={json.dumps(biased)}"), "tiny", tmp_path / "run")


def trained(folder: Path, processes: int, recipes: dict[str, Recipe]) -> list[Path]:
    """The runs of recipes, trained by so many processes."""
    arguments = []
    for name, recipe in recipes.items():
        save(recipe, folder / f"{name}.yaml")
        arguments += [str(folder / f"{name}.yaml"), str(folder / name)]
    in_processes(processes, train_all, *arguments)
    return [folder / name for name in recipes]


def test_batch_statistics_move_once_a_step():
    """A tower with BatchNorm: in the pass that collects the embeddings its running statistics stand still."""
    norm, count = torch.nn.BatchNorm1d(4), 3
    pieces = [{"rows": torch.randn(5, 4)} for _ in range(count)]

    def forward(rows):
        return {"image_features": norm(rows), "text_features": rows, "logit_scale": torch.ones(1, requires_grad=True)}

    found = whole_batch_losses(forward, norm, pieces, lambda image, text, scale: (image * text * scale).sum(), _no_seed)
    assert norm.num_batches_tracked == 0
    for moved, loss in enumerate(found, 1):
        loss.backward()
        assert norm.num_batches_tracked == moved
    wanted = torch.nn.BatchNorm1d(4)
    for piece in pieces:
        wanted(piece["rows"])
    torch.testing.assert_close(norm.running_mean, wanted.running_mean)
    torch.testing.assert_close(norm.running_var, wanted.running_var)


def test_the_second_pass_repeats_the_random_numbers_of_the_first():
    """With dropout the gradient is of the embeddings that the loss was taken of; each piece has its own numbers."""
    weight, seen = torch.ones(8, requires_grad=True), []

    def forward(rows):
        features = torch.nn.functional.dropout(rows * weight, 0.5)
        seen.append(features.detach().clone())
        return {"image_features": features, "text_features": features, "logit_scale": torch.ones(1, requires_grad=True)}

    pieces = [{"rows": torch.ones(2, 8)}] * 2

    def loss(image, text, scale):
        return (image * text * scale).sum()

    for surrogate in whole_batch_losses(forward, torch.nn.Identity(), pieces, loss, torch.manual_seed):
        surrogate.backward()
    first, second = seen[:2], seen[2:]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(*first)


def test_logits_are_of_local_rows_by_global_rows(monkeypatch):
    """So their memory grows with the local batch times the global batch, not with the global batch squared."""
    local, processes, shapes = 6, 4, []
    everything = (torch.randn(local * processes, 5), torch.randn(local * processes, 5))
    cross_entropy = torch.nn.functional.cross_entropy

    def seen(logits, labels):
        shapes.append(tuple(logits.shape))
        return cross_entropy(logits, labels)

    monkeypatch.setattr("fastpt.training.tasks.clip.task.gather_features", lambda *_, **__: everything)
    monkeypatch.setattr("torch.nn.functional.cross_entropy", seen)
    mine = slice(local, 2 * local)
    loss = contrastive_loss(DistInfo(1, processes, torch.device("cpu")))
    value = loss(everything[0][mine], everything[1][mine], torch.ones(1))
    assert shapes == [(local, local * processes)] * 2
    logits, rows = everything[0] @ everything[1].T, torch.arange(local * processes)
    wanted = sum(cross_entropy(table[mine], rows[mine]) for table in (logits, logits.T)) / 2
    torch.testing.assert_close(value, wanted)


def test_the_temperature_is_bounded_in_the_weights_that_zero_keeps_too(clip, tmp_path):
    """It begins above the bound, is put to it after one step and falls below in the next, if nothing kept it above."""
    hot = {**VIT_CLIP, "config": {**VIT_CLIP["config"], "init_logit_scale": MAX_LOGIT_SCALE + 0.5}}
    steps = (*ONE_STEP, f"model={json.dumps(hot)}", "schedule.steps=2", "optim.lr=0.01")
    whole = weights(train(clip(*steps), "tiny", tmp_path / "whole"))["logit_scale"].item()
    assert 0 < whole < MAX_LOGIT_SCALE - 1e-3
    runs = trained(tmp_path, 2, {f"zero{zero}": clip(*steps, f"engine.zero_stage={zero}") for zero in (1, 2, 3)})
    assert [weights(run)["logit_scale"].item() for run in runs] == pytest.approx([whole] * 3, abs=1e-4)


def _no_seed(_: int) -> None:
    """Nothing random here."""
