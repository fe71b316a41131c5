import numpy as np
import pytest

from fastpt.errors import FastptError
from fastpt.tuning.subsets import holdout, subset

LABELS = np.repeat([0, 1, 2], [100, 10, 1])[np.random.default_rng(0).permutation(111)]


def test_a_share_is_of_every_class_and_at_least_one_sample():
    assert np.bincount(LABELS[subset(LABELS, 0.25, seed=0)]).tolist() == [25, 2, 1]
    assert subset(LABELS, 1.0, seed=0).tolist() == list(range(111))


def test_a_smaller_share_is_within_a_larger_one():
    small, large = (set(subset(LABELS, share, seed=3)) for share in (0.1, 0.5))
    assert small < large


def test_another_seed_draws_other_samples():
    assert set(subset(LABELS, 0.25, seed=0)) != set(subset(LABELS, 0.25, seed=1))


def test_a_validation_part_leaves_a_sample_of_each_class():
    kept, held = holdout(LABELS, 0.2, seed=0)
    assert sorted([*kept, *held]) == list(range(111))
    assert np.bincount(LABELS[held], minlength=3).tolist() == [20, 2, 0]


def test_impossible_shares_are_refused():
    with pytest.raises(FastptError, match=r"For 10 % write 0\.1"):
        subset(LABELS, 10, seed=0)
    with pytest.raises(FastptError, match="none to validate on"):
        holdout(np.arange(5), 0.2, seed=0)
