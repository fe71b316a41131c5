import numpy as np
import pytest
import torch

from fastpt.errors import FastptError
from fastpt.tuning.spectrum import (
    largest_singular_value_ratio,
    singular_value_entropy,
    singular_values,
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
