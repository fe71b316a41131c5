from dataclasses import replace

import numpy as np
import pytest
import torch

from fastpt.errors import FastptError
from fastpt.losses.nmtune import nmtune_regularizer
from fastpt.tuning.fit import _batches, fit, select
from fastpt.tuning.heads import random_stream
from fastpt.tuning.methods import HEADS, HeadSpec
from fastpt.tuning.methods.head_training import Weights, head_training
from fastpt.tuning.subsets import holdout


def blobs(n: int, dim: int = 16, classes: int = 4, spread: float = 0.4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, dim, generator=generator)
    labels = torch.randint(classes, (n,), generator=generator)
    return centres[labels] + spread * torch.randn(n, dim, generator=generator), labels


@pytest.mark.parametrize("method", HEADS)
def test_every_method_learns_and_repeats_itself_bit_for_bit(method):
    features, labels = blobs(500)
    chosen = head_training(method, epochs=5, lr=0.02)
    heads = [fit(features[:300], labels[:300], chosen, [0, 1], 4) for _ in range(2)]
    accuracy = (heads[0].predict(features[300:]) == labels[300:]).float().mean(1)
    assert (accuracy > 0.95).all()
    for one, other in zip(heads[0].parameters(), heads[1].parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("method", HEADS)
def test_a_head_is_the_same_alone_and_in_company(method):
    features, labels = blobs(200)
    chosen = head_training(method, epochs=2)
    together, alone = fit(features, labels, chosen, [5, 7, 11]), fit(features, labels, chosen, [7])
    for one, other in zip(together.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one[1:2], other, rtol=1e-3, atol=1e-4)


def test_a_head_keeps_to_its_own_rate_weight_and_rows_in_company():
    features, labels = blobs(200)
    mixed = [
        HeadSpec(5, lr=0.01),
        HeadSpec(7, lr=0.02, reg_weight=0.5, rows=np.arange(0, 200, 2)),
        HeadSpec(5, reg_weight=2.0, rows=np.arange(130)),
        HeadSpec(7, lr=0.01, rows=np.arange(40)),  # fewer than a batch
    ]
    chosen = head_training("nmtune", epochs=4)
    together = fit(features, labels, chosen, mixed)
    for i, head in enumerate(mixed):
        alone = fit(features, labels, chosen, [head])
        for one, other in zip(together.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(one[i : i + 1], other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", ["mlp", "nmtune"])
@pytest.mark.parametrize("variant", ["paper", "reference-code"])
def test_heads_that_share_batches_in_groups_are_those_trained_alone(method, variant):
    features, labels = blobs(100)
    views = torch.stack([features, features + 0.1]) if variant == "reference-code" else features
    chosen = head_training(method, variant, epochs=2)
    grid = [HeadSpec(seed, lr=lr) for lr in (0.01, 0.02) for seed in (5, 7)]
    together = fit(views, labels, chosen, grid)
    for i, head in enumerate(grid):
        for one, other in zip(together.parameters(), fit(views, labels, chosen, [head]).parameters(), strict=True):
            torch.testing.assert_close(one[i : i + 1], other, rtol=1e-3, atol=1e-3)


def test_a_grid_draws_the_batches_of_a_seed_once(monkeypatch):
    features, labels = blobs(100)
    drawn = []
    draw = _batches
    monkeypatch.setattr("fastpt.tuning.fit._batches", lambda *args: drawn.append(args[3].seed) or draw(*args))
    select(features, labels, head_training("lp", epochs=1), [3, 5], [0.1, 0.2, 0.3], [0.0])
    assert drawn == [3, 5]


def test_passes_bounded_in_size_change_no_head(monkeypatch):
    features, labels = blobs(100)
    chosen, heads = head_training("mlp", epochs=2), [HeadSpec(0, lr=0.01), HeadSpec(1), HeadSpec(2, lr=0.02)]
    together = fit(features, labels, chosen, heads)
    monkeypatch.setattr("fastpt.tuning.fit.PASS_PARAMETERS", 1)
    for one, other in zip(together.parameters(), fit(features, labels, chosen, heads).parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def plain_linear(layer) -> torch.nn.Linear:
    linear = torch.nn.Linear(*layer.weight.shape[:0:-1])
    linear.weight.data, linear.bias.data = layer.weight[0].clone(), layer.bias[0, 0].clone()
    return linear


def plain_training(parameters, loss, chosen, count, seed, batch):
    """AdamW, the cosine and full batches from one stream of shuffled epochs, a step at a time."""
    optimizer = torch.optim.AdamW(parameters, lr=chosen.lr, weight_decay=chosen.weight_decay)
    stream, steps = random_stream(seed, "order"), -(-chosen.epochs * count // batch)
    order = torch.cat([torch.randperm(count, generator=stream) for _ in range(chosen.epochs + 1)])
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = chosen.lr * (1 + np.cos(np.pi * step / steps)) / 2
        optimizer.zero_grad()
        loss(order[step * batch : (step + 1) * batch]).backward()
        optimizer.step()


def untrained(features, labels, chosen, seed):
    return fit(features, labels, replace(chosen, epochs=1, lr=1e-30, weight_decay=0.0), [seed])


def assert_same_linear(ours, linear):
    torch.testing.assert_close(ours.weight[0], linear.weight.data, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(ours.bias[0, 0], linear.bias.data, rtol=1e-3, atol=1e-5)


def test_training_is_that_of_a_plain_loop():
    """One NMTune head against torch's own layers, optimiser and schedule, one batch at a time."""
    features, labels = blobs(100)
    chosen = head_training("nmtune", epochs=3, batch_size=32, reg_weight=0.5)
    initial, found = untrained(features, labels, chosen, 3), fit(features, labels, chosen, [3])
    first, second, classifier = map(plain_linear, (initial.first, initial.second, initial.classifier))

    def loss(ids):
        z = second(torch.relu(first(features[ids])))
        reg_weight = nmtune_regularizer(features[ids], z)
        return torch.nn.functional.cross_entropy(classifier(z), labels[ids]) + 0.5 * reg_weight

    parameters = [value for layer in (first, second, classifier) for value in layer.parameters()]
    plain_training(parameters, loss, chosen, 100, seed=3, batch=32)
    for ours, linear in zip((found.first, found.second, found.classifier), (first, second, classifier), strict=True):
        assert_same_linear(ours, linear)


@pytest.mark.parametrize(
    "seeds", [[3, 3], [3, 4], [4, 3, 4, 3]], ids=["shared batches", "batches of their own", "shared by two each"]
)
def test_training_of_linear_heads_is_that_of_a_plain_loop(seeds):
    features, labels = blobs(100)
    chosen, rates = head_training("lp", epochs=3, batch_size=32), [0.1, 0.02, 0.05, 0.1][: len(seeds)]
    found = fit(features, labels, chosen, [HeadSpec(seed, lr=lr) for seed, lr in zip(seeds, rates, strict=True)])
    for i, (seed, lr) in enumerate(zip(seeds, rates, strict=True)):
        linear = plain_linear(untrained(features, labels, chosen, seed).classifier)

        def loss(ids, linear=linear):
            return torch.nn.functional.cross_entropy(linear(features[ids]), labels[ids])

        plain_training(list(linear.parameters()), loss, replace(chosen, lr=lr), 100, seed, batch=32)
        assert_same_linear(found.select([i]).classifier, linear)


def test_training_of_the_reference_code_is_that_of_a_plain_loop():
    """Two views, a scale on the branch of the MLP, batch normalisation, five singular values; so few views that they
    swap.
    """
    (plain, labels), generator = blobs(100), torch.Generator().manual_seed(1)
    features = plain + 0.1 * torch.randn(2, 100, 16, generator=generator)
    chosen = head_training("nmtune", "reference-code", epochs=3, batch_size=32)
    initial, found = untrained(features, labels, chosen, 3), fit(features, labels, chosen, [3])
    first, second, classifier = map(plain_linear, (initial.first, initial.second, initial.classifier))
    norm, scale = torch.nn.BatchNorm1d(64), torch.nn.Parameter(torch.ones(16))
    views = random_stream(3, "views")
    drawn = torch.cat([torch.randint(2, (64, 1, 32), generator=views), torch.randint(1, 2, (64, 1, 32))], 1)

    def loss(ids):
        view = drawn[loss.step, 0]
        loss.step += 1
        one, other = features[view, ids], features[1 - view, ids]
        x = torch.cat([one, other])
        z = x + scale * second(torch.relu(norm(first(x))))
        kept, moved = one / one.norm(dim=1, keepdim=True), z[32:] / z[32:].norm(dim=1, keepdim=True)
        covariance, sigma = torch.cov(z.T), torch.linalg.svdvals(z)
        off_diagonal = covariance.square().sum() - covariance.diagonal().square().sum()
        ce = torch.nn.functional.cross_entropy(classifier(z), labels[ids].repeat(2))
        mse = torch.nn.functional.mse_loss(moved, kept)
        return ce + 1.0 * mse + 0.04 * off_diagonal / 16 - 0.001 * sigma[:5].mean() / sigma.sum()

    loss.step = 0
    modules = (first, second, classifier, norm)
    parameters = [*(value for module in modules for value in module.parameters()), scale]
    plain_training(parameters, loss, chosen, 100, seed=3, batch=32)
    assert_same_linear(found.second, second)
    assert_same_linear(found.classifier, classifier)
    torch.testing.assert_close(found.scale[0, 0], scale.data, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found.norm.variance[0, 0], norm.running_var, rtol=1e-3, atol=1e-5)
    with torch.no_grad():
        x = features[0]
        expected = classifier(x + scale * second(torch.relu(norm.eval()(first(x)))))
    torch.testing.assert_close(found.logits(x)[0], expected, rtol=0, atol=2e-3)  # b₁ drifts: BN hides it


def test_one_view_is_too_few_for_the_reference_code():
    features, labels = blobs(40)
    with pytest.raises(FastptError, match="two views"):
        fit(features, labels, head_training("mlp", "reference-code"), [0])


def test_each_view_of_a_sample_is_drawn():
    """Only the third of three views tells the classes apart: a probe that never saw it would be at chance."""
    features, labels = blobs(300)
    views = torch.stack([features * 0, features * 0, features])
    heads = fit(views[:, :200], labels[:200], head_training("lp", epochs=5), [0])
    assert (heads.predict(features[200:]) == labels[200:]).float().mean() > 0.95


def test_a_term_left_out_is_not_in_the_loss():
    features, labels = blobs(100)
    base = head_training("nmtune", epochs=2, reg_weight=1.0)
    without = {term: head_training("nmtune", ablate=[term], epochs=2, reg_weight=1.0) for term in Weights._fields}
    whole = fit(features, labels, base, [0]).first.weight
    assert all(not torch.equal(fit(features, labels, one, [0]).first.weight, whole) for one in without.values())
    none = fit(features, labels, head_training("nmtune", ablate=Weights._fields, epochs=2, reg_weight=1.0), [0])
    torch.testing.assert_close(
        none.first.weight, fit(features, labels, head_training("mlp", epochs=2), [0]).first.weight
    )


def test_the_choice_is_the_setting_that_does_best_on_held_out_samples():
    features, labels = blobs(300, spread=0.8)
    lp = head_training("lp", epochs=3)
    chosen, _ = select(features, labels, lp, [0, 1], lrs=[1e-7, 0.1, 1e12], reg_weights=[0.0])
    assert [(head.seed, head.lr) for head in chosen] == [(0, 0.1), (1, 0.1)]
    assert all(head.rows is None for head in chosen)


def test_the_choice_is_never_made_on_what_was_trained_on(monkeypatch):
    """A rate that fits its training part by heart must gain nothing: random labels leave the choice to chance."""
    features, labels = blobs(200)
    seen = []
    monkeypatch.setattr("fastpt.tuning.fit.holdout", lambda *args: seen.append(holdout(*args)) or seen[-1])
    rows = np.arange(0, 200, 2)
    select(features, labels, head_training("lp", epochs=1), [HeadSpec(3, rows=rows)], [0.1, 0.2], [0.0])
    ((kept, held),) = seen
    assert sorted([*kept, *held]) == list(range(100))


def test_rates_that_all_diverge_are_told():
    features, labels = blobs(100)
    with pytest.raises(FastptError, match="every learning rate"):
        select(features * 1e30, labels, head_training("nmtune", epochs=1), [0], [0.1, 0.2], [0.01])


def test_the_regulariser_changes_what_is_learned():
    features, labels = blobs(200)
    plain, tuned = (fit(features, labels, head_training(name, epochs=2), [0]) for name in ("mlp", "nmtune"))
    assert not torch.equal(plain.classifier.weight, tuned.classifier.weight)


def test_a_last_batch_of_one_sample_is_trained_on():
    features, labels = blobs(65)
    heads = fit(features, labels, head_training("nmtune", epochs=1), [0])
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
        fit(*change(features, labels), head_training("nmtune", epochs=1), [0], classes=4)


@pytest.mark.parametrize("method", HEADS)
def test_bf16_rounds_the_products_of_training_and_nothing_else(method):
    features, labels = blobs(500)
    chosen = head_training(method, epochs=5, lr=0.02, precision="bf16")
    rounded, exact = (
        fit(features[:300], labels[:300], one, [0, 1], 4) for one in (chosen, replace(chosen, precision="fp32"))
    )
    assert (rounded.predict(features[300:]) == labels[300:]).float().mean() > 0.95
    assert not torch.equal(rounded.classifier.weight, exact.classifier.weight)
    scale = exact.classifier.weight.abs().max()
    torch.testing.assert_close(rounded.classifier.weight, exact.classifier.weight, rtol=0, atol=0.2 * float(scale))
    exact.load_state_dict(rounded.state_dict())
    assert torch.equal(rounded.logits(features), exact.logits(features))
