import pytest
import timm.loss
import torch

from fastpt.losses.classification import (
    binary_cross_entropy,
    early_learning_penalty,
    generalized_cross_entropy,
    smoothed_cross_entropy,
    symmetric_cross_entropy,
)

LOGITS = torch.linspace(-3, 3, 20).view(4, 5)
LABELS = torch.tensor([0, 4, 2, 2])
SHARES = torch.tensor([[0.7, 0.3, 0, 0, 0], [0, 0, 0.15, 0.85, 0], [1, 0, 0, 0, 0], [0, 0.5, 0.5, 0, 0]])


@pytest.mark.parametrize("targets", [LABELS, SHARES], ids=["labels", "shares"])
@pytest.mark.parametrize("threshold", [None, 0.2])
def test_binary_cross_entropy_is_timms(targets, threshold):
    wanted = timm.loss.BinaryCrossEntropy(0.0, threshold)(LOGITS, targets)
    torch.testing.assert_close(binary_cross_entropy(LOGITS, targets, 0.0, threshold), wanted)


@pytest.mark.parametrize("targets", [LABELS, SHARES], ids=["labels", "shares"])
def test_smoothing_without_a_threshold_is_that_of_timms_mixup(targets):
    """timm smooths labels in the loss and shares where it mixes them; both are (1 - s) t + s / K."""
    shares = torch.nn.functional.one_hot(LABELS, 5).float() if targets is LABELS else SHARES
    wanted = timm.loss.BinaryCrossEntropy(0.0)(LOGITS, shares * 0.9 + 0.1 / 5)
    torch.testing.assert_close(binary_cross_entropy(LOGITS, targets, 0.1), wanted)
    if targets is LABELS:
        torch.testing.assert_close(wanted, timm.loss.BinaryCrossEntropy(0.1)(LOGITS, LABELS))


def test_each_class_that_is_mixed_in_counts_as_whole_but_for_the_smoothing():
    both = torch.tensor([[0.9 + 0.02, 0.9 + 0.02, 0.02, 0.02, 0.02]])
    found = binary_cross_entropy(LOGITS[:1], torch.tensor([[0.7, 0.3, 0, 0, 0]]), 0.1, threshold=0.2)
    torch.testing.assert_close(found, torch.nn.functional.binary_cross_entropy_with_logits(LOGITS[:1], both))


LIKELIHOOD = LOGITS.softmax(-1)[torch.arange(4), LABELS]


@pytest.mark.parametrize("q", [0.3, 0.7, 1.0])
def test_generalized_cross_entropy_is_its_equation(q):
    torch.testing.assert_close(generalized_cross_entropy(LOGITS, LABELS, q), (1 - LIKELIHOOD**q) / q)


def test_generalized_cross_entropy_has_cross_entropy_as_its_limit():
    wanted = torch.nn.functional.cross_entropy(LOGITS.double(), LABELS, reduction="none")
    torch.testing.assert_close(generalized_cross_entropy(LOGITS.double(), LABELS, 1e-8), wanted, rtol=1e-6, atol=0)


def test_symmetric_cross_entropy_is_its_equation():
    p, one_hot = LOGITS.softmax(-1), torch.nn.functional.one_hot(LABELS, 5)
    log_one_hot = torch.where(one_hot == 1, 0.0, -4.0)
    wanted = 0.1 * -(one_hot * p.log()).sum(-1) + 1.0 * -(p * log_one_hot).sum(-1)
    torch.testing.assert_close(symmetric_cross_entropy(LOGITS, LABELS), wanted)


def test_smoothed_cross_entropy_is_torchs():
    wanted = torch.nn.functional.cross_entropy(LOGITS, LABELS, reduction="none", label_smoothing=0.1)
    torch.testing.assert_close(smoothed_cross_entropy(LOGITS, LABELS), wanted)


def test_the_early_learning_penalty_is_its_equation_and_spares_the_running_mean():
    running = SHARES.clone().requires_grad_(True)
    logits = LOGITS.clone().requires_grad_(True)
    found = early_learning_penalty(logits, running)
    torch.testing.assert_close(found, 3 * torch.log(1 - (LOGITS.softmax(-1) * SHARES).sum(-1)))
    found.sum().backward()
    assert running.grad is None
    assert logits.grad.abs().sum() > 0


@pytest.mark.parametrize("loss", [generalized_cross_entropy, symmetric_cross_entropy])
def test_a_row_that_contradicts_its_label_pulls_less_than_by_cross_entropy(loss):
    """Of two rows, one sure of its label and one of another, the second has the smaller share of the gradient."""
    logits = torch.tensor([[1.0, 0.0], [-6.0, 6.0]], requires_grad=True)
    shares = []
    for one in (loss(logits, torch.tensor([0, 0])), -logits.log_softmax(-1)[:, 0]):
        (slope,) = torch.autograd.grad(one.sum(), logits)
        shares.append(slope[1].norm() / slope.norm(dim=1).sum())
    assert shares[0] < 0.5 < shares[1]


def test_losses_take_leading_dimensions_as_they_come():
    many, labels = LOGITS.expand(3, 4, 5), LABELS.expand(3, 4)
    for loss in (generalized_cross_entropy, symmetric_cross_entropy, smoothed_cross_entropy):
        torch.testing.assert_close(loss(many, labels), loss(LOGITS, LABELS).expand(3, 4))
