import pytest
import yaml

from fastpt.errors import FastptError
from fastpt.tuning.suites import FOLDER, Suite, load_suite, open_suite
from tests.conftest import made_up, prepared


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.yaml")))
def test_suites_of_the_repository_load(name):
    assert load_suite(name).name == name


def test_the_demo_suite_names_splits_that_the_demo_set_has():
    from datasets_prep.sources.demo import RECIPES

    suite = load_suite("demo")
    paths = {path for one in suite.id for path in (one.train, one.test)}
    paths |= {path for one in suite.ood for path in (one.train, *one.tests.values())}
    assert paths <= {f"data/demo/{recipe.name}" for recipe in RECIPES}


def write(tmp_path, value):
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(value))
    return str(path)


def test_unknown_suites_and_wrong_files_are_told(tmp_path):
    with pytest.raises(FastptError, match=r"no suite 'dmeo'\. Known suites: .*demo"):
        load_suite("dmeo")
    with pytest.raises(FastptError, match="names no set"):
        load_suite(write(tmp_path, {"name": "x"}))
    with pytest.raises(FastptError, match="unknown key odd; did you mean ood"):
        load_suite(write(tmp_path, {"name": "x", "odd": []}))
    one = {"name": "a", "train": "t", "test": "t"}
    with pytest.raises(FastptError, match="names 'a' twice under id"):
        load_suite(write(tmp_path, {"name": "x", "id": [one, one]}))


def test_a_wrong_metric_is_told(tmp_path):
    with pytest.raises(FastptError, match="metric"):
        load_suite(write(tmp_path, {"name": "x", "id": [{"name": "a", "train": "t", "test": "t", "metric": "f1"}]}))


def test_missing_sets_are_reported_and_the_rest_go_on(labelled, tmp_path):
    there = {"name": "here", "train": str(labelled.path), "test": str(labelled.path)}
    gone = {"name": "gone", "train": str(tmp_path / "gone"), "test": str(tmp_path / "gone"), "prep": "fastpt prep gone"}
    half = {"name": "half", "train": str(labelled.path), "tests": {"a": str(labelled.path), "b": str(tmp_path / "b")}}
    tasks, missing = open_suite(Suite.model_validate({"name": "x", "id": [there, gone], "ood": [half]}))
    assert [(task.setting, task.name, list(task.tests)) for task in tasks] == [
        ("id", "here", ["train"]),
        ("ood", "half", ["a"]),
    ]
    assert [entry["set"] for entry in missing] == ["gone", "half"]
    assert "fastpt prep gone" in missing[0]["reason"]
    with pytest.raises(FastptError, match=r"no set of suite x is there:\n.*fastpt prep gone"):
        open_suite(Suite.model_validate({"name": "x", "id": [gone]}))


def test_train_and_test_must_have_the_same_classes(labelled, tmp_path):
    other = prepared(tmp_path, made_up(10, classes=5))
    one = {"name": "a", "train": str(labelled.path), "test": str(other.path)}
    with pytest.raises(FastptError, match=r"has 4 classes and .* 5.*only in the second: \['class 4'\]"):
        open_suite(Suite.model_validate({"name": "x", "id": [one]}))
