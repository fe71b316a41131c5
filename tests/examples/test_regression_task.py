import json

import pytest
import timm
import yaml

from fastpt import FastptError, RecipeError
from fastpt.recipe import load_recipe
from fastpt.runs import read_metrics, read_run
from fastpt.training.run import train
from fastpt.training.tasks import TASKS


@pytest.fixture(autouse=True)
def _in_the_table(monkeypatch):
    """The one line that fastpt/training/tasks/__init__.py would get."""
    monkeypatch.setitem(TASKS.table, "regression", "tests.examples.regression_task:KIND")


@pytest.fixture
def recipe(tmp_path, labelled):
    """Makes a recipe of 5 steps a epoch; arguments are overrides."""

    def load(*overrides: str):
        values = {
            "task": "regression",
            "regression": {"values": [1.0, 2.0, 4.0, 8.0]},
            "data": {"train": str(labelled.path), "val": str(labelled.path), "size": 32, "noise": 0.25, "threads": 1},
            "model": {"name": "resnet10_half", "args": {"channels": [8, 8, 16, 16]}},
            "optim": {"name": "adamw", "lr": 0.01},
            "schedule": {"epochs": 2},
            "batch_size": 8,
            "engine": {"precision": "fp32"},
            "log_every": 1,
        }
        (tmp_path / "regression.yaml").write_text(yaml.safe_dump(values))
        return load_recipe(tmp_path / "regression.yaml", overrides)

    return load


def test_it_trains_is_measured_and_exported(recipe, tmp_path):
    run = train(recipe("checkpoint.keep_best=r2"), "regression", tmp_path / "run")
    steps = [event["loss"] for event in read_metrics(run) if event["event"] == "train"]
    assert len(steps) == 10
    assert steps[-1] < steps[0]
    evaluations = read_run(run).evals
    assert [set(one) & {"r2", "top1"} for one in evaluations] == [{"r2"}] * 2
    provenance = json.loads((run / "provenance.json").read_text())
    assert (provenance["of"], provenance["measures"]["r2"]) == ("labels", "Explained variance R²")
    assert timm.create_model(f"local-dir:{run / 'export'}", pretrained=True).num_classes == 1
    assert "r2" in (run / "export" / "README.md").read_text()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("regression=null", "regression.values is missing"),
        ("regression.valus=[1]", "unknown key regression.valus; did you mean regression.values?"),
        ("regression.values=[3.0, 3.0]", "regression.values are all 3; there is nothing to learn"),
        ("augment.mixup=0.2", "augment.mixup does not apply to task regression"),
        ("supervised.loss=bce", "supervised does not apply to task regression"),
        ("checkpoint.keep_best=top1", "measures of task regression: r2"),
    ],
)
def test_what_does_not_go_together_is_refused(recipe, override, said):
    with pytest.raises(RecipeError, match=said):
        recipe(override)


def test_each_class_needs_a_number(recipe, tmp_path):
    with pytest.raises(FastptError, match=r"has 3 numbers, but .* has 4 classes"):
        train(recipe("regression.values=[1.0, 2.0, 3.0]"), "regression", tmp_path / "run")
