import numpy as np
import pytest
import torch

from fastpt.errors import FastptError
from fastpt.tuning.spectrum import (
    class_alignment,
    effective_rank,
    largest_singular_value_ratio,
    linear_cka,
    singular_value_entropy,
    singular_values,
    uniformity,
)


def test_agrees_with_numpys_svd_on_either_side():
    for shape in ((300, 40), (40, 300)):
        F = np.random.default_rng(0).normal(size=shape) * np.logspace(0, -3, shape[1])
        expected = np.linalg.svd(F, compute_uv=False)
        p = expected / expected.sum()
        np.testing.assert_allclose(singular_values(F), expected, rtol=1e-6)
        assert singular_value_entropy(singular_values(F)) == pytest.approx(-(p * np.log(p)).sum(), rel=1e-6)
        assert largest_singular_value_ratio(singular_values(F)) == pytest.approx(-np.log(p[0]), rel=1e-6)


def test_numpy_and_torch_of_either_precision_agree():
    F = np.random.default_rng(0).normal(size=(50, 20)).astype(np.float32)
    same = [singular_value_entropy(singular_values(one)) for one in (F, torch.from_numpy(F), F.astype(np.float64))]
    assert same == pytest.approx([same[0]] * 3, rel=1e-9)


def test_float64_is_not_rounded_to_float32():
    F = np.diag([1.0, 1e-5]) + 1e-9 * np.ones((2, 2))
    np.testing.assert_allclose(singular_values(F), np.linalg.svd(F, compute_uv=False), rtol=1e-5)


def test_one_direction_and_all_alike_are_the_ends_of_the_scale():
    line, flat = np.outer(np.arange(1, 9), np.ones(5)), np.eye(5)
    assert singular_value_entropy(singular_values(line)) == pytest.approx(0, abs=1e-6)
    assert largest_singular_value_ratio(singular_values(line)) == pytest.approx(0, abs=1e-6)
    assert singular_value_entropy(singular_values(flat)) == pytest.approx(np.log(5))
    assert largest_singular_value_ratio(singular_values(flat)) == pytest.approx(np.log(5))


@pytest.mark.parametrize(
    ("F", "message"),
    [
        (np.zeros((0, 4)), "shape"),
        (np.zeros((4, 4)), "all zeros"),
        (np.array([[1.0, np.nan], [1.0, 2.0]]), "first is row 0"),
    ],
)
def test_features_without_a_spectrum_are_refused(F, message):
    with pytest.raises(FastptError, match=message):
        singular_value_entropy(singular_values(F))


def test_effective_rank_counts_equal_directions():
    assert effective_rank(np.array([2.0, 2.0, 2.0, 0.0])) == pytest.approx(3)
    assert effective_rank(np.array([3.0, 1.0])) == pytest.approx(0.75**-0.75 * 0.25**-0.25)


def test_alignment_is_the_mean_squared_distance_of_pairs_of_one_class():
    F = np.array([[1.0, 0.0], [0.0, 5.0], [-1.0, 0.0], [1.0, 1.0]])  # on the circle: 0, 90, 180, 45 degrees
    assert class_alignment(F, np.array([0, 0, 0, 1])) == pytest.approx((2 + 4 + 2) / 3)
    assert class_alignment(F, np.arange(4)) is None


def test_uniformity_is_the_log_of_the_mean_potential_of_pairs(monkeypatch):
    F = np.array([[1.0, 0.0], [0.0, 5.0], [-1.0, 0.0]])
    assert uniformity(F) == pytest.approx(np.log((2 * np.exp(-4) + np.exp(-8)) / 3), rel=1e-5)
    assert uniformity(np.ones((5, 2))) == pytest.approx(0, abs=1e-6)
    assert uniformity(F[:1]) is None
    monkeypatch.setattr("fastpt.tuning.spectrum.MOST_PAIRED", 2)
    assert uniformity(F[[0, 1, 2, 1]]) == pytest.approx(-8)  # of rows 0 and 2


@pytest.mark.parametrize("samples", [6, 60])
def test_cka_is_that_of_its_definition_and_knows_no_rotation_or_scale(samples):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(samples, 8)), rng.normal(size=(samples, 5))
    x, y = X - X.mean(0), Y - Y.mean(0)
    K, L = x @ x.T, y @ y.T
    assert linear_cka(X, Y) == pytest.approx((K * L).sum() / np.sqrt((K * K).sum() * (L * L).sum()))
    turned = 3 * X @ np.linalg.qr(rng.normal(size=(8, 8)))[0] + 7
    assert linear_cka(X, turned) == pytest.approx(1)


def test_cka_of_one_point_or_of_other_samples_is_none_or_refused():
    assert linear_cka(np.ones((4, 2)), np.eye(4)) is None
    with pytest.raises(FastptError, match="same samples; found 4 and 3"):
        linear_cka(np.eye(4), np.eye(3))
