from dataclasses import replace

import numpy as np
import pytest
import torch

from fastpt.losses.classification import generalized_cross_entropy, smoothed_cross_entropy, symmetric_cross_entropy
from fastpt.rng import seed_sequence
from fastpt.tuning.fit import fit
from fastpt.tuning.methods import METHODS, HeadSpec, TrainingData
from tests.tuning.test_fit import assert_same_linear, blobs, plain_linear, plain_training, untrained

CPU = torch.device("cpu")
NAMES = ["lp-gce", "lp-sce", "lp-smoothed", "lp-elr"]
FORMULAS = {
    "lp-gce": generalized_cross_entropy,
    "lp-sce": symmetric_cross_entropy,
    "lp-smoothed": smoothed_cross_entropy,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_training_is_a_plain_loop_under_the_loss(name):
    features, labels = blobs(100)
    chosen = replace(METHODS.get(name).training, epochs=3, batch_size=32)
    linear = plain_linear(untrained(features, labels, chosen, 3).classifier)

    def loss(ids):
        return FORMULAS[name](linear(features[ids]), labels[ids]).mean()

    plain_training(list(linear.parameters()), loss, chosen, 100, 3, batch=32)
    assert_same_linear(fit(features, labels, chosen, [3]).classifier, linear)


def test_early_learning_is_a_plain_loop_with_a_running_mean_of_each_sample():
    """The authors' code: y ← clamp(softmax, 1e-4, 1 - 1e-4), t ← 0.7 t + 0.3 y / Σ y, CE + 3 log(1 − Σ t softmax)."""
    features, labels = blobs(100)
    chosen = replace(METHODS.get("lp-elr").training, epochs=3, batch_size=32)
    linear = plain_linear(untrained(features, labels, chosen, 3).classifier)
    running = torch.zeros(100, 4)

    def loss(ids):
        logits = linear(features[ids])
        p = logits.softmax(1)
        y = p.clamp(1e-4, 1 - 1e-4).detach()
        running[ids] = 0.7 * running[ids] + 0.3 * (y / y.sum(1, keepdim=True))
        penalty = (1 - (running[ids] * p).sum(1)).log().mean()
        return torch.nn.functional.cross_entropy(logits, labels[ids]) + 3.0 * penalty

    plain_training(list(linear.parameters()), loss, chosen, 100, 3, batch=32)
    assert_same_linear(fit(features, labels, chosen, [3]).classifier, linear)


@pytest.mark.parametrize("name", NAMES)
def test_a_head_is_the_same_in_any_company(name):
    features, labels = blobs(120)
    rows = np.arange(0, 120, 2)
    heads = [HeadSpec(0), HeadSpec(1, rows=rows), HeadSpec(1, lr=0.01)]
    training = replace(METHODS.get(name).training, epochs=2, batch_size=32)
    together = fit(features, labels, training, heads)
    for i, head in enumerate(heads):
        alone = fit(features, labels, training, [head])
        torch.testing.assert_close(together.select([i]).classifier.weight, alone.classifier.weight)


@pytest.mark.parametrize("name", ["lp-gce", "lp-elr"])
def test_wrong_labels_cost_less_than_under_cross_entropy(name):
    """Well separated classes, 40 % of the labels flipped to others: cross entropy at this rate bends towards them."""
    features, clean = blobs(400, spread=1.0)
    train, test = slice(0, 300), slice(300, 400)
    random = np.random.default_rng(seed_sequence(0, "flips"))
    noisy = clean.clone()
    flipped = torch.from_numpy(random.permutation(300)[:120])
    noisy[flipped] = (noisy[flipped] + torch.from_numpy(random.integers(1, 4, 120))) % 4

    def accuracy(method):
        data = TrainingData(features[train], noisy[train].numpy(), 4)
        (fitted,) = METHODS.get(method).fit(data, [HeadSpec(seed) for seed in range(4)], CPU)
        return float((fitted.logits(features[test]).argmax(2) == clean[test]).float().mean())

    assert accuracy(name) > accuracy("lp") + 0.02


@pytest.mark.parametrize("name", [*NAMES, "lp-filtered"])
def test_a_probe_that_is_published_without_a_rate_chooses_one(name):
    features, labels = blobs(200)
    data = TrainingData(features, labels.numpy(), 4)
    assert METHODS.get(name).settings()["lr"] == [0.001, 0.01, 0.1]
    (fitted,) = METHODS.get(name).fit(data, [HeadSpec(0)], CPU, epochs=2)
    assert fitted.settings[0]["lr"] in (0.001, 0.01, 0.1)
    (fitted,) = METHODS.get(name).fit(data, [HeadSpec(0)], CPU, epochs=2, lrs=[0.02])
    assert fitted.settings[0]["lr"] == 0.02
