"""The Gram forms against the formulas as they are written, in float64."""

import pytest
import torch

from fastpt.errors import FastptError
from fastpt.losses.nmtune import (
    consistency_loss,
    nmtune_regularizer,
    singular_values,
)

SHAPES = [(64, 512), (128, 32), (48, 48), (2, 20), (20, 1)]
DTYPES = [torch.float32, torch.float64]


def covariance_loss(Z):
    return nmtune_regularizer(Z, Z, consistency=0, dominance=0)


def dominant_singular_value_loss(Z, top=1):
    return nmtune_regularizer(Z, Z, consistency=0, covariance=0, top=top)


def plain_consistency(F, Z):
    F, Z = F / F.norm(dim=1, keepdim=True), Z / Z.norm(dim=1, keepdim=True)
    return (F - Z).square().sum(1).mean()


def plain_covariance(Z):
    C = torch.cov(Z.T).reshape(Z.shape[1], Z.shape[1])
    return (C.square().sum() - C.diagonal().square().sum()) / Z.shape[1]


def plain_dominance(Z):
    sigma = torch.linalg.svdvals(Z)
    return -sigma[0] / sigma.sum()


def with_spectrum(sigma: torch.Tensor, batch: int, dim: int, seed: int = 0) -> torch.Tensor:
    """Float64 [batch, dim] with the given singular values."""
    generator = torch.Generator().manual_seed(seed)
    left, right = (
        torch.linalg.qr(torch.randn(side, len(sigma), dtype=torch.float64, generator=generator))[0]
        for side in (batch, dim)
    )
    return (left * sigma) @ right.T


def steep(batch: int, dim: int, smallest: float) -> torch.Tensor:
    exponents = torch.linspace(0, 1, min(batch, dim), dtype=torch.float64)
    return with_spectrum(smallest**exponents, batch, dim)


