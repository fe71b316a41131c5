import math

import numpy as np
import torch

from fastpt.tuning.methods import METHODS, HeadSpec, TrainingData
from fastpt.tuning.methods.knn import NEIGHBOURS, votes
from tests.tuning.test_fit import blobs

CPU = torch.device("cpu")


def fitted(features, labels, heads):
    (found,) = METHODS.get("knn").fit(TrainingData(features, labels.numpy(), 4), heads, CPU)
    return found


def test_a_class_has_the_sum_of_the_exponentials_of_its_neighbours_cosines():
    samples = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-1.0, 0.0]])
    labels, query = torch.tensor([0, 1, 1, 2]), torch.tensor([[0.8, 0.6]])
    two, three = votes(query, samples, labels, 3, [2, 3])
    weight = [math.exp((cosine - 1) / 0.07) for cosine in (0.8, 0.6, 0.96)]
    torch.testing.assert_close(two, torch.tensor([[weight[0], weight[2], 0.0]]))
    torch.testing.assert_close(three, torch.tensor([[weight[0], weight[1] + weight[2], 0.0]]))


def test_lengths_of_features_do_not_matter():
    features, labels = blobs(200)
    scales = torch.rand(200, 1) + 0.5
    torch.testing.assert_close(
        fitted(features, labels, [HeadSpec(0)]).logits(features),
        fitted(features * scales, labels, [HeadSpec(0)]).logits(features * scales),
        rtol=1e-4,
        atol=1e-6,
    )


def test_it_finds_classes_and_says_its_k():
    features, labels = blobs(400, spread=1.0)
    found = fitted(features[:300], labels[:300], [HeadSpec(0), HeadSpec(1)])
    assert ((found.logits(features[300:]).argmax(2) == labels[300:]).float().mean(1) > 0.7).all()
    assert all(one["k"] in NEIGHBOURS for one in found.settings)


def test_heads_keep_to_their_rows():
    features, labels = blobs(200)
    rows = np.arange(0, 200, 2)
    together, alone = (
        fitted(features, labels, [HeadSpec(1, rows=rows)]),
        fitted(features[rows], labels[rows], [HeadSpec(1)]),
    )
    assert together.settings == alone.settings
    torch.testing.assert_close(together.logits(features), alone.logits(features))


def test_a_sample_a_class_is_enough():
    features, labels = blobs(100)
    first = [int((labels == label).nonzero()[0]) for label in range(4)]
    found = fitted(features[first], labels[first], [HeadSpec(0)])
    assert found.settings == [{"k": 20}]
    assert (found.logits(features[first])[0].argmax(1) == labels[first]).all()
