"""Nothing of the test split may reach training or a choice."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch

from fastpt.tuning.config import TuningConfig
from fastpt.tuning.jobs import Job
from fastpt.tuning.sets import FeaturedSet, Split
from fastpt.tuning.suites import Suite, open_suite
from tests.tuning.test_fit import blobs


def test_test_labels_and_features_influence_neither_choice_nor_heads(tmp_path):
    """The same training data beside right and wrong tests: what is chosen and answered for the same pictures agrees."""
    features, labels = blobs(260, spread=0.9)
    downstream = SimpleNamespace(domain="id", name="blobs", metric="accuracy", classes=4, trained=None)
    options = {"lrs": [1e-5, 0.003, 0.1], "reg_weights": [0.01, 1.0], "epochs": 3}
    config = TuningConfig(["nmtune", "ridge"], seeds=[0, 1], fractions=[0.5, 1.0], options=options)
    train, known = Split(features[:160], labels[:160].numpy()), Split(features[160:], labels[160:].numpy())
    wrong = Split(known.features.flip(0) * 3, (3 - labels[160:]).numpy())
    for method in ("nmtune", "ridge"):
        right, beside = (
            Job(FeaturedSet(downstream, train, tests, None), method, "features", config, None, "cpu", 1, tmp_path)
            .measure(torch.device("cpu"))
            .rows
            for tests in ({"test": known}, {"wrong": wrong, "test": known})
        )
        assert right == [row for row in beside if row.test == "test"]


def test_heads_of_a_cross_fitted_set_have_not_seen_what_they_are_tested_on(labelled, tmp_path):
    """Every sample has a feature of its own, so a head knows the answer of those alone that it was trained on."""
    entry = {"name": "a", "train": str(labelled.path), "folds": 2}
    (downstream,), _ = open_suite(Suite.model_validate({"name": "x", "id": [entry]}))
    whole = Split(torch.eye(40), labelled.clean_labels, None, np.arange(40))
    data = FeaturedSet(downstream, whole, {"2 folds": whole}, None)
    config = TuningConfig(["ridge"])
    part = Job(data, "ridge", "features", config, None, "cpu", 1, tmp_path).measure(torch.device("cpu"))
    (row,) = part.rows
    assert row.samples == 40
    assert row.value <= 0.5  # 1 if one fold had been seen wholly, chance is 0.25
    everything = replace(data, downstream=replace(downstream, trained=None, fold=None))
    seen = Job(everything, "ridge", "features", config, None, "cpu", 1, tmp_path).measure(torch.device("cpu"))
    assert seen.rows[0].value == 1
