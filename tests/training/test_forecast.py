"""`fastpt train --dry-run` and `--find-batch`, and what is said when a GPU's memory is not enough."""

import gc
import json
import re
import signal
import weakref
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from fastpt.cli import main
from fastpt.errors import FastptError
from fastpt.training import forecast, loop, memory
from fastpt.training.run import train
from fastpt.training.tasks.supervised.task import Supervised
from tests.training.conftest import TINY_VIT, lines, save

LARGE = (f"model={json.dumps(TINY_VIT)}", "model.args.embed_dim=192", "data.size=16")  # a million weights


@pytest.fixture
def gpu_of(monkeypatch):
    """Makes a computation of more than so many pictures run out of memory, as a GPU would."""

    def make(most: int) -> list[int]:
        tried, loss = [], Supervised.loss

        def limited(self, forward, batch, *others):
            tried.append(len(batch.images))
            if len(batch.images) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return loss(self, forward, batch, *others)

        monkeypatch.setattr(Supervised, "loss", limited)
        monkeypatch.setattr(memory, "runs_out", lambda _: True)
        return tried

    return make


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_dry_run_tells_the_disk_that_the_run_then_takes(supervised, tmp_path, stage):
    recipe = supervised(*LARGE, f"engine.zero_stage={stage}", "checkpoint={every_epochs: 1, keep: 2}")
    found = forecast.dry_run(recipe, "tiny", tmp_path / "run")
    run = train(recipe, "tiny", tmp_path / "run")
    checkpoint = next((run / "checkpoints").glob("step-*"))
    for said, folder in ((found.checkpoint_bytes, checkpoint), (found.export_bytes, run / "export")):
        assert said == pytest.approx(sum(file.stat().st_size for file in folder.iterdir()), rel=0.1)


def test_a_dry_run_begins_no_run(supervised, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(supervised("data.noise=0.2", "engine.gradient_accumulation_steps=2"), Path("tiny.yaml"))
    before = sorted(Path().rglob("*"))
    ran = CliRunner().invoke(main, ["train", "tiny.yaml", "--dry-run"])
    assert ran.exit_code == 0, ran.output
    assert sorted(Path().rglob("*")) == before
    assert "run: runs/tiny-symmetric-0.2-seed0-s0 (" in ran.output
    assert "steps: 10 of 8 samples, 2 epochs; 1 process(es) compute 2 piece(s) of 4 each" in ran.output
    assert re.search(r"memory: [0-9.]+ GiB", ran.output)
    assert "--resume" not in ran.output
    assert re.search(r"time: .* hours of steps, .* s each at 32 px.* 2 evaluation\(s\) of 12", ran.output)


def test_a_dry_run_can_be_read_by_programs(supervised, tmp_path):
    save(supervised(), tmp_path / "tiny.yaml")
    ran = CliRunner().invoke(main, ["train", str(tmp_path / "tiny.yaml"), "--dry-run", "--json"])
    assert json.loads(ran.stdout)["steps"] == 10
    refused = CliRunner().invoke(main, ["train", str(tmp_path / "tiny.yaml"), "--json"])
    assert "--json is of --dry-run" in refused.output


def test_a_dry_run_says_that_the_run_is_there(supervised, tmp_path):
    recipe = supervised("schedule={steps: 1}")
    run = train(recipe, "tiny", tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert forecast.dry_run(recipe, "tiny", run).is_there
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_smaller_pictures_of_early_epochs_take_less_time(supervised, tmp_path, monkeypatch):
    monkeypatch.setattr(loop.Training, "try_steps", lambda *_: [360.0])
    recipes = [supervised(f"data.sizes={sizes}") for sizes in ("null", "[[0, 16], [1, 32]]")]
    hours = [forecast.dry_run(recipe, "tiny", tmp_path / "run").hours for recipe in recipes]
    assert hours == [1.0, 0.625]  # ten steps; five of them with a quarter of the pixels


@pytest.mark.parametrize(("most", "pieces"), [(8, 1), (7, 2), (2, 4), (1, 8)])
def test_the_largest_pieces_that_fit_are_found(supervised, gpu_of, most, pieces):
    told: list[str] = []
    tried = gpu_of(most)
    forecast.find_batch(supervised(), told.append)
    assert f"1 GPU(s): --set engine.gradient_accumulation_steps={pieces}" in told
    assert f"2 GPU(s): --set engine.gradient_accumulation_steps={max(1, pieces // 2)}" in told
    assert len({*tried}) <= 3  # of four numbers of pieces


def test_pieces_for_mixup_are_even(supervised, gpu_of):
    gpu_of(3)
    told: list[str] = []
    forecast.find_batch(supervised("augment.mixup=0.2", "batch_size=12"), told.append)
    assert "1 GPU(s): --set engine.gradient_accumulation_steps=6" in told


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_tried(supervised):
    with pytest.raises(FastptError, match="none is seen here"):
        forecast.find_batch(supervised(), lambda _: None)


def test_what_fits_nowhere_is_told(supervised, gpu_of):
    gpu_of(0)
    with pytest.raises(FastptError, match=r"does not hold a step in pieces of 1 samples\. They cannot be cut further"):
        forecast.find_batch(supervised(), lambda _: None)


def test_a_try_leaves_no_model_in_memory(supervised, gpu_of, monkeypatch):
    models, build = [], loop.Engine

    def kept(model, *arguments):
        models.append(weakref.ref(model))
        return build(model, *arguments)

    monkeypatch.setattr(loop, "Engine", kept)
    gpu_of(4)
    forecast.find_batch(supervised(), lambda _: None)
    gc.collect()
    assert models
    assert not any(model() for model in models)


def test_a_gpu_that_is_too_small_is_told_with_what_would_be_tried(supervised, gpu_of, tmp_path):
    gpu_of(4)
    with pytest.raises(FastptError) as error:
        train(supervised(), "tiny", tmp_path / "run")
    assert "does not hold a step in pieces of 8 samples" in str(error.value)
    assert "--set engine.gradient_accumulation_steps=2 " in str(error.value)
    train(supervised("engine.gradient_accumulation_steps=2"), "tiny", tmp_path / "run")


def test_a_model_that_is_too_large_is_told(supervised, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(loop, "Engine", full)
    with pytest.raises(FastptError, match="does not hold resnet10_half, before any picture"):
        train(supervised(), "tiny", tmp_path / "run")


def test_a_dry_run_leaves_sigterm_as_it_was(supervised, monkeypatch, tmp_path):
    before, handlers, steps = signal.getsignal(signal.SIGTERM), [], loop.Training.try_steps

    def watched(self, *arguments):
        handlers.append(signal.getsignal(signal.SIGTERM))
        return steps(self, *arguments)

    monkeypatch.setattr(loop.Training, "try_steps", watched)
    forecast.dry_run(supervised(), "tiny", tmp_path / "run")
    assert set(handlers) == {before}


def test_an_evaluation_that_is_too_large_names_its_own_key(supervised, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Supervised, "_logits", full)
    with pytest.raises(FastptError, match=r"evaluation's batch of 256\. Set evaluate.batch_size lower, such as 64"):
        train(supervised(), "tiny", tmp_path / "run")
    assert lines(tmp_path / "run", "eval") == []


@pytest.mark.parametrize("options", [("--dry-run", "--find-batch"), ("--resume", "--dry-run")])
def test_options_that_exclude_one_another_are_told(supervised, tmp_path, options):
    save(supervised(), tmp_path / "tiny.yaml")
    ran = CliRunner().invoke(main, ["train", str(tmp_path / "tiny.yaml"), *options])
    assert ran.exit_code == 2
    assert "exclude one another" in ran.output
