"""The authors' code from its formulas alone, with torch's own layers: the loss of a step, and how heads begin."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from fastpt.tuning.finetune import VARIANTS, step_loss
from fastpt.tuning.fit import LOSSES, _losses
from fastpt.tuning.heads import Heads
from fastpt.tuning.methods.finetune import LP_FULL, NMTUNE_FULL
from fastpt.tuning.methods.head_training import head_training

D, K, B = 12, 5, 8


def test_the_loss_of_a_step_is_that_of_its_formulas():
    rng = torch.Generator().manual_seed(0)
    first_view, second_view = torch.randn(B, D, generator=rng), torch.randn(B, D, generator=rng)
    labels = torch.randint(K, (B,), generator=rng)
    training = head_training("nmtune", "reference-code")
    heads = Heads(D, K, [0], training.mlp, training.precision, training.classifier_init).train()

    mlp = nn.Sequential(nn.Linear(D, 4 * D), nn.BatchNorm1d(4 * D), nn.ReLU(), nn.Linear(4 * D, D)).train()
    classifier, s = nn.Linear(D, K), torch.linspace(0.5, 1.5, D)
    with torch.no_grad():
        for layer, ours in ((mlp[0], heads.first), (mlp[3], heads.second), (classifier, heads.classifier)):
            layer.weight.copy_(ours.weight[0])
            layer.bias.copy_(ours.bias[0, 0])
        heads.scale.copy_(s)
    both = torch.cat([first_view, second_view])
    z = s * mlp(both) + both
    mse = ((F.normalize(z[B:], dim=1) - F.normalize(first_view, dim=1)) ** 2).mean()
    covariance = torch.cov(z.T)
    off_diagonal = (covariance**2).sum() - (covariance.diagonal() ** 2).sum()
    sigma = torch.linalg.svdvals(z)
    dominance = -(sigma / sigma.sum())[:5].mean()
    wanted = F.cross_entropy(classifier(z), labels.repeat(2)) + mse + 0.04 * off_diagonal / D + 0.001 * dominance

    rows = partial(LOSSES["cross_entropy"], labels=labels.repeat(2)[None], samples=torch.arange(2 * B)[None])
    found = _losses(heads, both[None], rows, 2, training, torch.tensor([training.reg_weight]))
    torch.testing.assert_close(found, wanted[None], rtol=1e-5, atol=1e-6)


def test_the_loss_of_a_step_of_fine_tuning_is_that_of_its_formulas():
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(B, D, generator=rng, requires_grad=True)
    labels = torch.randint(K, (B,), generator=rng)
    heads = Heads(D, K, [0], classifier_init="kaiming")

    classifier = nn.Linear(D, K)
    with torch.no_grad():
        classifier.weight.copy_(heads.classifier.weight[0])
        classifier.bias.zero_()
    cross_entropy = F.cross_entropy(classifier(features), labels)
    covariance = torch.cov(features.T)
    off_diagonal = (covariance**2).sum() - (covariance.diagonal() ** 2).sum()
    sigma = torch.linalg.svdvals(features)
    wanted = cross_entropy + 0.04 * off_diagonal / D - 0.001 * (sigma / sigma.sum())[:5].mean()
    (slope,) = torch.autograd.grad(wanted, features, retain_graph=True)

    way = VARIANTS["reference-code"]
    for method, loss in ((NMTUNE_FULL, wanted), (LP_FULL, cross_entropy)):
        training = method.training_of(variant="reference-code")
        found = step_loss(heads, features, None, labels, training, way.top)
        torch.testing.assert_close(found, loss, rtol=1e-5, atol=1e-6)
        if method is NMTUNE_FULL:
            torch.testing.assert_close(torch.autograd.grad(found, features)[0], slope, rtol=1e-4, atol=1e-6)


def test_fine_tuning_has_the_whole_model_in_training_mode_at_one_rate_with_lora_at_the_scale_of_peft():
    way = VARIANTS["reference-code"]
    assert way.train_mode
    assert not way.holds_features
    assert way.encoder_lr == {"lora": 1.0, "full": 1.0}
    assert way.alpha == 8


def test_heads_begin_with_a_scale_of_1_on_the_mlps_branch_and_a_kaiming_classifier():
    training = head_training("nmtune", "reference-code")
    heads = Heads(D, 400, [0], training.mlp, training.precision, training.classifier_init)
    assert (heads.scale == 1).all()
    bound = (6 / D) ** 0.5
    assert 0.98 * bound < heads.classifier.weight.abs().max() <= bound
    assert (heads.classifier.bias == 0).all()
    with torch.no_grad():
        heads.scale.zero_()
    x = torch.randn(3, D)
    torch.testing.assert_close(heads.eval().transform(x)[0], x)  # Z = F where s is 0


def test_linear_probes_and_mlps_are_trained_at_its_rates():
    found = {name: head_training(name, "reference-code") for name in ("lp", "mlp", "nmtune")}
    rates = {name: (one.lr, one.weight_decay, one.reg_weight > 0) for name, one in found.items()}
    assert rates == {"lp": (0.01, 1e-4, False), "mlp": (0.001, 1e-4, False), "nmtune": (0.001, 1e-4, True)}
    assert {(one.epochs, one.batch_size) for one in found.values()} == {(30, 64)}
