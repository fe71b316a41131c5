import numpy as np
import pytest
import torch

from fastpt.errors import FastptError
from fastpt.tuning.fit import PROTOCOLS, fit, protocol
from fastpt.tuning.losses import nmtune_regularizer


def blobs(n: int, dim: int = 16, classes: int = 4, spread: float = 0.4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, dim, generator=generator)
    labels = torch.randint(classes, (n,), generator=generator)
    return centres[labels] + spread * torch.randn(n, dim, generator=generator), labels


def test_protocols_are_the_papers():
    assert {p.epochs for p in PROTOCOLS.values()} == {30}
    assert {p.batch_size for p in PROTOCOLS.values()} == {64}
    assert (PROTOCOLS["lp"].lr, PROTOCOLS["lp"].weight_decay, PROTOCOLS["lp"].mlp) == (0.1, 0.0, False)
    for name, penalty in (("mlp", 0.0), ("nmtune", 0.01)):
        found = PROTOCOLS[name]
        assert (found.lr, found.weight_decay, found.mlp, found.penalty) == (0.001, 1e-4, True, penalty)


@pytest.mark.parametrize("method", PROTOCOLS)
def test_every_method_learns_and_repeats_itself_bit_for_bit(method):
    features, labels = blobs(500)
    chosen = protocol(method, epochs=5, lr=0.02)
    heads = [fit(features[:300], labels[:300], chosen, [0, 1], 4) for _ in range(2)]
    accuracy = (heads[0].predict(features[300:]) == labels[300:]).float().mean(1)
    assert (accuracy > 0.95).all()
    for one, other in zip(heads[0].parameters(), heads[1].parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("method", PROTOCOLS)
def test_a_head_is_the_same_alone_and_in_company(method):
    features, labels = blobs(200)
    chosen = protocol(method, epochs=2)
    together, alone = fit(features, labels, chosen, [5, 7, 11]), fit(features, labels, chosen, [7])
    for one, other in zip(together.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one[1:2], other, rtol=1e-3, atol=1e-4)


def test_training_is_that_of_a_plain_loop():
    """One NMTune head against torch's own layers, optimiser and schedule, one batch at a time."""
    features, labels = blobs(100)
    chosen = protocol("nmtune", epochs=3, batch_size=32, penalty=0.5)
    initial = fit(features, labels, protocol("nmtune", epochs=1, lr=1e-30, weight_decay=0.0), [3])
    found = fit(features, labels, chosen, [3])

    layers = []
    for layer in [*initial.mlp, initial.classifier]:
        linear = torch.nn.Linear(*layer.weight.shape[1:])
        linear.weight.data, linear.bias.data = layer.weight[0].T.clone(), layer.bias[0, 0].clone()
        layers.append(linear)
    mlp = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1])
    optimizer = torch.optim.AdamW([*mlp.parameters(), *layers[2].parameters()], lr=chosen.lr, weight_decay=1e-4)
    from fastpt.tuning.heads import random_stream

    stream, step, steps = random_stream(3, "order"), 0, 3 * 4
    for _ in range(3):
        for ids in torch.randperm(100, generator=stream).split(32):
            for group in optimizer.param_groups:
                group["lr"] = chosen.lr * (1 + np.cos(np.pi * step / steps)) / 2
            z = mlp(features[ids])
            loss = torch.nn.functional.cross_entropy(layers[2](z), labels[ids])
            loss = loss + 0.5 * nmtune_regularizer(features[ids], z)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    for ours, linear in zip([*found.mlp, found.classifier], layers, strict=True):
        torch.testing.assert_close(ours.weight[0].T, linear.weight.data, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(ours.bias[0, 0], linear.bias.data, rtol=1e-3, atol=1e-5)


def test_the_regulariser_changes_what_is_learned():
    features, labels = blobs(200)
    plain, tuned = (fit(features, labels, protocol(name, epochs=2), [0]) for name in ("mlp", "nmtune"))
    assert not torch.equal(plain.classifier.weight, tuned.classifier.weight)


def test_a_last_batch_of_one_sample_is_trained_on():
    features, labels = blobs(65)
    heads = fit(features, labels, protocol("nmtune", epochs=1), [0])
    assert all(torch.isfinite(value).all() for value in heads.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda F, y: (F[:0], y[:0]), r"shape \[0, 16\]"),
        (lambda F, y: (F.index_fill(0, torch.tensor([7]), float("nan")), y), "first is row 7"),
        (lambda F, y: (F, y * 0), "at least two classes"),
        (lambda F, y: (F, y[:-1]), "one label a row"),
        (lambda F, y: (F[0], y), "shape"),
        (lambda F, y: (F, y.float()), "integers"),
        (lambda F, y: (F, y - 1), "from -1 to 2"),
        (lambda F, y: (F, y + 1), "from 1 to 4, but there are 4 classes"),
        (lambda F, y: (F[:3], torch.tensor([0, 1, 2])), "3 samples for 4 classes"),
        (lambda F, y: (F * 1e30, y), "diverged"),
    ],
)
def test_bad_arrays_are_told_in_one_clear_error(change, message):
    features, labels = blobs(40)
    with pytest.raises(FastptError, match=message):
        fit(*change(features, labels), protocol("nmtune", epochs=1), [0], classes=4)


def test_unknown_methods_and_impossible_protocols_are_refused():
    with pytest.raises(FastptError, match="lp, mlp, nmtune"):
        protocol("probe")
    with pytest.raises(FastptError, match="above 0"):
        protocol("lp", epochs=0)
