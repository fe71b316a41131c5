"""How many of each class are wrong: exact in all, to within rounding in each, nested, and without favour."""

import numpy as np
import pytest

from fastpt.data.hashes import xxh3_128
from fastpt.noise.ranking import far_off, first_of_each_class, rate_problems


def split(counts: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    labels = np.repeat(np.arange(len(counts)), counts)
    return (
        *xxh3_128([f"{label}/{i}" for i, label in enumerate(labels)], 0),
        labels,
        [f"c{i}" for i in range(len(counts))],
    )


def chosen(counts: list[int], rate: float, seed: int = 0, flippable=None) -> list[np.ndarray]:
    ranks, draws, labels, classes = split(counts)
    return list(first_of_each_class(ranks, draws, labels, classes, rate, seed, flippable))


SIZES = {
    "one sample": [1],
    "one class": [37],
    "an empty class": [5, 0, 9],
    "classes of four beside one of forty": [4] * 20 + [40],
    "classes of one": [1] * 50,
    "long tail": [max(1, 3000 // (i + 1)) for i in range(300)],
    "3 to 29": np.random.default_rng(0).integers(3, 30, 1000).tolist(),
}


@pytest.mark.parametrize("counts", SIZES.values(), ids=SIZES)
def test_the_number_is_exact_and_no_class_misses_its_share_by_more_than_rounding(counts):
    for rate in (0, 0.001, 0.05, 0.1, 0.3, 0.5, 0.77, 0.999):
        wrong = np.array([len(rows) for rows in chosen(counts, rate)])
        assert wrong.sum() == round(rate * sum(counts))
        assert (wrong <= counts).all()
        assert not far_off(np.array(counts), wrong, rate).any()


@pytest.mark.parametrize("counts", SIZES.values(), ids=SIZES)
def test_what_is_chosen_at_a_rate_is_chosen_at_every_higher_one(counts):
    before: set[int] = set()
    for rate in (0.01, 0.05, 0.1, 0.2, 0.3, 0.31, 0.5, 0.9):
        rows = set(np.concatenate(chosen(counts, rate)).tolist())
        assert before <= rows
        before = rows


def test_equal_classes_get_their_share_to_within_one_sample():
    wrong = np.array([len(rows) for rows in chosen([13] * 100, 0.1)])
    assert set(wrong) <= {1, 2}


def test_over_seeds_every_class_gets_the_share_that_it_should_expect():
    counts, rate, seeds = [4] * 20 + [40], 0.1, 2000
    wrong = np.array([[len(rows) for rows in chosen(counts, rate, seed)] for seed in range(seeds)])
    mean = wrong.mean(0) / counts
    assert np.abs(mean[:20] - rate).max() < 5 * wrong[:, :20].std(0).max() / 4 / np.sqrt(seeds)  # five standard errors
    assert abs(mean[20] - rate) < 0.01


def test_the_number_counts_labelled_samples_of_classes_that_can_be_wrong():
    flippable = np.array([True, False, True])
    assert [len(rows) for rows in chosen([10, 100, 10], 0.5, flippable=flippable)] == [5, 0, 5]
    ranks, draws, labels, classes = split([10, 10])
    labels = np.where(np.arange(20) % 2, labels, -1)
    rows = np.concatenate(list(first_of_each_class(ranks, draws, labels, classes, 0.4, 0)))
    assert len(rows) == 4
    assert (labels[rows] >= 0).all()


def test_what_misses_the_rate_is_said():
    labels = np.repeat(np.arange(4), 25)
    noisy = labels.copy()
    noisy[:10] = 3
    assert rate_problems(labels, noisy, 4, 0.1) == ["does not flip its rate of each class"]
    assert rate_problems(labels, noisy, 4, 0.6) == ["does not reach its rate"]
