import numpy as np
import pytest

from fastpt.errors import FastptError
from fastpt.noise.kinds.symmetric import symmetric

KEYS = [f"train/n{i % 7}/{i}.jpg" for i in range(1003)]
LABELS = np.arange(1003) % 7
CLASSES = [f"class {i}" for i in range(7)]


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.1, 0.3, 0.999])
def test_symmetric_flips_the_exact_count_and_of_each_class_its_share_to_other_classes(rate):
    noisy = symmetric(KEYS, LABELS, CLASSES, rate, seed=0)
    wrong = LABELS[noisy != LABELS]
    assert len(wrong) == round(rate * len(KEYS))
    assert np.abs(np.bincount(wrong, minlength=7) - rate * np.bincount(LABELS)).max() < 1.1
    assert noisy.dtype == np.int32
    assert noisy.min() >= 0
    assert noisy.max() < 7


def test_symmetric_spreads_evenly_over_the_other_classes():
    labels = np.zeros(30_000, int)
    noisy = symmetric([str(i) for i in range(30_000)], labels, [str(i) for i in range(11)], 0.5, seed=1)
    counts = np.bincount(noisy, minlength=11)[1:]
    assert counts.sum() == 15_000
    assert np.abs(counts - 1500).max() < 5 * np.sqrt(1500)  # five standard deviations of a fair draw


def test_what_is_wrong_at_a_low_rate_is_wrong_in_the_same_way_at_a_higher_one():
    low, high = (symmetric(KEYS, LABELS, CLASSES, rate, 0) for rate in (0.05, 0.3))
    wrong = low != LABELS
    assert wrong.any()
    assert np.array_equal(low[wrong], high[wrong])


def test_noise_follows_the_keys_not_the_rows():
    shuffled = np.random.default_rng(0).permutation(len(KEYS))
    keys = [KEYS[i] for i in shuffled]
    assert np.array_equal(
        symmetric(KEYS, LABELS, CLASSES, 0.2, 0)[shuffled], symmetric(keys, LABELS[shuffled], CLASSES, 0.2, 0)
    )


def test_a_rejected_sample_moves_only_the_boundary():
    keep = np.arange(len(KEYS)) != 500
    keys = [key for key, kept in zip(KEYS, keep, strict=True) if kept]
    labels = symmetric(KEYS, LABELS, CLASSES, 0.2, 0)[keep] != symmetric(keys, LABELS[keep], CLASSES, 0.2, 0)
    assert labels.sum() <= 1


def test_another_seed_is_other_noise():
    assert (symmetric(KEYS, LABELS, CLASSES, 0.3, 0) != symmetric(KEYS, LABELS, CLASSES, 0.3, 1)).mean() > 0.2


def test_one_class_cannot_be_flipped():
    with pytest.raises(FastptError, match="found 1 class"):
        symmetric(["a", "b"], np.zeros(2, int), ["one"], 0.5, 0)
