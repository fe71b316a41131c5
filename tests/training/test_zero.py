"""ZeRO 0 to 3 over 1, 2 and 4 processes, in fp32 on a model without BatchNorm (whose statistics are each process's)."""

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from fastpt.augment.transforms import normalize
from fastpt.errors import FastptError
from fastpt.recipe import load_recipe
from fastpt.runs.folder import CHECKPOINT_FORMAT
from fastpt.training import checkpoint, launch
from fastpt.training.run import train
from fastpt.training.tasks.supervised.task import MEAN, STD, Supervised
from tests.training.conftest import TINY_VIT, forget_the_end, in_processes, losses, save, train_all

STAGES = (0, 1, 2, 3)
VIT = (f"model={json.dumps(TINY_VIT)}", "data.size=16", "data.val=null")
# One step of plain gradient descent at this rate turns the weights into the gradient.
GRADIENT = (*VIT, "optim={name: sgd, lr: 1.0e+4, momentum: 0.0}", "schedule={steps: 1}")
SIX_STEPS = (*VIT, "schedule={steps: 6, warmup_steps: 2}", "checkpoint={every_steps: 2, keep: 9}", "ema=0.9")


def train_in(processes: int, trainings: dict[Path, object]) -> None:
    """Train recipes one after another into their run folders, each in that many processes."""
    arguments = []
    for run, recipe in trainings.items():
        path = run.parent / f"{run.name}.yaml"
        save(recipe, path)
        arguments += [str(path), str(run)]
    in_processes(processes, train_all, *arguments)


def weights(run: Path) -> torch.Tensor:
    """All weights of the newest checkpoint, float64 [N]."""
    tensors = safetensors.torch.load_file(checkpoint.newest_first(run)[0] / "model.safetensors")
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)]).double()


def relative_difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize(("processes", "pieces"), [(1, 2), (2, 1), (4, 2)])
def test_the_gradient_is_that_of_the_whole_batch_in_one_process(supervised, tmp_path, processes, pieces):
    whole = weights(train(supervised(*GRADIENT), "tiny", tmp_path / "whole"))
    runs = {
        tmp_path / f"zero{stage}": supervised(
            *GRADIENT, f"engine.zero_stage={stage}", f"engine.gradient_accumulation_steps={pieces}"
        )
        for stage in STAGES
    }
    twice = (f"engine.gradient_accumulation_steps={pieces}", "engine.activation_checkpointing=true")
    runs[tmp_path / "activations computed twice"] = supervised(*GRADIENT, *twice)
    if processes == 1:
        for run, recipe in runs.items():
            train(recipe, "tiny", run)
    else:
        train_in(processes, runs)
    assert {run.name: relative_difference(weights(run), whole) for run in runs} == {
        run.name: pytest.approx(0, abs=1e-6) for run in runs
    }


def test_what_zero_3_evaluates_is_not_rounded_to_what_it_sends(supervised, tmp_path, held_out):
    """Between processes it sends weights in bf16, of a training in bf16; small ones it does not cut at all."""
    large = ("model.args.embed_dim=192", f"data.val={held_out.path}")
    recipe = supervised(*VIT, *large, "schedule={steps: 2}", "engine.zero_stage=3", "engine.precision=bf16")
    save(recipe, tmp_path / "recipe.yaml")
    in_processes(2, train_and_keep_logits, tmp_path / "recipe.yaml", tmp_path)
    exported = timm.create_model(f"local-dir:{tmp_path / 'run' / 'export'}", pretrained=True).eval()
    for rank in range(2):
        images, found = torch.load(tmp_path / f"evaluated{rank}.pt", weights_only=True)
        with torch.no_grad():
            assert torch.allclose(found, exported(normalize(images, MEAN, STD)), rtol=1e-4, atol=1e-5)


