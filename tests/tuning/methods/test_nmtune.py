import torch

from fastpt.tuning.methods import METHODS, HeadSpec, TrainingData
from fastpt.tuning.methods.head_training import Weights
from tests.tuning.test_fit import blobs

CPU = torch.device("cpu")


def test_training_is_the_papers():
    training = METHODS.get("nmtune").training
    assert (training.lr, training.weight_decay, training.mlp, training.reg_weight) == (0.001, 1e-4, "paper", 0.01)


def test_without_its_terms_it_is_mlp_tuning():
    features, labels = blobs(100)
    data = TrainingData(features, labels.numpy(), 4)
    (without,) = METHODS.get("nmtune").fit(data, [HeadSpec(0)], CPU, epochs=2, ablate=Weights._fields)
    (mlp,) = METHODS.get("mlp").fit(data, [HeadSpec(0)], CPU, epochs=2)
    torch.testing.assert_close(without.logits(features), mlp.logits(features))


def test_the_reference_code_has_weights_of_its_own():
    training = METHODS.get("nmtune").configured("reference-code", ["dominance"])
    assert (training.mlp, training.reg_weight, training.weights) == ("reference-code", 1.0, (1.0, 0.04, 0.0))
