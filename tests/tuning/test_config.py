import numpy as np
import pytest

from fastpt.errors import FastptError
from fastpt.tuning.config import TuningConfig, noisy, train
from tests.tuning.test_fit import blobs


def test_every_seed_and_fraction_is_trained_with_what_was_chosen():
    features, labels = blobs(200)
    plan = TuningConfig(["nmtune"], seeds=[0, 1], fractions=[0.25, 1.0], lrs=[1e-7, 0.02], reg_weights=[0.01], epochs=4)
    found = train(plan, "nmtune", features, labels.numpy(), 4, "cpu")
    assert found.settings == [
        {"seed": seed, "fraction": fraction, "lr": 0.02, "reg_weight": 0.01}
        for fraction in (0.25, 1.0)
        for seed in (0, 1)
    ]
    assert len(found.heads) == 4


def test_a_penalty_to_choose_is_nmtunes_alone():
    features, labels = blobs(100)
    plan = TuningConfig(["mlp"], reg_weights=[0.5, 1.0], epochs=1)
    assert train(plan, "mlp", features, labels.numpy(), 4, "cpu").settings[0]["reg_weight"] == 0


def test_ridge_records_its_regularisation():
    features, labels = blobs(100)
    (setting,) = train(TuningConfig(["ridge"]), "ridge", features, labels.numpy(), 4, "cpu").settings
    assert set(setting) == {"seed", "fraction", "l2"}


def test_noise_flips_an_exact_share_of_each_class():
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    flipped = noisy(labels, 3, 0.2) != labels
    assert np.bincount(labels[flipped]).tolist() == [20, 10, 2]
    assert np.array_equal(noisy(labels, 3, 0.0), labels)


def test_heads_are_trained_on_the_noisy_labels():
    features, labels = blobs(300, spread=0.1)
    plan = TuningConfig(["ridge"], label_noise=0.4)
    predicted = train(plan, "ridge", features, labels.numpy(), 4, "cpu").heads.predict(features)[0]
    clean = train(TuningConfig(["ridge"]), "ridge", features, labels.numpy(), 4, "cpu").heads.predict(features)[0]
    assert (clean == labels).float().mean() == 1
    assert not np.array_equal(predicted.numpy(), noisy(labels.numpy(), 4, 0.4))


def test_lp_is_always_among_the_methods_in_one_order():
    assert TuningConfig(["nmtune", "ridge"]).methods == ("lp", "ridge", "nmtune")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": ["svm"]}, "no tuning method 'svm'"),
        ({"lrs": [0.0]}, "above 0"),
        ({"reg_weights": [-1.0]}, "not below 0"),
        ({"fractions": []}, "at least one"),
        ({"fractions": [0.5, 0.5]}, "none twice"),
        ({"variant": "mine"}, "no variant 'mine'"),
        ({"terms": ["mse"]}, "no term 'mse'"),
    ],
)
def test_impossible_plans_are_refused_before_any_work(settings, message):
    with pytest.raises(FastptError, match=message):
        TuningConfig(**settings)


def test_the_precision_of_the_heads_reaches_their_training_and_the_record():
    features, labels = blobs(100)
    plans = [TuningConfig(["lp"], epochs=1, head_precision=precision) for precision in ("fp32", "bf16")]
    exact, rounded = (train(plan, "lp", features, labels.numpy(), 4, "cpu").heads.classifier.weight for plan in plans)
    assert not np.array_equal(exact, rounded)
    assert [plan.describe()["head_precision"] for plan in plans] == ["fp32", "bf16"]
    with pytest.raises(FastptError, match="no precision 'fp16'"):
        TuningConfig(["lp"], head_precision="fp16")
