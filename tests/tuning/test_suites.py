import dataclasses
import json

import numpy as np
import pytest
import yaml

from fastpt.errors import FastptError
from fastpt.tuning.suite_files import FOLDER, load_suite
from fastpt.tuning.suites import Suite, open_suite
from tests.conftest import made_up, prepared


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.yaml")))
def test_suites_of_the_repository_load(name):
    assert load_suite(name).name == name


def test_the_demo_suite_names_splits_that_the_demo_set_has():
    from datasets_prep.sources.demo.scenes import SPLITS

    suite = load_suite("demo")
    assert {source.split for _, source in suite.sources()} <= {f"data/demo/{split.name}" for split in SPLITS}


def write(tmp_path, value):
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(value))
    return str(path)


def test_unknown_suites_and_wrong_files_are_told(tmp_path):
    with pytest.raises(FastptError, match=r"no suite 'dmeo'; did you mean demo"):
        load_suite("dmeo")
    with pytest.raises(FastptError, match=r"key ood\.0\.tests\.3 is no text; put it in quotes"):
        load_suite(write(tmp_path, {"name": "x", "ood": [{"name": "a", "train": "b", "tests": {3: "c"}}]}))
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
    sets, missing = open_suite(Suite.model_validate({"name": "x", "id": [there, gone], "ood": [half]}))
    assert [(one.domain, one.name, list(one.tests)) for one in sets] == [
        ("id", "here", ["train"]),
        ("ood", "half", ["a"]),
    ]
    assert [entry.set for entry in missing] == ["gone", "half"]
    assert "fastpt prep gone" in missing[0].reason
    with pytest.raises(FastptError, match=r"no set of suite x is there:\n.*fastpt prep gone"):
        open_suite(Suite.model_validate({"name": "x", "id": [gone]}))


def test_train_and_test_must_have_the_same_classes(labelled, tmp_path):
    other = prepared(tmp_path, made_up(10, classes=5))
    one = {"name": "a", "train": str(labelled.path), "test": str(other.path)}
    with pytest.raises(FastptError, match=r"has 4 classes and .* 5.*only in the second, such as 'class 4'"):
        open_suite(Suite.model_validate({"name": "x", "id": [one]}))


def of_one_set(train, test, **source):
    """A suite of one set, to be tested on `test`."""
    entry = {"name": "a", "train": str(train.path), "tests": {"t": {"split": str(test.path), **source}}}
    return Suite.model_validate({"name": "x", "ood": [entry]})


def with_classes(folder, classes):
    listing = made_up(12, len(classes))
    return prepared(folder, dataclasses.replace(listing, classes=classes, class_names=classes))


def test_a_test_may_know_a_subset_of_the_classes(labelled, tmp_path):
    few = with_classes(tmp_path, ["class 1", "class 3"])
    (found,), _ = open_suite(of_one_set(labelled, few, classes="subset"))
    assert found.tests["t"].answers.tolist() == [-1, 0, -1, 1]
    odd = with_classes(tmp_path / "odd", ["class 1", "class 9"])
    with pytest.raises(FastptError, match=r"'class 9' .* no training class"):
        open_suite(of_one_set(labelled, odd, classes="subset"))
    with pytest.raises(FastptError, match="say `classes: subset`"):
        open_suite(of_one_set(labelled, few))


def test_classes_of_equal_ids_and_other_names_are_refused(tmp_path):
    def numbered(split, names):
        listing = made_up(12, len(names), name=split)
        ids = [str(i) for i in range(len(names))]
        return prepared(tmp_path, dataclasses.replace(listing, classes=ids, class_names=names))

    train, swapped = numbered("train", ["cat", "dog", "owl"]), numbered("swapped", ["owl", "cat", "dog"])
    some = numbered("some", ["dog", "owl"])
    for test, more in ((swapped, {}), (some, {"classes": "subset"})):
        with pytest.raises(FastptError, match=r"class '0' is called 'cat' in .*train and '(owl|dog)' in"):
            open_suite(of_one_set(train, test, **more))
    (tmp_path / "map.json").write_text(json.dumps({"0": "1", "1": "2"}))
    (found,), _ = open_suite(of_one_set(train, some, classes=str(tmp_path / "map.json")))
    assert found.tests["t"].answers.tolist() == [-1, 0, 1]


