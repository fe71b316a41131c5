import numpy as np
import pytest
import torch

from fastpt.errors import FastptError
from fastpt.tuning.methods import HeadSpec
from fastpt.tuning.methods.ridge import L2, fit_ridge, solve
from tests.tuning.test_fit import blobs


@pytest.mark.parametrize("samples", [10, 60])  # fewer and more than dimensions
def test_the_weights_minimise_the_ridge_objective(samples):
    x, y = (one[:samples] for one in blobs(100))
    (head,) = solve(x, y, 4, [0.1])
    x, onehot = x.double(), torch.nn.functional.one_hot(y, 4).double()
    centred, target = x - x.mean(0), onehot - onehot.mean(0)
    weight = torch.linalg.solve(
        centred.T @ centred + 0.1 * centred.square().mean() * samples * torch.eye(16), centred.T @ target
    )
    torch.testing.assert_close(head.classifier.weight[0].T, weight.float(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(head.logits(x.float())[0].mean(0), onehot.mean(0).float(), rtol=1e-4, atol=1e-6)


def test_it_learns():
    features, labels = blobs(400, spread=1.0)
    heads, (l2,), _ = fit_ridge(features[:300], labels[:300], [HeadSpec(0)])
    assert (heads.predict(features[300:])[0] == labels[300:]).float().mean() > 0.8
    assert l2 in L2


def test_heads_keep_to_their_rows():
    features, labels = blobs(200)
    rows = np.arange(0, 200, 2)
    together, chosen, _ = fit_ridge(features, labels, [HeadSpec(0), HeadSpec(1, rows=rows)])
    alone, (l2,), _ = fit_ridge(features[rows], labels[rows], [HeadSpec(1)])
    assert chosen[1] == l2 in L2
    torch.testing.assert_close(together.classifier.weight[1:], alone.classifier.weight)


def test_a_sample_a_class_is_enough():
    features, labels = blobs(100)
    first = [int((labels == label).nonzero()[0]) for label in range(4)]
    _, (l2,), _ = fit_ridge(features[first], labels[first], [HeadSpec(0)])
    assert l2 == 1


def test_features_that_are_all_alike_are_refused():
    with pytest.raises(FastptError, match="alike"):
        fit_ridge(torch.ones(20, 3), torch.arange(20) % 2, [HeadSpec(0)])
