"""How heads are trained, and what a method has to give."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from fastpt.errors import FastptError
from fastpt.tuning.command import tune_command
from fastpt.tuning.config import TuningConfig
from fastpt.tuning.jobs import measure, noisy, train
from fastpt.tuning.kept import Part
from fastpt.tuning.methods import METHODS, Fitted, TrainingData
from fastpt.tuning.metrics import auroc, average_precision, measured
from fastpt.tuning.sets import Split
from tests.tuning.test_fit import blobs


def trained(config, method, features, labels):
    (fitted,) = train(config, method, TrainingData(features, labels.numpy(), 4), "cpu")
    return fitted


def test_every_seed_and_fraction_is_trained_with_what_was_chosen():
    options = {"lrs": [1e-7, 0.02], "reg_weights": [0.01], "epochs": 4}
    config = TuningConfig(["nmtune"], seeds=[0, 1], fractions=[0.25, 1.0], options=options)
    features, labels = blobs(200)
    found = trained(config, "nmtune", features, labels)
    assert found.settings == [
        {"seed": seed, "fraction": fraction, "lr": 0.02, "reg_weight": 0.01}
        for fraction in (0.25, 1.0)
        for seed in (0, 1)
    ]
    assert len(found.logits(features)) == 4


def test_a_weight_to_choose_is_nmtunes_alone():
    config = TuningConfig(["mlp", "nmtune"], options={"reg_weights": [0.5, 1.0], "epochs": 1})
    assert trained(config, "mlp", *blobs(100)).settings[0]["reg_weight"] == 0


def test_ridge_records_its_regularisation():
    (setting,) = trained(TuningConfig(["ridge"]), "ridge", *blobs(100)).settings
    assert set(setting) == {"seed", "fraction", "l2"}


def test_noise_flips_an_exact_share_of_each_class():
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    flipped = noisy(labels, 3, 0.2) != labels
    assert np.bincount(labels[flipped]).tolist() == [20, 10, 2]
    assert np.array_equal(noisy(labels, 3, 0.0), labels)


def test_heads_are_trained_on_the_noisy_labels(monkeypatch):
    ridge, given = METHODS.get("ridge"), []
    fit = type(ridge).fit

    def seen(data, heads, device, **options):
        given.append(np.asarray(data.labels).copy())
        return fit(ridge, data, heads, device, **options)

    monkeypatch.setattr(ridge, "fit", seen, raising=False)
    features, labels = blobs(300, spread=0.1)
    for rate in (0.0, 0.4):
        trained(TuningConfig(["ridge"], label_noise=rate), "ridge", features, labels)
        assert np.array_equal(given.pop(), noisy(labels.numpy(), 4, rate))


def test_the_precision_of_the_heads_reaches_their_training():
    features, labels = blobs(100)
    configs = [TuningConfig(["lp"], options={"epochs": 1, "head_precision": one}) for one in ("fp32", "bf16")]
    exact, rounded = (trained(config, "lp", features, labels).logits(features) for config in configs)
    assert not np.array_equal(exact, rounded)


def test_a_method_that_leaves_heads_out_is_told(monkeypatch):
    class Forgetful:
        options = ()

        def check(self):
            pass

        def fit(self, data, heads, device):
            yield Fitted([{}], lambda x: x)

    monkeypatch.setattr(METHODS, "get", lambda name: Forgetful())
    with pytest.raises(FastptError, match="lp trained 1 of 2 heads"):
        list(train(TuningConfig(["lp"], seeds=[0, 1]), "lp", TrainingData(*blobs(10), 4), "cpu"))


class Odd:
    """A method of one head that answers and records what a test gives it."""

    options = ()

    def __init__(self, scores=None, **settings):
        self.scores, self.settings = scores, settings

    def check(self):
        pass

    def trains_on(self):
        return "features"

    def fit(self, data, heads, device):
        yield Fitted([self.settings], lambda x: self.scores)


@pytest.mark.parametrize("settings", [{"value": 0.5}, {"seed": 3}, {"head": object()}])
def test_a_setting_that_would_stand_for_a_column_or_is_no_value_is_told(monkeypatch, settings):
    monkeypatch.setattr(METHODS, "get", lambda name: Odd(**settings))
    with pytest.raises(FastptError, match=f"lp records '{next(iter(settings))}' as a setting"):
        list(train(TuningConfig(["lp"]), "lp", TrainingData(*blobs(10), 4), "cpu"))


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (torch.full((1, 6, 4), torch.nan), r"shape \[1, 6, 4\], 24 of them NaN"),
        (torch.zeros(1, 7, 4), r"shape \[1, 7, 4\], 0 of them NaN"),
    ],
)
def test_scores_that_name_no_answer_are_told(scores, said):
    split = Split(torch.zeros(6, 2), np.zeros(6, np.int64))
    with pytest.raises(FastptError, match=f"{said}, not numbers of shape .1, 6, 4."):
        list(split.answered(Fitted([{}], lambda x: scores), 4, torch.device("cpu")))


@pytest.mark.parametrize("together", [1, 2**27])
def test_training_classes_that_stand_for_one_of_the_test_add_their_probabilities(monkeypatch, together):
    monkeypatch.setattr("fastpt.tuning.sets.MOST_SCORES", together)
    scores = torch.tensor([[[0.5, 0.2, 0.2, 0.1]], [[0.1, 0.3, 0.2, 0.4]]]).log()  # of two heads, one sample
    split = Split(torch.zeros(1, 2), np.array([2]), np.array([5, 2, 2, -1]))  # no class for the last
    heads = [{}, {}]
    first, second = split.answered(Fitted(heads, lambda x: scores, has_probabilities=True), 4, torch.device("cpu"))
    assert (first.labels.item(), first.predicted.item(), second.predicted.item()) == (0, 1, 0)  # classes 2 and 5
    np.testing.assert_allclose(first.probabilities, [[4 / 9, 5 / 9]], rtol=1e-6)
    np.testing.assert_allclose(second.probabilities, [[5 / 6, 1 / 6]], rtol=1e-6)
    first, _ = split.answered(Fitted(heads, lambda x: scores), 4, torch.device("cpu"))
    np.testing.assert_allclose(first.scores, np.log([[0.2, 0.5]]), rtol=1e-6)


def answered(scores, labels, answers=None):
    """What a head of probabilities with those scores, float [N, K], answers."""
    split = Split(torch.zeros(len(labels), 2), np.array(labels), answers)
    fitted = Fitted([{}], lambda x: torch.tensor(scores)[None], has_probabilities=True)
    (found,) = split.answered(fitted, len(scores[0]), torch.device("cpu"))
    return found


@pytest.mark.parametrize("answers", [None, np.array([0, 1, 1])])
def test_a_confident_head_ranks_samples_whose_probabilities_round_to_one(answers):
    """By how sure it is of the class: the sample that it is wrong about is the one that it is least sure of."""
    found = answered([[80.0, 0, 0], [60.0, 0, 0], [0, 900.0, 0], [45.0, 0, 0]], [0, 0, 1, 1], answers)
    assert found.probabilities[[0, 1, 3], 0].tolist() == [1, 1, 1]
    measures = measured(found)
    assert (measures["auroc"], measures["average_precision"], measures["accuracy"]) == (1, 1, 0.75)
    assert measures["ece"] == pytest.approx(0.25)
    assert measures["nll"] == pytest.approx(-np.log(1e-12) / 4)


def test_other_heads_rank_samples_as_their_probabilities_do():
    random = np.random.default_rng(0)
    scores, labels = random.normal(0, 3, (200, 5)), random.integers(0, 5, 200)
    found, probabilities = answered(scores, labels), torch.tensor(scores).softmax(-1).numpy()
    np.testing.assert_allclose(found.probabilities, probabilities, rtol=1e-12)
    assert auroc(found.scores, found.members) == auroc(probabilities, found.members)
    assert average_precision(found.scores, found.members) == average_precision(probabilities, found.members)


def test_a_method_is_not_called_as_the_stage_before_all_methods(workplace, monkeypatch):
    get = METHODS.get
    monkeypatch.setattr(METHODS, "get", lambda name: Odd() if name == "encoder" else get(name))
    with pytest.raises(FastptError, match="'encoder' would pass for"):
        tune_command(methods=["encoder"])


def test_products_of_numpy_have_one_thread_while_heads_are_trained():
    def of_numpy() -> set[int]:
        return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}

    def look(_) -> Part:
        seen.append((torch.get_num_threads(), of_numpy()))
        return Part(0, [], [], [])

    seen: list[tuple[int, set[int]]] = []
    with threadpool_limits(2, "blas"):
        list(measure([job(look, threads=2)], torch.device("cpu")))
        assert seen == [(2, {1})]
        assert of_numpy() == {2}


def test_jobs_that_all_train_on_images_need_no_pool():
    part = Part(0, [], [], [])
    ((_, found),) = measure([job(lambda _: part, trains_on="images")], torch.device("cpu"))
    assert found is part


def job(work, threads=1, trains_on="features") -> Any:
    """What does `work` in place of training heads."""
    config, data = SimpleNamespace(methods=["lp"]), SimpleNamespace(train=SimpleNamespace(labels=[]))
    return SimpleNamespace(
        trains_on=trains_on, method="lp", title="", threads=threads, config=config, data=data, measure=work
    )
