from dataclasses import replace

import numpy as np

from fastpt.data.hashes import xxh3_128
from fastpt.noise import add_noise
from fastpt.noise.kinds.pairswap import pairswap
from tests.conftest import made_up, prepared

COUNT = 1003
KEYS = [f"train/n{i % 7}/{i}.jpg" for i in range(COUNT)]


def test_pairswap_is_a_permutation_whose_realised_rate_is_the_papers():
    keys = [str(i) for i in range(50_000)]
    for rate, realised in ((0.05, 0.095), (0.3, 0.451)):
        rows = pairswap(keys, rate, 0)
        assert np.array_equal(np.sort(rows), np.arange(50_000))
        assert abs((rows != np.arange(50_000)).mean() - realised) < 0.01


def test_pairswap_at_once_is_one_swap_after_the_other():
    keys = [str(i) for i in range(6)]  # so few that nearly every swap meets an earlier one
    for seed in range(20):
        told = pairswap(keys, 0.99, seed)
        order = np.argsort(xxh3_128(keys, seed)[0])
        raw = np.random.PCG64(seed).random_raw(12).reshape(-1, 2)
        rows = np.arange(6)
        for first, second in raw.tolist():
            i, j = first % 6, second % 5
            i, j = order[i], order[j + (j >= i)]
            rows[[i, j]] = rows[[j, i]]
        assert np.array_equal(told, rows)


def test_pairswap_is_keyed_and_seeded():
    shuffled = np.random.default_rng(0).permutation(COUNT)
    keys = [KEYS[i] for i in shuffled]
    assert [KEYS[i] for i in pairswap(KEYS, 0.3, 0)[shuffled]] == [keys[i] for i in pairswap(keys, 0.3, 0)]
    assert (pairswap(KEYS, 0.3, 0) != pairswap(KEYS, 0.3, 1)).mean() > 0.2


def test_equal_texts_do_not_count_as_realised_noise(tmp_path):
    captions = ["same"] * 30 + list("abcdefghij")
    dataset = prepared(tmp_path, replace(made_up(40, captions=True), captions=captions))
    plan = add_noise(dataset, 0.5, 0, kind="pairswap")
    moved = np.flatnonzero(plan.array != np.arange(40))
    texts = np.array(dataset.captions(range(40)))
    assert plan.realised_rate == (texts[plan.array] != texts).mean() < len(moved) / 40
