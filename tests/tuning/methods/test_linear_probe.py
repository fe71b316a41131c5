import torch

from fastpt.tuning.methods import METHODS, HeadSpec, TrainingData
from tests.tuning.test_fit import blobs

CPU = torch.device("cpu")


def test_training_is_the_papers():
    training = METHODS.get("lp").training
    assert (training.lr, training.weight_decay, training.mlp, training.reg_weight) == (0.1, 0.0, None, 0.0)


def test_training_of_the_reference_code_is_gentler():
    training = METHODS.get("lp").configured("reference-code")
    assert (training.lr, training.weight_decay, training.mlp) == (0.01, 1e-4, None)
    assert training.classifier_init == "kaiming"


def test_what_its_classifier_sees_are_the_features():
    features, labels = blobs(100)
    (fitted,) = METHODS.get("lp").fit(TrainingData(features, labels.numpy(), 4), [HeadSpec(0)], CPU, epochs=1)
    assert fitted.transformed is None
    assert fitted.settings == [{"lr": 0.1, "reg_weight": 0.0}]
    assert fitted.logits(features).shape == (1, 100, 4)
