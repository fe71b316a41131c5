"""`record.samples`: what each sample's loss, margin and prediction was, whatever happens on the way."""

import json
import shutil
import signal

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fastpt import Batch, runs
from fastpt.errors import RecipeError
from fastpt.training import checkpoint
from fastpt.training.dynamics import Recorder
from fastpt.training.launch import DistInfo
from fastpt.training.run import train
from fastpt.training.tasks.supervised.task import Supervised
from tests.training.conftest import TINY_VIT, forget_the_end, losses
from tests.training.test_resume import train_and_stop
from tests.training.test_zero import stopped_at, train_in

ALONE = DistInfo(0, 1, torch.device("cpu"))
ALL = "record.samples=[loss, margin, correct]"
SAVED = (ALL, "checkpoint={every_steps: 3, keep: 9}")
NOISY = ("data.noise=0.2",)


def recorded(run) -> dict[str, np.ndarray]:
    return {name: np.array(values) for name, values in runs.read_samples(run).measures.items()}


def assert_same(one, other) -> None:
    found, expected = recorded(one), recorded(other)
    assert list(found) == list(expected) == ["loss", "margin", "correct"]
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name])


def test_each_sample_has_what_the_model_said_of_it(supervised, tmp_path, captioned, monkeypatch):
    seen = {name: np.full((2, 40), np.nan, np.float32) for name in ("loss", "margin", "correct")}
    loss, steps = Supervised.loss, []

    def spied(self, forward, batch, observe):
        outputs = []
        result = loss(self, lambda images: outputs.append(forward(images)) or outputs[0], batch, observe)
        labels, logits, epoch = self.labels[batch.sample_ids], outputs[0].detach(), len(steps) // 5
        steps.append(None)
        others = [row[torch.arange(4) != label].max() for row, label in zip(logits, labels, strict=True)]
        own = logits[torch.arange(8), labels]
        seen["loss"][epoch, batch.sample_ids] = F.cross_entropy(logits, labels, reduction="none")
        seen["margin"][epoch, batch.sample_ids] = own - torch.stack(others)
        seen["correct"][epoch, batch.sample_ids] = logits.argmax(1) == labels
        return result

    monkeypatch.setattr(Supervised, "loss", spied)
    run = train(supervised(ALL, *NOISY, "augment.label_smoothing=0.1"), "tiny", tmp_path / "run")
    for name, values in recorded(run).items():
        np.testing.assert_array_equal(values, seen[name])
        assert not np.isnan(values).any()
    found = runs.read_samples(run)
    assert found.samples_id == captioned.samples_id
    assert found.wrong.tolist() == (captioned.targets(0.2, "labels") != captioned.clean_labels).tolist()


def test_only_what_is_asked_for_is_recorded(supervised, tmp_path):
    run = train(supervised("record.samples=[margin]"), "tiny", tmp_path / "run")
    assert list(recorded(run)) == ["margin"]
    assert not (train(supervised(), "tiny", tmp_path / "without") / "samples").exists()


def test_recording_moves_no_weight(supervised, tmp_path):
    assert losses(train(supervised(ALL), "tiny", tmp_path / "with")) == losses(
        train(supervised(), "tiny", tmp_path / "without")
    )


def test_a_killed_run_has_what_one_that_never_stopped_has(supervised, tmp_path):
    recipe = supervised(*SAVED, *NOISY, "schedule.epochs=6", "augment={randaugment: m7-std0.5, random_erasing: 0.5}")
    whole, killed = train(recipe, "tiny", tmp_path / "whole"), tmp_path / "killed"
    train_and_stop(recipe, killed, signal.SIGKILL, after=13)
    assert len(recorded(killed)["loss"]) < 6
    train(recipe, "tiny", killed, resume=True)
    assert_same(killed, whole)


@pytest.mark.parametrize("step", [3, 6, 9])
def test_it_goes_on_within_an_epoch_from_any_checkpoint(supervised, tmp_path, step):
    recipe = supervised(*SAVED)
    whole = train(recipe, "tiny", tmp_path / "whole")
    run = stopped_at(step, whole, tmp_path / "stopped")
    train(recipe, "tiny", run, resume=True)
    assert_same(run, whole)


@pytest.mark.parametrize(("processes", "pieces", "stage"), [(2, 1, 0), (2, 2, 0), (2, 1, 3)])
def test_two_processes_record_what_one_does(supervised, tmp_path, processes, pieces, stage):
    settings = (f"model={json.dumps(TINY_VIT)}", "data.size=16", "data.val=null", "batch_size=12", *SAVED)
    whole = train(supervised(*settings), "tiny", tmp_path / "whole")
    several = supervised(
        *settings, f"engine={{precision: fp32, zero_stage: {stage}, gradient_accumulation_steps: {pieces}}}"
    )
    train_in(processes, {tmp_path / "several": several})
    found, expected = recorded(tmp_path / "several"), recorded(whole)
    assert np.isnan(expected["loss"]).sum(1).tolist() == [4, 4]  # 3 steps of 12
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4)
    if stage == 0 and pieces == 1:
        run = stopped_at(3, tmp_path / "several", tmp_path / "one")
        train(several, "tiny", run, resume=True)
        np.testing.assert_allclose(recorded(run)["loss"], expected["loss"], atol=1e-4)


