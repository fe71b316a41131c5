"""Random numbers that are a function of a key, not of a history: the same on any machine, thread, rank or restart.

The generator is SplitMix64's finaliser (Steele, Lea and Flood 2014; constants of Stafford's variant 13) chained over
the parts of the key. One finalisation is a bijection of 64 bits, so numbers that differ in their last part differ.
"""

from functools import lru_cache

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

# The first part of every key says what the numbers are for, so that no two uses share a stream.
BLOCK_ORDER, SAMPLE_ORDER, CROP, AUGMENTATION, CORRUPTION = range(5)


def bits(*key: int | np.ndarray) -> np.ndarray:
    """uint64 random bits for integer `key` parts; arrays among them broadcast (at least one dimension)."""
    numbers = next((i for i, part in enumerate(key) if not isinstance(part, int)), len(key))
    return _chain(_state(key[:numbers]).copy(), key[numbers:])


def uniform(*key: int | np.ndarray) -> np.ndarray:
    """float64 in [0, 1) with 53 random bits, for `key` as in `bits`."""
    return (bits(*key) >> np.uint64(11)) * 2.0**-53


def seed_sequence(*key: int | str) -> np.random.SeedSequence:
    """What seeds a generator of numpy or torch for a `key`, such as a seed and a purpose: no two keys share a stream.

    For numpy `np.random.default_rng(seed_sequence(seed, "holdout"))`; torch takes a number of `generate_state`.
    """
    numbers = [number for part in key for number in (part.encode() if isinstance(part, str) else [part])]
    return np.random.SeedSequence(numbers)


@lru_cache(64)
def _state(numbers: tuple[int, ...]) -> np.ndarray:
    """After the numbers that many keys begin with."""
    return _chain(np.zeros(1, np.uint64), numbers)


def _chain(state: np.ndarray, parts: tuple[int | np.ndarray, ...]) -> np.ndarray:
    for part in parts:
        state = _finalise((state ^ np.asarray(part).astype(np.uint64)) + _GOLDEN)
    return state


def _finalise(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
