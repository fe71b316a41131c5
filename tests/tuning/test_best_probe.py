"""What NMTune is compared with is chosen on validation parts, whatever tests would say."""

import numpy as np
import pytest
import torch

from fastpt.tuning.best_probe import NAME, best_probes, described, with_best_probe
from fastpt.tuning.config import TuningConfig
from fastpt.tuning.jobs import train
from fastpt.tuning.methods import METHODS, TrainingData
from fastpt.tuning.results import Row
from fastpt.tuning.subsets import validation_part
from tests.tuning.test_fit import blobs


def row(name, method, value, validation, seed=0, fraction=1.0):
    return Row("id", name, "test", method, "accuracy", value, 10, seed, fraction, {"lr": 0.1}, validation=validation)


ROWS = [
    row("a", "lp", 0.9, 0.6),
    row("a", "ridge", 0.5, 0.7),
    row("a", "nmtune", 0.8, None),
    row("b", "lp", 0.1, 0.8, seed=0),
    row("b", "lp", 0.1, 0.8, seed=1),
    row("b", "ridge", 0.9, 0.9, seed=0),
    row("b", "ridge", 0.9, 0.6, seed=1),
    row("b", "lp", 0.3, 0.5, fraction=0.1),
]


def test_the_best_on_the_validation_part_is_taken_though_the_test_says_otherwise():
    assert best_probes(ROWS) == {("id", "a", 1.0): "ridge", ("id", "b", 1.0): "lp"}
    best = [one for one in with_best_probe(ROWS) if one.method == NAME]
    assert [(one.set, one.value, one.settings) for one in best] == [
        ("a", 0.5, {"probe": "ridge"}),
        ("b", 0.1, {"probe": "lp"}),
        ("b", 0.1, {"probe": "lp"}),
    ]


def test_a_probe_of_which_a_head_was_not_validated_is_no_choice():
    assert best_probes([row("a", "lp", 0.9, 0.6), row("a", "ridge", 0.5, 0.9), row("a", "ridge", 0.5, None, 1)]) == {}
    assert with_best_probe(ROWS[:1]) == ROWS[:1]


def test_it_says_which_probes_it_is_of_and_how_many_settings_each_tried():
    methods = {"lp": {"settings": {"tried": 1}}, "ridge": {"settings": {"tried": 9}}, "nmtune": {"settings": {}}}
    assert described(ROWS, methods)["settings"] == {"of": ["lp", "ridge"], "tried": [1, 9]}


@pytest.mark.parametrize("method", ["lp", "lp-gce", "lp-filtered", "ridge", "logistic", "knn"])
def test_each_probe_is_validated_on_the_same_part_by_a_head_that_never_saw_it(method, monkeypatch):
    features, labels = blobs(120)
    truth = labels.numpy()
    part = validation_part(truth, 3)
    assert part is not None
    other, shares = features.clone(), []
    for i in part[1]:  # what is held out looks like another class
        other[i] = features[next(j for j in range(120) if truth[j] == (truth[i] + 1) % 4 and j not in part[1])]
    for given in (features, other):
        options = {} if method in ("ridge", "logistic", "knn") else {"epochs": 5, "lrs": [0.1]}
        config = TuningConfig([method], seeds=[3], options=options)
        (fitted,) = train(config, method, TrainingData(given, truth, 4), torch.device("cpu"))
        assert fitted.validation is not None
        shares.append(fitted.validation[0])
    assert shares[0] is not None
    assert shares[0] > 0.9  # the kept part teaches what the held-out one asks
    assert shares[1] is not None
    assert shares[1] < 0.1  # and nothing of that part was learned


@pytest.mark.parametrize("method", ["lp", "ridge", "logistic", "knn", "mlp", "lp-filtered", "lp-gce"])
def test_what_cannot_be_held_out_has_no_validation(method):
    features, _ = blobs(4)
    config = TuningConfig([method])
    data = TrainingData(features, np.arange(4), 4)
    (fitted,) = train(config, method, data, torch.device("cpu"))
    assert fitted.validation in (None, [None])


def test_all_settings_that_are_tried_are_counted():
    counts = {
        name: METHODS.get(name).settings()["tried"] for name in ("lp", "knn", "ridge", "logistic", "mlp", "nmtune")
    }
    assert counts == {"lp": 1, "knn": 4, "ridge": 9, "logistic": 15, "mlp": 1, "nmtune": 1}
    assert METHODS.get("nmtune").settings(lrs=[0.1, 0.2], reg_weights=[1, 2, 3])["tried"] == 6
