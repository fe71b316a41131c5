import pytest
import torch

from fastpt.errors import FastptError
from fastpt.tuning.config import TuningConfig
from fastpt.tuning.jobs import train
from fastpt.tuning.methods import METHODS, TrainingData
from fastpt.tuning.methods.budget import about, between
from tests.tuning.test_fit import blobs

ALL = ["lp", "lp-gce", "lp-filtered", "knn", "ridge", "logistic", "mlp", "nmtune"]


@pytest.mark.parametrize("budget", [1, 2, 5, 40])
def test_every_method_tries_as_many_settings_as_the_budget_says(budget):
    assert {name: METHODS.get(name).settings(budget=budget)["tried"] for name in ALL} == dict.fromkeys(ALL, budget)
    ks = METHODS.get("knn").settings(budget=budget)["k"]
    assert len(set(ks)) == budget


def test_a_budget_of_one_is_the_published_rate():
    for name in ("lp", "mlp", "nmtune"):
        assert METHODS.get(name).settings(budget=1)["lr"] == METHODS.get(name).settings()["lr"]


def test_settings_lie_about_the_published_one_or_between_the_ends():
    assert about(0.1, 4) == pytest.approx([0.1, 0.1 / 10**0.5, 0.1 * 10**0.5, 0.01])
    assert between(1, 100, 3) == pytest.approx([1, 10, 100])
    assert between(1, 100, 1) == pytest.approx([10])


@pytest.mark.parametrize("method", ALL)
def test_a_head_chooses_among_the_settings_of_its_budget(method):
    features, labels = blobs(80)
    config = TuningConfig([method], options={"budget": 3} | ({"epochs": 2} if "lp" in method or "m" in method else {}))
    (fitted,) = train(config, method, TrainingData(features, labels.numpy(), 4), torch.device("cpu"))
    (chosen,) = fitted.settings
    tried = METHODS.get(method).settings(**config.options_of(method))
    name = next(one for one in ("k", "l2", "C", "lr") if one in chosen)
    settings = [10**one for one in tried["C_exponents"]] if name == "C" else tried[name]
    assert chosen[name] in [pytest.approx(one) for one in settings]


def test_grids_that_do_not_make_the_budget_are_refused():
    METHODS.get("nmtune").check(budget=6, lrs=[0.1, 0.01], reg_weights=[1.0, 0.1, 0.01])
    with pytest.raises(FastptError, match="budget of 4 settings cannot be kept to by 1 learning rates and 3"):
        METHODS.get("nmtune").check(budget=4, reg_weights=[1.0, 0.1, 0.01])
    with pytest.raises(FastptError, match="leave --budget out"):
        METHODS.get("nmtune+lora").check(budget=2)
