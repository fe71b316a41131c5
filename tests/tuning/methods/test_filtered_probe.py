import numpy as np
import torch

from fastpt.tuning.methods import METHODS, HeadSpec, TrainingData
from fastpt.tuning.methods.filtered_probe import agreed
from fastpt.tuning.methods.knn import unit
from tests.tuning.test_fit import blobs

CPU = torch.device("cpu")


def test_samples_that_their_neighbours_contradict_are_left_out():
    features, labels = blobs(200, spread=0.5)
    flipped = np.arange(0, 200, 10)
    labels[flipped] = (labels[flipped] + 1) % 4
    kept = agreed(unit(features), labels, 4)
    assert not set(kept) & set(flipped)
    assert len(kept) > 170


def test_no_sample_votes_for_itself():
    """A sample that lies among those of another class has only its own vote."""
    features = torch.tensor([[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 5)
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    assert agreed(features, labels, 2).tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]


def test_a_class_is_never_emptied():
    features = torch.tensor([[1.0, 0.0]] * 9)
    labels = torch.tensor([0] * 8 + [1])
    assert agreed(features, labels, 2).tolist() == list(range(9))


def test_heads_say_what_share_they_kept_and_keep_to_their_rows():
    features, labels = blobs(200, spread=0.5)
    rows = np.arange(0, 200, 2)
    data = TrainingData(features, labels.numpy(), 4)
    (fitted,) = METHODS.get("lp-filtered").fit(data, [HeadSpec(0), HeadSpec(1, rows=rows)], CPU, epochs=2)
    wanted = [len(agreed(unit(features[one]), labels[one], 4)) / len(one) for one in (np.arange(200), rows)]
    assert [one["kept"] for one in fitted.settings] == wanted
    assert fitted.logits(features).shape == (2, 200, 4)
