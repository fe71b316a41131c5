import pytest
import timm.loss
import torch

from fastpt.losses.classification import binary_cross_entropy

LOGITS = torch.linspace(-3, 3, 20).view(4, 5)
LABELS = torch.tensor([0, 4, 2, 2])
SHARES = torch.tensor([[0.7, 0.3, 0, 0, 0], [0, 0, 0.15, 0.85, 0], [1, 0, 0, 0, 0], [0, 0.5, 0.5, 0, 0]])


@pytest.mark.parametrize("targets", [LABELS, SHARES], ids=["labels", "shares"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("threshold", [None, 0.2])
def test_binary_cross_entropy_is_timms(targets, smoothing, threshold):
    wanted = timm.loss.BinaryCrossEntropy(smoothing, threshold)(LOGITS, targets)
    assert torch.equal(binary_cross_entropy(LOGITS, targets, smoothing, threshold), wanted)