def low_rank(batch: int, dim: int) -> torch.Tensor:
    return with_spectrum(torch.ones(max(1, min(batch, dim) // 4), dtype=torch.float64), batch, dim)


def matrices(batch: int, dim: int) -> dict[str, torch.Tensor]:
    noise = torch.randn(batch, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return {
        "noise": noise,
        "far from 0": noise + 1000,
        "steep": steep(batch, dim, 1e-4),
        "low rank": low_rank(batch, dim),
        "one direction": noise[:, :1] @ noise[:1],
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("batch", "dim"), SHAPES)
def test_values_agree_with_the_formulas(batch, dim, dtype):
    F = torch.randn(batch, dim, generator=torch.Generator().manual_seed(2)).to(dtype)
    for name, Z in matrices(batch, dim).items():
        Z = Z.to(dtype)
        cancelled = max(1, torch.var(Z.double(), 0).square().mean().item())  # the diagonal, which L_COV takes away
        expected = plain_consistency(F.double(), Z.double()), plain_covariance(Z.double()), plain_dominance(Z.double())
        found = consistency_loss(F, Z), covariance_loss(Z), dominant_singular_value_loss(Z)
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == dtype
            assert abs(one.item() - other.item()) <= 1e-5 * abs(other.item()) + 1e-12 * cancelled, name
        total = nmtune_regularizer(F, Z).double()
        torch.testing.assert_close(total, sum(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("batch", "dim"), SHAPES[:-1])
def test_gradients_agree_with_the_formulas(batch, dim, dtype):
    F = torch.randn(batch, dim, generator=torch.Generator().manual_seed(2)).to(dtype)
    Z = steep(batch, dim, 1e-3).to(dtype)

    def gradient(loss, Z):
        Z = Z.clone().requires_grad_()
        return torch.autograd.grad(loss(Z), Z)[0].double()

    pairs = [
        (lambda Z: consistency_loss(F, Z), lambda Z: plain_consistency(F.double(), Z)),
        (covariance_loss, plain_covariance),
        (dominant_singular_value_loss, plain_dominance),
        (
            lambda Z: nmtune_regularizer(F, Z),
            lambda Z: plain_consistency(F.double(), Z) + plain_covariance(Z) + plain_dominance(Z),
        ),
    ]
    for ours, plain in pairs:
        found, expected = gradient(ours, Z), gradient(plain, Z.double())
        assert (found - expected).norm() <= 1e-4 * expected.norm() + 1e-12


@pytest.mark.parametrize("terms", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1.0, 0.04, 0.001)])
@pytest.mark.parametrize(("batch", "dim"), [(6, 9), (9, 6), (5, 5)])
def test_gradients_are_those_of_the_values(batch, dim, terms):
    F, Z = torch.randn(2, 2, batch, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    Z.requires_grad_()
    assert torch.autograd.gradcheck(lambda Z: nmtune_regularizer(F, Z, *terms, top=2), Z)


def test_weights_scale_their_terms():
    F, Z = torch.randn(2, 12, 20, generator=torch.Generator().manual_seed(0))
    expected = 2 * consistency_loss(F, Z) + 3 * covariance_loss(Z) + 5 * dominant_singular_value_loss(Z)
    torch.testing.assert_close(nmtune_regularizer(F, Z, 2, 3, 5), expected)
    nothing = Z.clone().requires_grad_()
    nmtune_regularizer(F, nothing, 0, 0, 0).backward()
    assert not nothing.grad.any()


def test_the_mean_of_several_largest_may_stand_for_the_largest():
    Z = steep(12, 20, 1e-2)
    sigma = torch.linalg.svdvals(Z)
    torch.testing.assert_close(dominant_singular_value_loss(Z, top=5), -sigma[:5].mean() / sigma.sum())
    torch.testing.assert_close(dominant_singular_value_loss(Z, top=99), -sigma.mean() / sigma.sum())


@pytest.mark.parametrize("dtype", DTYPES)
def test_almost_equal_features_are_told_apart(dtype):
    """In float32 the difference of two unit vectors would lose its digits."""
    F = torch.randn(16, 64, generator=torch.Generator().manual_seed(0)).to(dtype)
    Z = F * (1 + 1e-5 * torch.randn(16, 64, generator=torch.Generator().manual_seed(1)).to(dtype))
    expected = plain_consistency(F.double(), Z.double()).item()
    assert consistency_loss(F, Z).item() == pytest.approx(expected, rel=1e-5)


def test_a_head_that_has_diverged_stops_no_other():
    Z = torch.randn(2, 8, 6)
    Z[0, 3, 3] = torch.nan
    Z.requires_grad_()
    value = nmtune_regularizer(Z.detach(), Z)
    (gradient,) = torch.autograd.grad(value.sum(), Z)
    assert value[0].isnan()
    assert value[1].isfinite()
    assert gradient[1].isfinite().all()


def test_a_leading_head_dimension_gives_one_value_a_head():
    F, Z = torch.randn(3, 16, 24), torch.randn(3, 16, 24)
    together = nmtune_regularizer(F, Z)
    alone = torch.stack([nmtune_regularizer(f, z) for f, z in zip(F, Z, strict=True)])
    assert together.shape == (3,)
    torch.testing.assert_close(together, alone)
    shared = nmtune_regularizer(F[0], Z)
    torch.testing.assert_close(shared[1], nmtune_regularizer(F[0], Z[1]))


def with_zero_row(Z: torch.Tensor) -> torch.Tensor:
    return torch.cat([Z[:1] * 0, Z[1:]])


AWKWARD = {
    "a row of zeros": with_zero_row(torch.randn(8, 6)),
    "all zeros": torch.zeros(8, 6),
    "equal rows": torch.ones(8, 6),
    "equal singular values": torch.eye(6),
    "one sample": torch.randn(1, 6),
    "one feature": torch.randn(8, 1),
    "tiny": torch.randn(8, 6) * 1e-20,
    "denormal": torch.ones(8, 6) * 1e-45,
    "one direction": torch.outer(torch.arange(8.0), torch.arange(6.0)),
}


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_gradients_are_finite_everywhere(name, dtype):
    Z = AWKWARD[name].to(dtype).requires_grad_()
    value = nmtune_regularizer(with_zero_row(torch.randn_like(Z)), Z)
    (gradient,) = torch.autograd.grad(value, Z)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


def test_a_row_of_zeros_counts_as_the_zero_vector():
    F, Z = torch.eye(2), torch.tensor([[0.0, 0.0], [0.0, 3.0]])
    assert consistency_loss(F, Z).item() == pytest.approx(0.5)  # (1 + 0) / 2


def test_singular_values_are_sorted_and_exact():
    sigma = torch.tensor([5.0, 2.0, 1e-3], dtype=torch.float64)
    for shape in ((9, 3), (3, 9)):
        torch.testing.assert_close(singular_values(with_spectrum(sigma, *shape)), sigma)


def test_rank_one_is_wholly_dominant():
    assert dominant_singular_value_loss(torch.outer(torch.randn(128), torch.randn(2048))).item() == pytest.approx(
        -1, 1e-6
    )


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(FastptError, match="row by row"):
        consistency_loss(torch.ones(4, 3), torch.ones(4, 5))
    with pytest.raises(FastptError, match="at least one sample"):
        covariance_loss(torch.ones(0, 5))
    with pytest.raises(FastptError, match="floating-point"):
        dominant_singular_value_loss(torch.ones(4, 5, dtype=torch.int64))


@pytest.mark.parametrize("shared", [(2,), (3, 1), (1, 3)])
def test_leading_dimensions_that_do_not_agree_are_told(shared):
    with pytest.raises(FastptError, match="leading dimensions of Z or none"):
        nmtune_regularizer(torch.randn(*shared, 8, 5), torch.randn(3, 8, 5))


def test_what_is_no_tensor_of_numbers_is_told():
    Z = torch.randn(8, 5)
    with pytest.raises(FastptError, match="Z is a ndarray"):
        covariance_loss(Z.numpy())
    with pytest.raises(FastptError, match=r"F is .* of torch.complex64"):
        consistency_loss(Z.to(torch.complex64), Z)
    with pytest.raises(FastptError, match="top is 0"):
        dominant_singular_value_loss(Z, top=0)
