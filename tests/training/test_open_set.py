"""Training where some pictures are of another split: of no class that is known, under labels and captions of this."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fastpt import runs
from fastpt.noise import add_noise
from fastpt.training import launch
from fastpt.training.run import train
from fastpt.training.tasks import TASKS
from fastpt.training.tasks.clip.task import Clip
from fastpt.training.tasks.supervised.task import Supervised
from tests.conftest import made_up, picture, prepared
from tests.training.conftest import TINY_CLIP, TINY_RESNET, lines, losses, tiny_recipe

OF = {"supervised": (TINY_RESNET, "labels"), "clip": (TINY_CLIP, "captions")}
NOISE = "open-set-0.2-seed0"


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    listing = made_up(20, classes=2, special={i: picture(500 + i) for i in range(20)})
    return prepared(tmp_path_factory.mktemp("other"), replace(listing, classes=["x", "y"], class_names=["x", "y"]))


@pytest.fixture(scope="module")
def mine(tmp_path_factory, other):
    """40 pictures, of which 8 may be replaced."""
    split = prepared(tmp_path_factory.mktemp("mine"), made_up(40, captions=True))
    add_noise(split, 0.2, 0, kind="open-set", files={"from": other.path})
    return split


@pytest.fixture
def recipe(tmp_path, mine, held_out):
    def made(task, *overrides):
        noise = (f"data.noise={NOISE}", *overrides)
        return tiny_recipe(tmp_path, mine, held_out, task, OF[task][0], noise)

    return made


@pytest.mark.parametrize("task", OF)
def test_the_pictures_that_are_trained_on_are_the_others(recipe, mine, other, task):
    built = TASKS.get(task).build(recipe(task), launch.start())
    array, ids = mine.noise_plan(NOISE).array, np.arange(40)
    for row, jpeg in zip(ids, built.trained_on.jpegs(ids), strict=True):
        assert np.array_equal(jpeg, mine.jpeg(row) if array[row] < 0 else other.jpeg(int(array[row])))


@pytest.mark.parametrize("task", OF)
def test_the_right_part_is_what_has_its_own_picture(recipe, mine, task):
    built = TASKS.get(task).build(recipe(task, "data.keep=right"), launch.start())
    assert built.trained_on.rows.tolist() == np.flatnonzero(mine.noise_plan(NOISE).array < 0).tolist()


def test_other_pictures_give_other_losses_and_the_run_says_whose(recipe, tmp_path, other):
    noisy = train(recipe("supervised"), "tiny", tmp_path / "noisy")
    clean = train(recipe("supervised", "data.noise=0"), "tiny", tmp_path / "clean")
    assert losses(noisy) != losses(clean)
    noise = json.loads((noisy / "provenance.json").read_text())["noise"]
    assert (noise["of"], noise["kind"], noise["source"]) == ("pictures", "open-set", "made-up/train")
    assert noise["source_sha256"] == other.identity
    results = lines(noisy, "end")[0]["results"]["train"]
    assert results.keys() == {"mislabeled_memorized", "clean_fit"}


def test_a_model_that_knows_the_labels_of_the_others_has_memorised_them(recipe, monkeypatch):
    task = Supervised(recipe("supervised"), launch.start())
    wrong = torch.from_numpy(task.train_set.wrong(NOISE, "labels"))

    def knows_the_wrong(self, _, batch):
        shift = torch.where(wrong[batch.sample_ids], 0, 1)
        return torch.nn.functional.one_hot((self.labels[batch.sample_ids] + shift) % 4, 4).float()

    monkeypatch.setattr(Supervised, "_logits", knows_the_wrong)
    assert task.evaluate(lambda images: images, last=True)["train"] == {"mislabeled_memorized": 1, "clean_fit": 0}


def test_pairs_are_measured_with_the_pictures_of_the_others(recipe, mine, other):
    task = Clip(recipe("clip", "clip.memorization_samples=3"), launch.start())
    pairs, array = task._measured_pairs, mine.noise_plan(NOISE).array
    assert (array[pairs.rows] >= 0).tolist() == [False] * 3 + [True] * 3
    for place in (3, 4, 5):
        (jpeg,) = pairs.jpegs(np.array([place]))
        assert np.array_equal(jpeg, other.jpeg(int(array[pairs.rows[place]])))


def test_the_record_of_samples_says_which_are_wrong(recipe, tmp_path, mine):
    run = train(recipe("supervised", "record.samples=[loss]"), "tiny", tmp_path / "run")
    assert np.array_equal(runs.read_samples(run).wrong, mine.noise_plan(NOISE).array >= 0)
