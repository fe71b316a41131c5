from dataclasses import replace

import pytest

from fastpt.errors import FastptError
from fastpt.tuning.found_sets import sets_in, suite_of
from fastpt.tuning.suite_files import FOLDER, load_suite
from fastpt.tuning.suites import open_suite
from tests.conftest import made_up, prepared


def splits(folder, *names, **fields):
    """A folder of splits with these names."""
    for name in names:
        prepared(folder / "pets", replace(made_up(12), name=name, **fields))
    return folder / "pets"


def test_train_and_test_are_a_set_in_domain(tmp_path):
    folder = splits(tmp_path, "train", "val", "test")
    suite = suite_of([folder])
    ((one,), missing) = open_suite(suite)
    assert (suite.name, one.name, one.domain, list(one.tests)) == ("pets", "pets", "id", ["test"])
    assert missing == []


def test_a_suite_may_be_a_folder_wherever_one_is_named(tmp_path):
    folder = splits(tmp_path / "mine", "train", "test")
    assert load_suite(str(folder)) == suite_of([folder])


def test_a_folder_called_as_a_suite_is_asked_for(tmp_path, monkeypatch):
    splits(tmp_path, "train", "test").rename(tmp_path / "demo")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FastptError, match=r"^demo is a folder here and a suite's name. Give ./demo or .*demo.yaml.$"):
        load_suite("demo")
    assert load_suite("./demo").name == "demo"
    assert load_suite(str(FOLDER / "demo.yaml")).id


def test_without_a_test_it_is_tested_on_val(tmp_path):
    (one,) = sets_in(splits(tmp_path, "train", "val"))
    assert str(one.test.split).endswith("/val")


def test_domains_are_sets_out_of_domain_each_trained_on(tmp_path):
    suite = suite_of([splits(tmp_path, "photo", "sketch", "art")])
    found, _ = open_suite(suite)
    assert [one.name for one in found] == ["pets_art", "pets_photo", "pets_sketch"]
    assert list(found[1].tests) == ["art", "sketch"]


def test_a_test_that_knows_some_of_the_classes_is_a_subset(tmp_path):
    folder = splits(tmp_path, "train")
    prepared(folder, replace(made_up(6, classes=3), name="test"))
    ((one,), _) = open_suite(suite_of([folder]))
    assert one.tests["test"].answers.tolist() == [0, 1, 2, -1]


@pytest.mark.parametrize(
    ("names", "within", "said"),
    [
        (["train"], "", "has train, but no test or val beside it"),
        (["photo"], "", "has photo alone, and no split to test on"),
        (["train", "test"], "train", "is one split, but a set has splits to train and to test on. Give .*pets"),
        ([], "", "holds no prepared split"),
    ],
)
def test_a_folder_that_is_no_set_is_told_what_it_lacks(tmp_path, names, within, said):
    folder = splits(tmp_path, *names)
    with pytest.raises(FastptError, match=said):
        sets_in(folder / within)


def test_captions_alone_cannot_be_tuned_on(tmp_path):
    prepared(tmp_path, made_up(8, 0, captions=True))
    with pytest.raises(FastptError, match="has no labels to tune on"):
        sets_in(tmp_path)
