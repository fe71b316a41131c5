import torch

from fastpt.tuning.methods import METHODS, HeadSpec, TrainingData
from tests.tuning.test_fit import blobs

CPU = torch.device("cpu")


def test_training_is_the_papers():
    training = METHODS.get("mlp").training
    assert (training.lr, training.weight_decay, training.mlp, training.reg_weight) == (0.001, 1e-4, "paper", 0.0)


def test_the_reference_code_has_another_mlp_and_classifier():
    training = METHODS.get("mlp").configured("reference-code")
    assert (training.lr, training.weight_decay) == (0.001, 1e-4)
    assert (training.mlp, training.classifier_init) == ("reference-code", "kaiming")


def test_the_rate_is_chosen_for_each_head():
    features, labels = blobs(200)
    heads, data = [HeadSpec(0), HeadSpec(1)], TrainingData(features, labels.numpy(), 4)
    (fitted,) = METHODS.get("mlp").fit(data, heads, CPU, lrs=[1e-7, 0.02], epochs=4)
    assert fitted.settings == 2 * [{"lr": 0.02, "reg_weight": 0.0}]
    assert fitted.transformed(features, 1).shape == features.shape
