import json
import math
import os
import time
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

from fastpt import Batch
from fastpt.errors import FastptError
from fastpt.models import SmallStemResNet
from fastpt.training import checkpoint, launch, pace
from fastpt.training.evaluation import evaluation_loader, outputs_of
from fastpt.training.pace import Since
from fastpt.training.run import rehearsal, train
from fastpt.training.schedule import learning_rate
from fastpt.training.tasks.supervised.task import Supervised
from tests.conftest import LAUNCHED
from tests.training.conftest import TINY_VIT, lines, losses


def test_a_supervised_run_leaves_its_record(supervised, tmp_path, captioned, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    run = train(supervised("data.noise=0"), "tiny", command="fastpt train tiny.yaml")
    assert run.parts == ("runs", "tiny-clean-s0")
    steps = lines(run, "train")
    assert [line["step"] for line in steps] == list(range(1, 11))
    expected = {
        "event",
        "step",
        "samples",
        "epoch",
        "loss",
        "lr",
        "images_per_second",
        "data_wait",
        "grad_norm",
        "memory_gib",
        "seconds",
        "xxh3",
    }
    assert set(steps[0]) == expected
    assert steps[-1]["samples"] == 80
    assert 0 <= steps[-1]["data_wait"] <= 1
    assert [(line["epoch"], line["split"]) for line in lines(run, "eval")] == [(1, "val"), (2, "val")]
    end = lines(run, "end")[0]
    assert end["results"]["val"].keys() == {"top1", "top5"}
    origin = json.loads((run / "provenance.json").read_text())
    assert origin["samples_id"] == captioned.samples_id
    assert origin["noise"] is None
    assert origin["command"] == "fastpt train tiny.yaml"
    assert origin["device"].startswith(torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU (")
    assert origin["precision"] == "fp32"
    assert (run / "export" / "model.safetensors").exists()
    assert list((run / "tensorboard").iterdir())
    assert "DeepSpeed" not in capfd.readouterr().out


def test_a_training_leaves_the_environment_of_processes_that_follow_as_it_was(supervised, tmp_path):
    train(supervised("schedule.epochs=1", "schedule.warmup_epochs=0"), "tiny", run_dir=tmp_path / "run")
    assert not set(LAUNCHED) & set(os.environ)  # of a group that it was not in


def test_a_split_that_is_missing_is_told_with_the_recipes_way_to_make_it(supervised, clip, tmp_path):
    gone = tmp_path / "gone"
    for recipe in (
        supervised(f"data.val={gone}", "data.prep=fastpt prep demo"),
        clip(f"data.train=[{{path: {gone}}}, {{path: {gone}}}]", "data.prep=fastpt prep demo"),
    ):
        with pytest.raises(FastptError, match=r"gone is not there\. Prepare it: fastpt prep demo$"):
            train(recipe, "tiny", tmp_path / "run")


def test_a_clip_run_is_measured_by_zero_shot_and_retrieval(clip, tmp_path):
    run = train(clip("data.noise=0.2"), "tiny", tmp_path / "run")
    measures = lines(run, "eval")[-1]
    names = {"zero_shot_top1", "zero_shot_top5", "image_to_text_recall1", "text_to_image_recall1"}
    assert names <= set(measures)
    origin = json.loads((run / "provenance.json").read_text())
    assert origin["noise"]["plan"] == "swap-0.2-seed0"
    assert origin["noise"]["realised_rate"] == pytest.approx(0.2)


def test_every_option_of_supervised_recipes_runs(supervised, tmp_path):
    recipe = supervised(
        "augment={randaugment: m7-std0.5, mixup: 0.1, cutmix: 1.0, repeated_augmentation: 3, label_smoothing: 0.1}",
        "supervised.loss=bce",
        "optim.name=lamb",
        "model.drop_path=0.05",
        "engine.gradient_accumulation_steps=2",
        "engine.gradient_clipping=1.0",
        "engine.precision=bf16",
        "schedule.epochs=1",
        "schedule.warmup_epochs=0",
    )
    assert len(losses(train(recipe, "tiny", tmp_path / "run"))) == 5


@pytest.mark.parametrize("zero", [1, 2])
def test_zero_stages_train_to_the_same_losses(supervised, tmp_path, zero):
    plain = losses(train(supervised("schedule.epochs=1", "schedule.warmup_epochs=0"), "tiny", tmp_path / "plain"))
    cut = losses(
        train(
            supervised("schedule.epochs=1", "schedule.warmup_epochs=0", f"engine.zero_stage={zero}"),
            "tiny",
            tmp_path / "cut",
        )
    )
    assert cut == pytest.approx(plain, rel=1e-4)


def test_accumulation_is_the_whole_batch(supervised, tmp_path):
    # A BatchNorm model would differ: its statistics are those of the piece.
    vit = [f"model={json.dumps(TINY_VIT)}", "data.size=16", "schedule.epochs=1", "schedule.warmup_epochs=0"]
    whole = losses(train(supervised(*vit), "tiny", tmp_path / "whole"))
    pieces = losses(train(supervised(*vit, "engine.gradient_accumulation_steps=4"), "tiny", tmp_path / "pieces"))
    assert pieces == pytest.approx(whole, rel=1e-4)


def test_a_run_that_is_there_is_not_overwritten(supervised, tmp_path):
    recipe = supervised("schedule.epochs=1", "schedule.warmup_epochs=0")
    run = train(recipe, "tiny", tmp_path / "run")
    before = (run / "metrics.jsonl").read_bytes()
    with pytest.raises(FastptError, match="--resume, or name another --run-dir"):
        train(recipe, "tiny", run)
    assert train(recipe, "tiny", run, resume=True) == run  # finished: nothing to do
    assert (run / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "data.train=data/imagenet/train",
            "data/imagenet/train does not exist. Prepare it first, for example: fastpt prep",
        ),
        ("data.noise=0.4", "no noise plan 0.4"),
        ("model.name=resnet5O", "timm does not know; did you mean resnet50"),
        ("model.args={chanels: 3}", "timm cannot make resnet10_half"),
        ("model.args={channels: [8, 8]}", "timm cannot make resnet10_half|cannot take such pictures"),
        ("model.args={channels: [8, 8, 16, 16], in_chans: 1}", "data.size 32: resnet10_half cannot take such pictures"),
        (
            "model={name: vit_tiny_patch16_224, args: {img_size: 32, depth: 1, embed_dim: 96, global_pool: ''}}",
            r"data.size 32: vit_tiny_patch16_224 makes \[1, 5, 4\] of a picture instead of 4 numbers",
        ),
        ("model={name: vit_tiny_patch16_224, args: {embed_dim: 31}}", "timm cannot make vit_tiny_patch16_224"),
        ("batch_size=64", "64"),
        ("optim.lr=1e30", "the loss is nan"),
    ],
)
def test_what_cannot_be_trained_is_told(supervised, tmp_path, override, said):
    with pytest.raises(FastptError, match=said):
        train(supervised(override), "tiny", tmp_path / "run")


def test_an_unknown_clip_model_is_told(clip, tmp_path):
    with pytest.raises(FastptError, match=r"open_clip does not know; did you mean .*RN50"):
        train(clip("model={name: RN5O}"), "tiny", tmp_path / "run")


def test_what_was_memorised_is_measured_at_the_end(supervised, tmp_path, monkeypatch):
    """A model that predicts the noisy label of every picture has memorised all of them."""
    shown = {}

    def knows_all(self, _, batch):
        return torch.nn.functional.one_hot(self.labels[batch.sample_ids], 4).float()

    recipe = supervised("data.noise=0.2", "schedule={steps: 2}", "data.val=null")
    shown["learned"] = lines(train(recipe, "tiny", tmp_path / "as it is"), "end")[0]["results"]["train"]
    monkeypatch.setattr(Supervised, "_logits", knows_all)
    shown["memorised"] = lines(train(recipe, "tiny", tmp_path / "all"), "end")[0]["results"]["train"]
    assert shown["memorised"] == {"mislabeled_corrected": 0, "mislabeled_memorized": 1, "clean_fit": 1}
    assert 0 <= shown["learned"]["mislabeled_memorized"] < 1


def test_a_share_of_nothing_is_not_measured(supervised, tmp_path, monkeypatch):
    task = Supervised(supervised("data.noise=0.2"), launch.start())
    forward = lambda images: torch.zeros(len(images), 4)  # noqa: E731
    monkeypatch.setattr(task.train_set, "wrong", lambda noise, of: np.ones(40, bool))
    assert task.evaluate(forward, last=True)["train"].keys() == {"mislabeled_corrected", "mislabeled_memorized"}
    monkeypatch.setattr(task.train_set, "wrong", lambda noise, of: np.zeros(40, bool))
    assert task.evaluate(forward, last=True)["train"].keys() == {"clean_fit"}


def test_measures_of_the_split_that_is_trained_on_stand_beside_what_was_memorised(supervised, captioned):
    task = Supervised(supervised("data.noise=0.2", f"data.val={captioned.path}"), launch.start())
    measured = task.evaluate(lambda images: torch.zeros(len(images), 4), last=True)
    assert {"top1", "mislabeled_memorized"} <= measured["train"].keys()


@pytest.mark.parametrize("ema", ["null", "0.9"])
def test_a_network_that_is_broken_where_it_is_measured_is_not_measured(supervised, tmp_path, monkeypatch, ema):
    forward = SmallStemResNet.forward
    monkeypatch.setattr(SmallStemResNet, "forward", lambda self, x: forward(self, x) / float(self.training))  # by 0
    with pytest.raises(FastptError, match="an evaluation found outputs that are not finite at step 5"):
        train(supervised(f"ema={ema}"), "tiny", tmp_path / "run")
    assert lines(tmp_path / "run", "eval") == []


def test_a_process_without_pictures_runs_a_model_that_wants_some():
    args = {"img_size": 56, "embed_dim": 12, "depths": (1, 1), "num_heads": (1, 1), "num_classes": 3}
    swin = timm.create_model("swin_tiny_patch4_window7_224", **args).eval()
    assert outputs_of(swin, torch.zeros(0, 3, 56, 56)).shape == (0, 3)
    assert outputs_of(swin, torch.zeros(2, 3, 56, 56)).shape == (2, 3)


def test_mirror_images_are_averaged_if_told(supervised, tmp_path):
    shown = []
    for flip in ("false", "true"):
        task = Supervised(supervised(f"evaluate.flip={flip}"), launch.start())
        batch = next(iter(evaluation_loader(task.val_set, task.recipe, task.dist_info)))
        mirrored = batch._replace(images=batch.images.flip(2))
        shown.append([task._logits(lambda images: images[..., 0].flatten(1), each) for each in (batch, mirrored)])
    assert not torch.allclose(shown[0][0], shown[0][1])
    torch.testing.assert_close(shown[1][0], shown[1][1])
    torch.testing.assert_close(shown[1][0], (shown[0][0] + shown[0][1]) / 2)


@pytest.mark.parametrize("model", ["vit_tiny_patch16_224", "convnext_atto", "efficientnet_b0", "resnet50_blurpool"])
def test_any_timm_classifier_trains_at_32_pixels(supervised, tmp_path, model):
    args = "{img_size: 32, depth: 2}" if model.startswith("vit") else "{}"
    recipe = supervised(f"model={{name: {model}, args: {args}}}", "schedule={steps: 1}", "data.val=null")
    assert len(losses(train(recipe, "tiny", tmp_path / "run"))) == 1


@pytest.mark.parametrize("mixed", ["{}", "{mixup: 0.2, cutmix: 1.0}"])
@pytest.mark.parametrize("loss", ["{loss: cross_entropy}", "{loss: bce, bce_threshold: 0.2}", "{loss: bce}"])
def test_smoothing_acts_in_every_loss_mixed_or_not(supervised, mixed, loss):
    found = []
    for smoothing in (0.0, 0.1):
        recipe = supervised(f"augment={mixed}", f"augment.label_smoothing={smoothing}", f"supervised={loss}")
        task = Supervised(recipe, launch.start())
        with evaluation_loader(task.val_set, recipe, task.dist_info) as loader:
            batch = Batch(*(column[:8] for column in next(iter(loader))))
        np.random.seed(0)  # noqa: NPY002  (timm's Mixup draws from it)
        logits = torch.linspace(-20, 20, 32).view(4, 8).T
        found.append(task.loss(lambda images, logits=logits: logits, batch, lambda *_: None).item())
    assert found[1] != pytest.approx(found[0], rel=0.01)


def test_a_sum_of_binary_losses_is_that_of_the_classes(supervised):
    found = []
    for reduction in ("mean", "sum"):
        task = Supervised(supervised(f"supervised={{loss: bce, bce_reduction: {reduction}}}"), launch.start())
        with evaluation_loader(task.val_set, task.recipe, task.dist_info) as loader:
            batch = Batch(*(column[:8] for column in next(iter(loader))))
        found.append(task.loss(lambda images: torch.ones(8, 4), batch, lambda *_: None).item())
    assert found[1] == pytest.approx(4 * found[0])


def test_progressive_size_grows_with_the_epochs(supervised, tmp_path, monkeypatch):
    sides = []
    loss = Supervised.loss
    monkeypatch.setattr(
        Supervised,
        "loss",
        lambda self, forward, batch, observe: (
            sides.append(batch.images.shape[1]) or loss(self, forward, batch, observe)
        ),
    )
    train(supervised("data.sizes=[[0, 16], [1, 32]]"), "tiny", tmp_path / "run")
    assert sides == [16] * 5 + [32] * 5


@pytest.mark.parametrize(("schedule", "steps"), [("{steps: 7}", 7), ("{samples: 49}", 7)])
def test_durations_may_end_within_an_epoch(supervised, tmp_path, schedule, steps):
    run = train(supervised(f"schedule={schedule}"), "tiny", tmp_path / "run")
    assert list(losses(run)) == list(range(1, steps + 1))
    assert lines(run, "eval")[-1]["step"] == steps
    assert lines(run, "end")[0]["epoch"] == pytest.approx(steps / 5)


def test_activation_checkpointing_gives_the_same_gradients(supervised, tmp_path):
    vit = [f"model={json.dumps(TINY_VIT)}", "data.size=16", "schedule={steps: 4}"]
    plain = losses(train(supervised(*vit), "tiny", tmp_path / "plain"))
    assert losses(train(supervised(*vit, "engine.activation_checkpointing=true"), "tiny", tmp_path / "less")) == plain


def test_the_moving_average_is_what_is_exported(supervised, tmp_path):
    run = train(
        supervised(
            "ema=0.999", "schedule={steps: 3}", "data.val=null", "checkpoint.every_steps=1", "checkpoint.keep=3"
        ),
        "tiny",
        tmp_path / "run",
    )
    steps = [
        torch.load(path / "mp_rank_00_model_states.pt", weights_only=True)["module"]["fc.weight"]
        for path in reversed(checkpoint.newest_first(run))
    ]
    average = steps[0]
    for decay, weights in zip((1 - 2 ** (-2 / 3), 1 - 3 ** (-2 / 3)), steps[1:], strict=True):
        average = average * decay + weights * (1 - decay)
    torch.testing.assert_close(safetensors.torch.load_file(run / "export" / "model.safetensors")["fc.weight"], average)


def test_fp16_on_a_processor_is_refused(supervised, tmp_path):
    with pytest.raises(FastptError, match=r"fp16 needs a GPU.*Use bf16 or fp32"):
        train(supervised("engine.precision=fp16"), "tiny", tmp_path / "run")


def test_a_run_that_waits_for_its_pictures_says_so(supervised, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(pace, "DATA_BOUND", 0.0)
    monkeypatch.setattr(pace, "WARN_AFTER", 0.0)
    train(supervised(), "tiny", tmp_path / "run")
    said = capfd.readouterr().err
    assert said.count("Data-bound: ") == 2  # while it runs, and in the summary
    assert "data.decoder dali" in said.rpartition("Data-bound: ")[2]


@pytest.mark.parametrize(("load", "told"), [(1.4, 0), (1.6, 1)])
def test_a_run_beside_other_programs_is_told_of_its_threads(supervised, tmp_path, capfd, monkeypatch, load, told):
    monkeypatch.setattr(pace, "WARN_AFTER", 0.0)
    monkeypatch.setattr("os.getloadavg", lambda: (load * os.cpu_count(), 0.0, 0.0))
    torch.set_num_threads(2)
    try:
        train(supervised(), "tiny", tmp_path / "run")
    finally:
        torch.set_num_threads(1)
    assert capfd.readouterr().err.count("Busy cores: ") == told


def test_the_rate_follows_the_decay_that_the_recipe_names(supervised, tmp_path):
    options = ("schedule={epochs: 2, warmup_epochs: 1, decay: linear, min_lr: 0.001}", "log_every=1")
    run = train(supervised(*options), "tiny", tmp_path / "run")
    logged = {line["step"]: line["lr"] for line in lines(run, "train")}
    assert logged == pytest.approx({step: learning_rate(step - 1, 10, 5, 0.01, 0.001, "linear") for step in logged})
    assert len(logged) == 10


def test_the_rate_of_pictures_is_that_of_all_steps_since_the_last_logged_one(supervised, monkeypatch):
    with rehearsal(supervised()) as training:
        said = []
        monkeypatch.setattr(training.record, "train", lambda **values: said.append(values))
        training._log(1.0, math.nan, Since(steps=5, waited=25.0, began=time.monotonic() - 100.0))
    assert said[0]["images_per_second"] == pytest.approx(5 * 8 / 100.0, rel=0.05)
    assert said[0]["data_wait"] == pytest.approx(0.25, rel=0.05)


def test_every_step_process_and_piece_draws_numbers_of_its_own(supervised, monkeypatch):
    with rehearsal(supervised()) as training:
        drawn, seeds = [], []
        monkeypatch.setattr(training.task, "losses", lambda engine, pieces, seed, observe: seeds.append(seed) or [])
        for rank in (0, 1):
            monkeypatch.setattr(training, "dist_info", replace(training.dist_info, rank=rank))
            for step in (0, 1):
                training._step(step, iter([]), Since(), logged=False)
        for seed in seeds:
            for piece in (0, 1):
                seed(piece)
                drawn.append((torch.rand(1).item(), np.random.random()))  # noqa: NPY002
    assert len({one for one, _ in drawn}) == len({one for _, one in drawn}) == len(drawn) == 8
