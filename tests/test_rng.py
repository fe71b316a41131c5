import numpy as np

from fastpt import rng


def test_bits_are_a_function_of_the_whole_key():
    ids = np.arange(1000)
    assert np.array_equal(rng.bits(1, 2, ids), rng.bits(1, 2, ids))
    numbers = np.concatenate([rng.bits(1, 2, ids), rng.bits(1, 3, ids), rng.bits(2, 2, ids), rng.bits(1, 2, ids, 0)])
    assert len(np.unique(numbers)) == len(numbers)


def test_uniform_numbers_lie_from_0_to_below_1():
    numbers = rng.uniform(7, np.arange(100_000))
    assert 0 <= numbers.min() < 1e-4
    assert 1 - 1e-4 < numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.005


def test_a_seed_sequence_is_what_numpy_makes_of_the_key():
    """Splits of a suite, initial weights of heads and steps of a training are drawn from these."""
    assert np.array_equal(
        np.random.default_rng(rng.seed_sequence(3, "holdout")).permutation(9),
        np.random.default_rng([3, *b"holdout"]).permutation(9),
    )
    assert np.array_equal(
        rng.seed_sequence(3, 1, 4).generate_state(2), np.random.SeedSequence((3, 1, 4)).generate_state(2)
    )