def train_and_keep_logits(recipe: str, folder: str) -> None:
    """Of this process: a run in the folder, and beside it what its evaluation made of the last pictures."""
    launch.available = lambda precision, _: precision  # bf16 on any processor
    logits = Supervised._logits

    def kept(self, forward, batch):
        found = logits(self, forward, batch)
        torch.save((batch.images, found), Path(folder) / f"evaluated{self.dist_info.rank}.pt")
        return found

    Supervised._logits = kept
    train(load_recipe(recipe), "tiny", Path(folder) / "run")


def test_zero_3_leaves_torch_as_it_was(supervised, tmp_path):
    before = torch.nn.functional.linear
    train(supervised(*GRADIENT, "engine.zero_stage=3"), "tiny", tmp_path / "run")
    assert torch.nn.functional.linear is before


def stopped_at(step: int, run: Path, copy: Path) -> Path:
    """A copy of a finished run as it was after the checkpoint of `step`."""
    shutil.copytree(run, copy)
    for later in checkpoint.newest_first(copy):
        if later.name > checkpoint.folder_name(step):
            shutil.rmtree(later)
    forget_the_end(copy)
    return copy


def test_two_processes_then_one_then_two_train_as_if_never_stopped(supervised, tmp_path):
    """Samples, optimiser state, moving average and the decay of each parameter group come through."""
    recipes = {stage: supervised(*SIX_STEPS, f"engine.zero_stage={stage}") for stage in STAGES}
    train_in(2, {tmp_path / f"whole{stage}": recipe for stage, recipe in recipes.items()})
    for stage, recipe in recipes.items():
        train(recipe, "tiny", stopped_at(2, tmp_path / f"whole{stage}", tmp_path / f"one{stage}"), resume=True)
        stopped_at(4, tmp_path / f"one{stage}", tmp_path / f"two{stage}")
    train_in(2, {tmp_path / f"two{stage}": recipe for stage, recipe in recipes.items()})
    for stage in STAGES:
        whole, two = tmp_path / f"whole{stage}", tmp_path / f"two{stage}"
        assert losses(two) == pytest.approx(losses(whole), rel=1e-5)
        assert relative_difference(weights(two), weights(whole)) < 1e-5
        assert not list((two / "checkpoints").glob("*universal*"))


def test_sgd_under_zero_is_not_resumed_by_another_number_of_processes(supervised, tmp_path):
    recipe = supervised(*GRADIENT, "engine.zero_stage=1")
    run = stopped_at(1, train(recipe, "tiny", tmp_path / "run"), tmp_path / "stopped")
    state = run / "checkpoints" / checkpoint.folder_name(1) / "state.json"
    values = json.loads(state.read_text()) | {"world_size": 2}
    state.write_text(json.dumps(values))
    reseal(run)
    with pytest.raises(FastptError, match=r"saved by 2 processes with ZeRO 1 and sgd.* Resume with 2 processes"):
        train(recipe, "tiny", run, resume=True)


def reseal(run: Path) -> None:
    """Make the newest checkpoint's manifest fit its files, as somebody could who changed them on purpose."""
    from fastpt.files import file_sha256, write_sealed_json

    newest = checkpoint.newest_first(run)[0]
    sums = {path.name: file_sha256(path) for path in newest.iterdir() if path.name != "manifest.json"}
    write_sealed_json(newest / "manifest.json", {"format": CHECKPOINT_FORMAT, "files": sums})


class Harmful:
    def __reduce__(self):
        return print, ("unpickled",)


@pytest.mark.parametrize("stage", [0, 1])
def test_a_checkpoint_that_would_run_code_is_refused(supervised, tmp_path, capsys, stage):
    recipe = supervised(*SIX_STEPS, f"engine.zero_stage={stage}")
    run = stopped_at(2, train(recipe, "tiny", tmp_path / "run"), tmp_path / "stopped")
    file = next(checkpoint.newest_first(run)[0].glob("mp_rank_00_model_states.pt"))
    torch.save({**torch.load(file, weights_only=False), "extra": Harmful()}, file)
    reseal(run)
    with pytest.raises(FastptError, match="wants objects unpickled that are neither tensors nor plain values"):
        train(recipe, "tiny", run, resume=True)
    assert "unpickled\n" not in capsys.readouterr().out