def test_classes_in_another_order_are_told_with_what_to_say(labelled, tmp_path):
    other = with_classes(tmp_path, ["class 1", "class 0", "class 2", "class 3"])
    with pytest.raises(FastptError, match=r"number 0 is 'class 0' in the first and 'class 1' in the second\)"):
        open_suite(of_one_set(labelled, other))
    (found,), _ = open_suite(of_one_set(labelled, other, classes="subset"))
    assert found.tests["t"].answers.tolist() == [1, 0, 2, 3]


def test_classes_may_be_folders_named_by_number(labelled, tmp_path):
    numbered = with_classes(tmp_path, ["0", "2", "3"])
    (found,), _ = open_suite(of_one_set(labelled, numbered, classes="index"))
    assert found.tests["t"].answers.tolist() == [0, -1, 1, 2]
    with pytest.raises(FastptError, match=r"'4' .* no training class"):
        open_suite(of_one_set(labelled, with_classes(tmp_path / "odd", ["0", "4"]), classes="index"))


def test_a_mapping_may_let_several_classes_count_as_one(labelled, tmp_path):
    test = with_classes(tmp_path, ["clock", "dog", "unheard of"])
    mapping = tmp_path / "map.json"
    mapping.write_text(json.dumps({"clock": ["class 0", "class 3"], "dog": "class 2", "not in the test": "class 1"}))
    (found,), _ = open_suite(of_one_set(labelled, test, classes=str(mapping)))
    assert found.tests["t"].answers.tolist() == [0, -1, 1, 0]
    for content, message in {
        '{"clock": "class 1", "dog": "class 1"}': "'dog' .* mapped already",
        '{"clock": 1}': "should map each class",
        '{"cat": "class 1"}': r"maps \['cat'\], but .*'clock'",
        "{": "cannot be read",
        '{"clock": "class 1", "dog": "class 2", "clock": "class 0"}': "the key 'clock' stands there twice",
    }.items():
        mapping.write_text(content)
        with pytest.raises(FastptError, match=message):
            open_suite(of_one_set(labelled, test, classes=str(mapping)))


def feature_suite(folder, rows=6, dim=3, labels=(0, 1, 2, 0, 1, 2), **test):
    """A suite whose training features are sound and whose test features are as the arguments say."""
    np.save(folder / "train.npy", np.eye(6, 3))
    np.save(folder / "train_y.npy", np.arange(6) % 3)
    np.save(folder / "test.npy", np.ones((rows, dim)))
    np.save(folder / "test_y.npy", np.array(labels))
    train, there = (
        {"features": str(folder / f"{x}.npy"), "labels": str(folder / f"{x}_y.npy")} for x in ("train", "test")
    )
    return Suite.model_validate({"name": "x", "id": [{"name": "a", "train": train, "test": there | test}]})


def test_a_suite_may_hold_features(tmp_path):
    (found,), missing = open_suite(feature_suite(tmp_path))
    assert (found.classes, missing) == (3, [])
    assert found.train.values.dtype == np.float32
    (found,), _ = open_suite(feature_suite(tmp_path, rows=2, labels=[2, 0], classes="subset"))
    assert found.tests["test"].answers.tolist() == [0, -1, 2]


def test_features_and_their_labels_must_agree(tmp_path):
    for arguments, message in {
        (6, 4): "has 3 dimensions and .* 4",
        (5, 3): "should hold 5 labels",
    }.items():
        with pytest.raises(FastptError, match=message):
            open_suite(feature_suite(tmp_path, *arguments))
    with pytest.raises(FastptError, match=r"has the label 3, but the labels of .* end at 2"):
        open_suite(feature_suite(tmp_path, rows=1, labels=[3]))


