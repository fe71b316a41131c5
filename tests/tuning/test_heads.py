import pytest
import torch

from fastpt.tuning.heads import Heads, random_stream


@pytest.mark.parametrize("mlp", [False, True])
def test_each_head_computes_what_torchs_layers_compute(mlp):
    heads = Heads(dim=6, classes=3, seeds=[4, 9], mlp="paper" if mlp else None)
    x = torch.randn(2, 5, 6)
    logits, z = heads(x)
    for head in range(2):
        layers = []
        for layer in [heads.first, heads.second, heads.classifier] if mlp else [heads.classifier]:
            linear = torch.nn.Linear(*layer.weight.shape[:0:-1])
            linear.weight.data, linear.bias.data = layer.weight[head], layer.bias[head, 0]
            layers.append(linear)
        expected_z = layers[1](torch.relu(layers[0](x[head]))) if mlp else x[head]
        torch.testing.assert_close(z[head], expected_z)
        torch.testing.assert_close(logits[head], layers[-1](expected_z))


def test_initial_weights_depend_on_the_heads_own_seed_alone():
    together, alone = Heads(6, 3, [4, 9], mlp="paper"), Heads(6, 3, [9], mlp="paper")
    for one, other in zip(together.parameters(), alone.parameters(), strict=True):
        assert torch.equal(one[1:], other)
        assert not torch.equal(one[:1], other)


def test_initial_weights_fill_torchs_range():
    weight = Heads(100, 200, [0], mlp=None).classifier.weight
    assert weight.abs().max() <= 0.1
    assert weight.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.02)


def test_the_mlp_of_the_reference_code_has_its_scale_on_the_branch_of_the_mlp():
    """Z = s · MLP(F) + F, MLP = Linear(D, 4D) - BatchNorm - ReLU - Linear(4D, D), s [1, D] that begins at 1."""
    heads = Heads(6, 3, [4], mlp="reference-code").eval()
    assert torch.equal(heads.scale, torch.ones(1, 1, 6))
    assert heads.first.weight.shape == (1, 24, 6)
    heads.scale.data = torch.randn(1, 1, 6)
    mlp = torch.nn.Sequential(
        torch.nn.Linear(6, 24), torch.nn.BatchNorm1d(24), torch.nn.ReLU(), torch.nn.Linear(24, 6)
    ).eval()
    for layer, ours in ((mlp[0], heads.first), (mlp[3], heads.second)):
        layer.weight.data, layer.bias.data = ours.weight[0], ours.bias[0, 0]
    x = torch.randn(5, 6)
    torch.testing.assert_close(heads.transform(x)[0], heads.scale[0] * mlp(x) + x)


@pytest.mark.parametrize("mlp", [None, "reference-code"])
def test_classifiers_of_the_reference_code_begin_as_kaiming_uniform_without_bias(mlp):
    classifier = Heads(100, 200, [0], mlp, classifier_init="kaiming").classifier
    reference = torch.empty(200, 100)
    torch.nn.init.kaiming_uniform_(reference)
    assert classifier.weight.abs().max().item() == pytest.approx(reference.abs().max().item(), rel=0.01)
    assert classifier.weight.std().item() == pytest.approx(reference.std().item(), rel=0.02)
    assert not classifier.bias.any()


def test_features_are_shared_and_read_in_pieces():
    heads = Heads(6, 3, [0, 1], mlp="paper")
    features = torch.randn(10, 6)
    torch.testing.assert_close(heads.logits(features, batch_size=3), heads(features.expand(2, -1, -1))[0])
    assert heads.predict(features).shape == (2, 10)
    torch.testing.assert_close(heads.transformed(features, 1), heads.transform(features)[1])


def test_streams_of_a_seed_differ_by_purpose():
    draws = [torch.rand(3, generator=random_stream(*key)).tolist() for key in ((0, "init"), (0, "order"), (1, "init"))]
    assert draws[0] != draws[1] != draws[2] != draws[0]
    assert torch.rand(3, generator=random_stream(0, "init")).tolist() == draws[0]


@pytest.mark.parametrize("batches", [1, 2, 4])
def test_gradients_of_what_heads_share_are_those_of_plain_products(batches):
    heads = Heads(6, 3, [0, 1, 2, 3], mlp="paper")
    x = torch.randn(batches, 5, 6, requires_grad=True)
    upstream = torch.randn(4, 5, 3)
    (found,) = torch.autograd.grad(heads(x)[0], x, upstream)
    each = x.repeat_interleave(4 // batches, 0)
    for layer in (heads.first, heads.second, heads.classifier):
        each = each @ layer.weight.detach().mT + layer.bias.detach()
        each = torch.relu(each) if layer is heads.first else each
    torch.testing.assert_close(heads(x)[0], each)
    torch.testing.assert_close(found, torch.autograd.grad(each, x, upstream)[0])
