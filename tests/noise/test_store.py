import numpy as np
import pytest

from fastpt.data.columns import xxh3_64
from fastpt.errors import FastptError
from fastpt.noise.ranking import swap, symmetric

KEYS = [f"train/n{i % 7}/{i}.jpg" for i in range(1003)]
LABELS = np.arange(1003) % 7
TEXTS = [f"text {i % 300}" for i in range(1003)]


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.1, 0.3, 0.999])
def test_symmetric_flips_the_exact_count_of_each_class_to_other_classes(rate):
    noisy = symmetric(KEYS, LABELS, 7, rate, seed=0)
    counts = np.bincount(LABELS)
    assert np.array_equal(np.bincount(LABELS[noisy != LABELS], minlength=7), np.rint(rate * counts))
    assert noisy.dtype == np.int32
    assert noisy.min() >= 0
    assert noisy.max() < 7


def test_symmetric_spreads_evenly_over_the_other_classes():
    labels = np.zeros(30_000, int)
    noisy = symmetric([str(i) for i in range(30_000)], labels, 11, 0.5, seed=1)
    counts = np.bincount(noisy, minlength=11)[1:]
    assert counts.sum() == 15_000
    assert np.abs(counts - 1500).max() < 5 * np.sqrt(1500)  # five standard deviations of a fair draw


@pytest.mark.parametrize(
    "noise", [lambda rate: symmetric(KEYS, LABELS, 7, rate, 0), lambda rate: swap(KEYS, xxh3_64(TEXTS), rate, 0)]
)
def test_what_is_wrong_at_a_low_rate_is_wrong_in_the_same_way_at_a_higher_one(noise):
    clean, low, high = noise(0.0), noise(0.05), noise(0.3)
    wrong = low != clean
    assert wrong.any()
    assert np.array_equal(low[wrong], high[wrong])


def test_noise_follows_the_keys_not_the_rows():
    shuffled = np.random.default_rng(0).permutation(len(KEYS))
    keys, texts = [KEYS[i] for i in shuffled], [TEXTS[i] for i in shuffled]
    assert np.array_equal(symmetric(KEYS, LABELS, 7, 0.2, 0)[shuffled], symmetric(keys, LABELS[shuffled], 7, 0.2, 0))
    shown, shown_shuffled = swap(KEYS, xxh3_64(TEXTS), 0.2, 0), swap(keys, xxh3_64(texts), 0.2, 0)
    assert [KEYS[i] for i in shown[shuffled]] == [keys[i] for i in shown_shuffled]


def test_a_rejected_sample_moves_only_the_boundary():
    keep = np.arange(len(KEYS)) != 500
    keys, texts = [key for key, kept in zip(KEYS, keep, strict=True) if kept], [TEXTS[i] for i in np.flatnonzero(keep)]
    labels = symmetric(KEYS, LABELS, 7, 0.2, 0)[keep] != symmetric(keys, LABELS[keep], 7, 0.2, 0)
    assert labels.sum() <= 1
    partners = [KEYS[i] for i in swap(KEYS, xxh3_64(TEXTS), 0.2, 0)[keep]]
    partners_now = [keys[i] for i in swap(keys, xxh3_64(texts), 0.2, 0)]
    changed = sum(a != b for a, b in zip(partners, partners_now, strict=True))
    assert changed < 100  # its bucket of about 32, and the boundary; not all 200


def test_another_seed_is_other_noise():
    assert (symmetric(KEYS, LABELS, 7, 0.3, 0) != symmetric(KEYS, LABELS, 7, 0.3, 1)).mean() > 0.2


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.9])
def test_swap_reaches_the_rate_in_pairs_and_nobody_keeps_its_text(rate):
    rows = swap(KEYS, xxh3_64(TEXTS), rate, seed=0)
    wrong = rows != np.arange(len(KEYS))
    assert wrong.sum() == 2 * round(rate * len(KEYS) / 2)
    assert np.array_equal(rows[rows], np.arange(len(KEYS)))  # partners show each other's
    texts = np.array(TEXTS)
    assert (texts[rows] != texts)[wrong].all()


@pytest.mark.parametrize("majority", [501, 502, 700, 1002])
def test_swap_reaches_the_greatest_possible_rate_and_names_it_when_asked_for_more(majority):
    texts = ["same"] * majority + [f"other {i}" for i in range(1003 - majority)]
    most = min(1003 // 2, 1003 - majority)
    assert (swap(KEYS, xxh3_64(texts), 2 * most / 1003, 0) != np.arange(1003)).sum() == 2 * most
    if most < 501:
        with pytest.raises(FastptError, match=f"maximum here is {2 * most / 1003:.4g}"):
            swap(KEYS, xxh3_64(texts), 2 * (most + 1) / 1003, 0)


def test_identical_texts_cannot_be_noised():
    with pytest.raises(FastptError, match="maximum here is 0"):
        swap(KEYS, xxh3_64(["same"] * 1003), 0.1, 0)


def test_one_class_cannot_be_flipped():
    with pytest.raises(FastptError, match="found 1 class"):
        symmetric(["a", "b"], np.zeros(2, int), 1, 0.5, 0)
