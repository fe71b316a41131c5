"""Several labelled splits, trained on as one."""

import json

import numpy as np
import pytest
import timm

from fastpt import runs
from fastpt.errors import FastptError
from fastpt.runs.folder import newest_first
from fastpt.training.run import train
from tests.conftest import made_up, picture, prepared
from tests.training.conftest import forget_the_end, lines, losses


@pytest.fixture(scope="module")
def more(tmp_path_factory):
    """8 other pictures of the same classes, with a plan at 20 %."""
    listing = made_up(8, special={i: picture(500 + i) for i in range(8)})
    return prepared(tmp_path_factory.mktemp("more"), listing, [0.2])


def both(one, other, weight=2) -> str:
    return f"data.train=[{{path: {one.path}}}, {{path: {other.path}, weight: {weight}}}]"


def test_they_are_trained_on_measured_and_exported_as_one(supervised, captioned, more, tmp_path):
    noisy = ("data.noise=0.2", "record.samples=[loss]")
    run = train(supervised(both(captioned, more), *noisy), "tiny", tmp_path / "run")
    assert len(losses(run)) == 14  # two epochs of 40 + 2 x 8 samples, 8 a step
    assert not np.isnan(runs.read_samples(run).measures["loss"]).any()
    assert set(lines(run, "end")[0]["results"]) == {"train", "made-up/val"}
    origin = json.loads((run / "provenance.json").read_text())
    assert origin["dataset"]["class_names"] == captioned.class_names
    assert timm.create_model(f"local-dir:{run / 'export'}", pretrained=True).num_classes == 4


def test_a_run_on_several_goes_on_from_a_checkpoint(supervised, captioned, more, tmp_path):
    import shutil

    recipe = supervised(both(captioned, more), "checkpoint={every_steps: 5, keep: 9}")
    run = train(recipe, "tiny", tmp_path / "run")
    whole = losses(run)
    forget_the_end(run)
    for path in newest_first(run)[:2]:
        shutil.rmtree(path)
    train(recipe, "tiny", run, resume=True)
    assert losses(run) == whole


def test_what_is_right_of_each_is_kept(supervised, captioned, more, tmp_path):
    right = ("data.noise=0.2", "data.keep=right", "record.samples=[loss]", "schedule={steps: 6}")
    run = train(supervised(both(captioned, more, weight=1), *right), "tiny", tmp_path / "run")
    found = runs.read_samples(run)
    assert found.wrong.sum() == 8 + 2
    assert not np.isnan(found.measures["loss"][:, ~found.wrong]).all()
    assert np.isnan(found.measures["loss"][:, found.wrong]).all()


def test_other_classes_are_refused_once(supervised, captioned, tmp_path):
    three = prepared(tmp_path / "three", made_up(9, classes=3))
    with pytest.raises(FastptError, match=r"^\S+ and \S+ differ in their classes \(4, 3\)[^\n]*$"):
        train(supervised(both(captioned, three)), "tiny", tmp_path / "run")
