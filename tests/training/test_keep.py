"""Training on what a noise plan leaves right, for as many steps as on all."""

from itertools import chain

import numpy as np
import pytest

from fastpt.errors import FastptError, RecipeError
from fastpt.training import launch
from fastpt.training.run import train
from fastpt.training.tasks import TASKS
from fastpt.training.tasks.supervised.task import Supervised
from tests.training.conftest import forget_the_end, losses

RIGHT = ("data.noise=0.2", "data.keep=right")
OF = {"supervised": "labels", "clip": "captions"}


def right_of(dataset, of) -> list[int]:
    return np.flatnonzero(dataset.targets(0.2, of) == dataset.targets(None, of)).tolist()


@pytest.mark.parametrize("task", OF)
def test_what_the_plan_changes_is_left_out(request, captioned, task):
    recipe = request.getfixturevalue(task)(*RIGHT)
    built = TASKS.get(task).build(recipe, launch.start())
    assert built.trained_on.rows.tolist() == right_of(captioned, OF[task])
    assert len(built.trained_on) == 32
    assert len(built.train_set) == 40


def test_each_is_shown_its_own_label(supervised, captioned):
    task = Supervised(supervised(*RIGHT), launch.start())
    assert task.labels.tolist() == captioned.clean_labels[right_of(captioned, "labels")].tolist()


def test_steps_are_those_of_the_whole_split_and_passes_go_on_over_epochs(supervised, tmp_path, captioned, monkeypatch):
    """Two epochs of 5 steps: of 32 right samples a pass is 4 steps."""
    steps = []

    def recorded(self, forward, batch, observe):
        steps.append(self.trained_on.rows[batch.sample_ids.numpy()].tolist())
        return loss(self, forward, batch, observe)

    loss = Supervised.loss
    monkeypatch.setattr(Supervised, "loss", recorded)
    train(supervised(*RIGHT), "tiny", tmp_path / "run")
    assert len(steps) == 10
    for first in (0, 4):
        assert sorted(chain(*steps[first : first + 4])) == right_of(captioned, "labels")
    assert steps[0] != steps[4]


@pytest.mark.parametrize("task", OF)
def test_a_run_goes_on_within_a_pass(request, tmp_path, task):
    recipe = request.getfixturevalue(task)(*RIGHT, "checkpoint={every_steps: 6, keep: 3}")
    run = train(recipe, "tiny", tmp_path / "run")
    whole = losses(run)
    newest = run / "checkpoints" / "step-00000010"
    newest.rename(tmp_path / "newest")
    forget_the_end(run)
    train(recipe, "tiny", run, resume=True)
    assert losses(run) == whole


def test_the_folder_of_a_run_says_what_was_kept(supervised, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = train(supervised(*RIGHT, "schedule={steps: 1}"), "tiny")
    assert run.name == "tiny-symmetric-0.2-seed0-right-s0"


def test_without_noise_there_is_no_right_part(supervised):
    with pytest.raises(RecipeError, match=r"data\.keep is right, .* data\.noise is none"):
        supervised("data.keep=right")


def test_a_batch_is_held_against_what_is_kept(supervised, tmp_path):
    with pytest.raises(FastptError, match="batch_size 36 is more than the 32 samples"):
        train(supervised(*RIGHT, "batch_size=36"), "tiny", tmp_path / "run")
