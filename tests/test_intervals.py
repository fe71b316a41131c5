import pytest

from fastpt.intervals import interval, paired


def test_the_interval_is_students():
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.mean, found.n) == (3, 5)
    assert found.ci95_half == pytest.approx(2.776445 * (2.5 / 5) ** 0.5, rel=1e-6)  # t of 4 degrees of freedom


def test_one_value_has_no_interval():
    assert interval([0.5]) == (0.5, None, 1)


def test_what_seeds_share_cancels_in_a_paired_difference():
    found = paired({0: 0.1, 1: 0.5, 2: 0.9, 7: 0.0}, {2: 0.8, 0: 0.0, 1: 0.4, 9: 1.0})
    assert found.mean == pytest.approx(0.1)
    assert found.ci95_half == pytest.approx(0, abs=1e-12)
    assert found.n == 3
    assert paired({0: 1.0}, {1: 1.0}) is None
