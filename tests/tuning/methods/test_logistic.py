from functools import partial

import numpy as np
import pytest
import scipy.optimize
import torch
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits
from torch.nn.functional import cross_entropy

from fastpt.errors import FastptError
from fastpt.tuning.methods import METHODS, HeadSpec, TrainingData, logistic
from fastpt.tuning.methods.logistic import FIRST_EXPONENTS, _Rows, best_exponent
from tests.tuning.test_fit import blobs

CPU = torch.device("cpu")


def fitted(features, labels, heads, classes=4):
    (found,) = METHODS.get("logistic").fit(TrainingData(features, labels.numpy(), classes), heads, CPU)
    return found


def solve(features, labels, strength, start=None, classes=4):
    return _Rows(features.double(), labels, classes).solve(strength, start)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("count", [200, 12])  # more rows than features, and fewer
def test_a_head_gives_scikit_learns_probabilities(classes, count, monkeypatch):
    monkeypatch.setattr(logistic, "STEEPEST", 1e-8)
    features, labels = blobs(200, spread=2.0)
    features, labels = features[:count], labels[:count] % classes
    x, y = features.double().numpy(), labels.numpy()
    weight, bias, _ = solve(features, labels, 0.5, classes=classes)
    scaled = (x - x.mean(0)) / np.sqrt(x.var(0).mean())
    expected = LogisticRegression(C=0.5, max_iter=1000, tol=1e-8).fit(scaled, y).predict_proba(scaled)
    np.testing.assert_allclose((features.double() @ weight.T + bias).softmax(1), expected, atol=1e-5)


def test_where_a_search_starts_changes_nothing_that_is_asked_for(monkeypatch):
    monkeypatch.setattr(logistic, "STEEPEST", 1e-8)
    features, labels = blobs(200, spread=2.0)
    started = solve(features, labels, 0.5, solve(features[:150], labels[:150], 0.01)[2])
    torch.testing.assert_close(started[0], solve(features, labels, 0.5)[0], rtol=0, atol=1e-5)


def test_features_of_unlike_spread_are_solved_to_the_end(monkeypatch):
    features, labels = blobs(400, spread=2.0)
    features = features * torch.logspace(-3, 0, features.shape[1])
    steps = []
    monkeypatch.setattr(scipy.optimize, "minimize", partial(counted, scipy.optimize.minimize, steps))
    loose = solve(features, labels, 1e4)
    assert steps.pop() < 100  # with variables of one scale, 1,000 were not enough
    monkeypatch.setattr(logistic, "STEEPEST", 1e-9)
    tight = solve(features, labels, 1e4)
    losses = [cross_entropy(features.double() @ weight.T + bias, labels) for weight, bias, _ in (loose, tight)]
    assert float(losses[0] - losses[1]) < 1e-4


def test_scipys_vectors_have_one_thread(monkeypatch):
    def look(*args, **how):
        seen.update(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")
        return minimize(*args, **how)

    seen, minimize = set[int](), scipy.optimize.minimize
    monkeypatch.setattr(scipy.optimize, "minimize", look)
    features, labels = blobs(60)
    with threadpool_limits(2, "blas"):
        fitted(features, labels, [HeadSpec(0)])
    assert seen == {1}


def counted(minimize, steps, *args, **how):
    end = minimize(*args, **how)
    steps.append(end.nit)
    return end


def test_a_strength_is_chosen_from_where_the_next_smaller_one_ended(monkeypatch):
    features, labels = blobs(200, spread=2.0)
    starts = {}

    def solve(self, strength, start=None):
        starts.setdefault(round(float(np.log10(strength)), 3), start)
        return torch.zeros(4, features.shape[1]).double(), torch.zeros(4).double(), torch.tensor([strength])

    monkeypatch.setattr(_Rows, "solve", solve)
    fitted(features, labels, [HeadSpec(0)])
    assert starts.pop(-6.0) is None
    assert float(starts[-5.0]) == float(starts[-4.0]) == pytest.approx(1e-6)
    assert float(starts[-2.0]) == pytest.approx(1e-4)


def test_it_learns_and_says_its_strength():
    features, labels = blobs(400, spread=1.0)
    found = fitted(features[:300], labels[:300], [HeadSpec(0)])
    assert (found.logits(features[300:])[0].argmax(1) == labels[300:]).float().mean() > 0.8
    assert -6 <= np.log10(found.settings[0]["C"]) <= 6


def test_heads_keep_to_their_rows():
    features, labels = blobs(200)
    rows = np.arange(0, 200, 2)
    together = fitted(features, labels, [HeadSpec(0), HeadSpec(1, rows=rows)])
    alone = fitted(features[rows], labels[rows], [HeadSpec(1)])
    assert together.settings[1] == alone.settings[0]
    torch.testing.assert_close(together.logits(features)[1:], alone.logits(features))


def test_a_class_without_a_sample_is_never_the_answer():
    features, labels = blobs(100)
    labels = labels.clamp(max=2)
    assert not (fitted(features, labels, [HeadSpec(0)], classes=4).logits(features).argmax(2) == 3).any()


def test_a_sample_a_class_is_enough():
    features, labels = blobs(100)
    first = [int((labels == label).nonzero()[0]) for label in range(4)]
    assert fitted(features[first], labels[first], [HeadSpec(0)]).settings == [{"C": 1.0}]


def test_features_that_are_all_alike_are_refused():
    with pytest.raises(FastptError, match="alike"):
        fitted(torch.ones(20, 3), torch.arange(20) % 2, [HeadSpec(0)], classes=2)


@pytest.mark.parametrize("peak", [-6.0, -1.25, 0.0, 3.875, 6.0])
def test_the_search_closes_in_on_the_best_strength(peak):
    tried = []

    def score(exponent):
        tried.append(exponent)
        return -abs(exponent - peak)

    assert best_exponent(score)[0] == peak
    assert len(tried) == len(set(tried)) <= len(FIRST_EXPONENTS) + 8


def test_of_equally_good_strengths_the_smallest_is_taken():
    assert best_exponent(lambda _: 1.0) == (FIRST_EXPONENTS[0], 1.0)
