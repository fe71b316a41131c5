import numpy as np
import pytest

from fastpt.data.hashes import xxh3_64
from fastpt.errors import FastptError
from fastpt.noise.kinds.swap import swap

KEYS = [f"train/n{i % 7}/{i}.jpg" for i in range(1003)]
TEXTS = [f"text {i % 300}" for i in range(1003)]


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.9])
def test_swap_reaches_the_rate_in_pairs_and_nobody_keeps_its_text(rate):
    rows = swap(KEYS, xxh3_64(TEXTS), rate, seed=0)
    wrong = rows != np.arange(len(KEYS))
    assert wrong.sum() == 2 * round(rate * len(KEYS) / 2)
    assert np.array_equal(rows[rows], np.arange(len(KEYS)))  # partners show each other's
    texts = np.array(TEXTS)
    assert (texts[rows] != texts)[wrong].all()


def test_what_is_wrong_at_a_low_rate_is_wrong_in_the_same_way_at_a_higher_one():
    low, high = (swap(KEYS, xxh3_64(TEXTS), rate, 0) for rate in (0.05, 0.3))
    wrong = low != np.arange(1003)
    assert wrong.any()
    assert np.array_equal(low[wrong], high[wrong])


def test_noise_follows_the_keys_not_the_rows():
    shuffled = np.random.default_rng(0).permutation(len(KEYS))
    keys, texts = [KEYS[i] for i in shuffled], [TEXTS[i] for i in shuffled]
    shown, shown_shuffled = swap(KEYS, xxh3_64(TEXTS), 0.2, 0), swap(keys, xxh3_64(texts), 0.2, 0)
    assert [KEYS[i] for i in shown[shuffled]] == [keys[i] for i in shown_shuffled]


def test_a_rejected_sample_changes_partners_in_its_own_bucket_only():
    keep = np.arange(len(KEYS)) != 500
    keys, texts = [key for key, kept in zip(KEYS, keep, strict=True) if kept], [TEXTS[i] for i in np.flatnonzero(keep)]
    partners = [KEYS[i] for i in swap(KEYS, xxh3_64(TEXTS), 0.2, 0)[keep]]
    partners_now = [keys[i] for i in swap(keys, xxh3_64(texts), 0.2, 0)]
    changed = sum(a != b for a, b in zip(partners, partners_now, strict=True))
    assert changed < 100  # its bucket of about 32, and the boundary; not all 200


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