def test_training_labels_with_large_gaps_are_told_before_classes_are_counted_out(tmp_path):
    suite = feature_suite(tmp_path, classes="subset")
    np.save(tmp_path / "train_y.npy", np.array([0, 1, 2, 0, 1, 2**31 - 1]))
    with pytest.raises(FastptError, match="go up to 2147483647, but it has 6 samples"):
        open_suite(suite)


def test_missing_feature_files_are_reported(tmp_path):
    suite = feature_suite(tmp_path)
    (tmp_path / "test_y.npy").unlink()
    with pytest.raises(FastptError, match=r"no set of suite x is there:\n  a: .*test_y.npy is not there"):
        open_suite(suite)


def test_an_empty_path_is_told(tmp_path):
    with pytest.raises(FastptError, match=r"id.0.train.features"):
        load_suite(write(tmp_path, {"name": "x", "id": [{"name": "a", "train": {"features": ""}, "test": "x"}]}))


def test_splits_and_features_do_not_mix(tmp_path):
    features, split = {"features": "f.safetensors"}, "data/x/train"
    for test, message in ((split, "mixes prepared splits and feature files"), ({"labels": "y.npy"}, "neither or both")):
        with pytest.raises(FastptError, match=message):
            load_suite(write(tmp_path, {"name": "x", "id": [{"name": "a", "train": features, "test": test}]}))
    entry = {"name": "a", "train": split, "tests": {"v2": {"split": split, "clases": "index"}}}
    with pytest.raises(FastptError, match=r"unknown key ood.0.tests.v2.clases; did you mean ood.0.tests.v2.classes"):
        load_suite(write(tmp_path, {"name": "x", "ood": [entry]}))


def joined_suite(first, second, test):
    entry = {"name": "a", "train": [str(first.path), str(second.path)], "test": str(test.path)}
    return Suite.model_validate({"name": "x", "id": [entry]})


def test_splits_in_a_list_are_one(labelled, tmp_path):
    other = prepared(tmp_path, made_up(12, name="valid"))
    (found,), _ = open_suite(joined_suite(labelled, other, labelled))
    assert len(found.train) == len(labelled) + 12
    assert found.train.targets(None, "labels").tolist() == [*labelled.clean_labels, *other.clean_labels]
    assert found.tests["train"].answers is None


def test_joined_splits_must_have_the_same_classes(labelled, tmp_path):
    other = prepared(tmp_path, made_up(10, classes=5))
    with pytest.raises(FastptError, match=r"set a: .* are joined, but differ in their classes \(4, 5\)"):
        open_suite(joined_suite(labelled, other, labelled))


def test_each_split_that_is_missing_of_a_list_is_told(labelled, tmp_path):
    entry = {"name": "a", "train": [str(labelled.path), str(tmp_path / "valid")], "test": str(labelled.path)}
    with pytest.raises(FastptError, match=r"a: .*valid is not there. Prepare it: fastpt prep a"):
        open_suite(Suite.model_validate({"name": "x", "id": [entry | {"prep": "fastpt prep a"}]}))


def test_lists_of_splits_that_mean_nothing_are_refused(tmp_path):
    for train, message in ((["a", "b", "a"], "joins a with itself"), ([], r"id.0.train.split"), (["a", ""], "train")):
        with pytest.raises(FastptError, match=message):
            load_suite(write(tmp_path, {"name": "x", "id": [{"name": "s", "train": train, "test": "t"}]}))


def test_a_set_has_a_test_or_folds(tmp_path):
    for keys, message in (
        ({}, "neither or both of test and folds"),
        ({"test": "t", "folds": 2}, "neither or both of test and folds"),
        ({"folds": 1}, "greater than or equal to 2"),
        ({"test": "t", "max_train": 3, "max_train_per_class": 1}, "both max_train and max_train_per_class"),
    ):
        with pytest.raises(FastptError, match=message):
            load_suite(write(tmp_path, {"name": "x", "id": [{"name": "a", "train": "t", **keys}]}))