def test_of_repeated_views_the_first_counts(supervised, tmp_path):
    task = Supervised(supervised(ALL), ALONE)
    recorder = Recorder(tmp_path, task.recipe, task, "labels", ALONE)
    recorder.begin(0, {})
    ids, views = torch.tensor([3, 3, 5, 5]), torch.tensor([0, 1, 1, 0])
    logits = torch.tensor([[2.0, 0, 0, 0], [9.0, 0, 0, 0], [9.0, 0, 0, 0], [4.0, 0, 0, 0]])
    recorder.observe(Batch(torch.zeros(4), ids, views, ids), logits, torch.zeros(4, dtype=torch.int64))
    recorder.write(0)
    (margin,) = recorded(tmp_path)["margin"]
    assert margin[[3, 5]].tolist() == [2.0, 4.0]
    assert np.isnan(np.delete(margin, [3, 5])).all()


def test_with_repeated_augmentation_an_epoch_sees_some_of_the_samples(supervised, tmp_path):
    run = train(supervised(ALL, "augment.repeated_augmentation=2"), "tiny", tmp_path / "run")
    assert np.isnan(recorded(run)["loss"]).sum(1).tolist() == [20, 20]


def test_a_row_is_a_pass_over_what_is_kept_by_the_split_s_own_ids(supervised, tmp_path):
    run = train(supervised(ALL, *NOISY, "data.keep=right", "batch_size=16"), "tiny", tmp_path / "run")  # 2 epochs of 2
    found = runs.read_samples(run)
    assert found.wrong.sum() == 8
    assert np.isnan(found.measures["loss"]).tolist() == [found.wrong.tolist()] * 2


def test_an_epoch_that_training_ends_within_is_recorded_and_goes_on(supervised, tmp_path):
    constant = ("schedule.min_lr=0.01", "schedule.warmup_epochs=null", *SAVED)
    settings = ("schedule.epochs=null", *constant)
    run = train(supervised(*settings, "schedule.steps=7"), "tiny", tmp_path / "run")
    assert np.isnan(recorded(run)["loss"]).sum(1).tolist() == [0, 24]
    forget_the_end(run)
    shutil.rmtree(run / "export")
    train(supervised(*settings, "schedule.steps=7"), "tiny", run, resume=True)
    assert np.isnan(recorded(run)["loss"]).sum(1).tolist() == [0, 24]
    train(supervised(*settings, "schedule.steps=10"), "tiny", run, resume=True, allow_changes=True)
    assert_same(run, train(supervised(*settings, "schedule.steps=10"), "tiny", tmp_path / "whole"))


def test_a_run_may_begin_to_record_on_its_way(supervised, tmp_path):
    before = train(supervised("checkpoint={every_steps: 3, keep: 9}"), "tiny", tmp_path / "before")
    run = stopped_at(6, before, tmp_path / "run")
    train(supervised(*SAVED), "tiny", run, resume=True)
    assert np.isnan(recorded(run)["loss"]).sum(1).tolist() == [40, 8]  # from step 7 on


def test_what_was_recorded_of_other_targets_is_not_kept(supervised, tmp_path, capfd):
    run = train(supervised(*SAVED), "tiny", tmp_path / "run")
    forget_the_end(run)
    for path in checkpoint.newest_first(run)[:2]:
        shutil.rmtree(path)
    train(supervised(*SAVED, *NOISY), "tiny", run, resume=True, allow_changes=True)
    assert "earlier epochs are of other data, or damaged: left empty" in capfd.readouterr().err
    assert np.isnan(recorded(run)["loss"]).sum(1).tolist() == [40, 8]


def test_damage_is_found_by_verify(supervised, tmp_path):
    run = train(supervised(ALL), "tiny", tmp_path / "run")
    assert runs.verify(run) == []
    content = bytearray((run / "samples" / "margin.npy").read_bytes())
    content[-5] ^= 1
    (run / "samples" / "margin.npy").write_bytes(content)
    (problem,) = runs.verify(run)
    assert "margin.npy is damaged: its row 1 does not match its xxh3" in problem


@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_mixed_pictures_have_no_label_to_record(supervised, mixing):
    with pytest.raises(RecipeError, match=r"record\.samples has no meaning with augment\.mixup and augment\.cutmix"):
        supervised(ALL, f"augment.{mixing}=0.2")


def test_a_task_that_observes_no_sample_refuses(clip):
    with pytest.raises(RecipeError, match=r"record\.samples does not apply to task clip"):
        clip(ALL)


def test_a_measure_is_named_once(supervised):
    with pytest.raises(RecipeError, match=r"record\.samples names one twice"):
        supervised("record.samples=[loss, loss]")
