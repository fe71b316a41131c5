"""What a downstream set may be like: every probe and head gives a right result, or one line that says why not."""

import re

import numpy as np
import pytest
import yaml

from fastpt.errors import FastptError
from fastpt.tuning.command import tune_command

METHODS = ["lp", "knn", "ridge", "logistic", "lp-filtered", "lp-elr", "mlp", "nmtune"]
CENTRES = np.random.default_rng(0).normal(size=(4, 8))
EVEN, TEST = np.arange(60) % 4, np.arange(20) % 4


def features(labels: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(1).normal(size=(len(labels), 8))
    return (CENTRES[labels % 4] + 0.2 * noise).astype(np.float32)


@pytest.fixture
def tuned(tmp_path, monkeypatch):
    """Tune on a set of features and labels, by default features that tell them; returns the results."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def tune(train, test, train_features=None, test_features=None, methods=METHODS):
        split = {}
        for name, labels, values in (("train", train, train_features), ("test", test, test_features)):
            np.save(f"{name}.npy", features(labels) if values is None else values)
            np.save(f"{name}_y.npy", labels)
            split[name] = {"features": f"{name}.npy", "labels": f"{name}_y.npy"}
        (tmp_path / "odd.yaml").write_text(yaml.safe_dump({"name": "odd", "id": [{"name": "odd", **split}]}))
        return tune_command(suite="odd.yaml", methods=methods, epochs=2, threads=1, out=tmp_path / "r.json")

    return tune


def measures(results, method):
    return next(row.measures for row in results.rows if row.method == method)


def test_a_class_that_the_test_lacks_counts_in_no_measure(tuned):
    results = tuned(EVEN, np.arange(21) % 3)
    assert not results.failed
    assert measures(results, "ridge") == {
        "accuracy": 1.0, "mean_per_class": 1.0, "auroc": 1.0, "average_precision": 1.0, "ece": None, "nll": None,
    }  # fmt: skip
    assert all(np.isfinite(value) for row in results.rows for value in row.measures.values() if value is not None)


def test_a_test_of_one_class_has_no_auroc(tuned):
    results = tuned(EVEN, np.full(15, 2))
    assert not results.failed
    assert {row.measures["auroc"] for row in results.rows} == {None}
    assert measures(results, "ridge")["accuracy"] == 1


def test_a_sample_a_class_is_enough_for_every_method(tuned):
    results = tuned(np.arange(4), TEST)
    assert not results.failed
    assert {row.method for row in results.rows} >= set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_a_training_split_of_one_class_is_refused_by_every_method(tuned, method):
    with pytest.raises(FastptError, match=f"set odd, {re.escape(method)}: All 30 samples have the label 0"):
        tuned(np.zeros(30, int), np.zeros(5, int), methods=[method])


def test_features_that_are_all_equal_are_told_by_methods_that_need_their_scale(tuned):
    results = tuned(EVEN, TEST, np.ones((60, 8), np.float32), np.ones((20, 8), np.float32))
    assert {one.method for one in results.failed} == {"ridge", "logistic"}
    assert measures(results, "lp")["accuracy"] == 0.25


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("part", ["train_features", "test_features"])
def test_features_that_are_no_numbers_are_refused_with_their_file(tuned, part, value):
    values = features(EVEN if part == "train_features" else TEST)
    values[1, 2] = value
    with pytest.raises(FastptError, match=f"{part.split('_')[0]}.npy: 1 of .* NaN or infinity, the first is row 1"):
        tuned(EVEN, TEST, **{part: values})


def test_a_tested_label_that_was_not_trained_on_is_refused(tuned):
    with pytest.raises(FastptError, match=r"test\.npy has the label 3, but the labels of train\.npy end at 2"):
        tuned(np.arange(60) % 3, TEST)