def test_features_have_no_names_to_fold_by(tmp_path):
    train = {"features": "f.npy", "labels": "y.npy"}
    with pytest.raises(FastptError, match="has features, whose samples have no names"):
        load_suite(write(tmp_path, {"name": "x", "id": [{"name": "a", "train": train, "folds": 2}]}))


def test_folds_partition_what_they_test_and_train_on_the_others(labelled):
    entry = {"name": "a", "train": str(labelled.path), "folds": 2, "max_train_per_class": 3}
    (found,), _ = open_suite(Suite.model_validate({"name": "x", "id": [entry]}))
    assert list(found.tests) == ["2 folds"]
    for number, trained in enumerate(found.trained):
        assert (found.fold[trained] != number).all()
        assert np.bincount(labelled.clean_labels[trained]).tolist() == [3, 3, 3, 3]


SOURCE = "https://example.org/pets"


def published(labelled, **changes):
    """A set whose splits are one prepared one, and what it is as published: 40 pictures of 2 classes."""
    counts = {"classes": len(labelled.classes), "train": 40, "tests": {"train": 40}} | changes
    facts = {"source": SOURCE, "licence": "none stated", **counts}
    one = {"name": "pets", "train": str(labelled.path), "test": str(labelled.path), "published": facts}
    return Suite.model_validate({"name": "x", "id": [one]})


def test_a_set_as_published_passes_in_silence(labelled):
    (one,), missing = open_suite(published(labelled))
    assert (one.departures, missing) == ((), [])


def test_other_counts_than_published_are_told(labelled):
    (one,), missing = open_suite(published(labelled, train=41, tests={"train": 1000}))
    assert one.departures == (
        f"train has 40 pictures, as published 1,000 ({SOURCE})",
        f"the training split has 40 pictures, as published 41 ({SOURCE})",
    )
    assert not missing


def test_another_number_of_classes_than_published_is_refused(labelled):
    with pytest.raises(
        FastptError, match=rf"has {len(labelled.classes)} classes, and the set as published 101 \({SOURCE}"
    ):
        open_suite(published(labelled, classes=101))


def test_published_counts_are_of_tests_that_are_there(tmp_path, labelled):
    suite = published(labelled, tests={"val": 40}).model_dump(exclude_none=True)
    with pytest.raises(FastptError, match="has no test val, of which `published` counts"):
        load_suite(write(tmp_path, suite))


def test_a_metric_may_be_the_papers_or_that_of_its_code(tmp_path, labelled):
    metric = {"paper": "mean_per_class", "reference-code": "accuracy"}
    one = {"name": "a", "train": str(labelled.path), "test": str(labelled.path), "metric": metric}
    suite = Suite.model_validate({"name": "x", "id": [one]})
    assert [open_suite(suite, variant)[0][0].metric for variant in metric] == list(metric.values())
    one["metric"] = {"paper": "accuracy"}
    with pytest.raises(FastptError, match="has a metric for paper alone"):
        load_suite(write(tmp_path, {"name": "x", "id": [one]}))


def test_the_papers_sets_say_what_they_are():
    sets = [one for name in ("paper_id", "paper_ood") for one in (*load_suite(name).id, *load_suite(name).ood)]
    assert len(sets) == 17
    assert all(one.published and one.published.source.startswith("http") and one.published.licence for one in sets)
    assert next(one for one in sets if one.name == "patch_camelyon").train.splits == [
        "data/patch_camelyon/train",
        "data/patch_camelyon/valid",
    ]


@pytest.mark.parametrize("name", ["study", "study_captions"])
def test_the_studies_suites_read_what_their_tool_prepares(name):
    from tools.study_sets import SETS

    suite = load_suite(name)
    assert {split.split("/")[1] for _, source in suite.sources() for split in source.splits} <= SETS.keys()
    assert (len(suite.id), sum(len(one.tests) for one in suite.ood)) == (8, 12 if name == "study" else 10)
