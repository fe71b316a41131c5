import numpy as np
import pytest

from fastpt.errors import FastptError
from fastpt.noise import add_noise
from fastpt.noise.kinds.instance import instance
from fastpt.noise.predictions import Predictions, write_predictions
from tests.conftest import made_up, prepared

COUNT, CLASSES = 20_000, 6
KEYS = [f"train/{i}.jpg" for i in range(COUNT)]
LABELS = np.arange(COUNT) % CLASSES
PROBABILITIES = np.random.default_rng(0).dirichlet(np.full(CLASSES, 0.5), COUNT).astype(np.float32)
ORDER = np.argsort(-PROBABILITIES, 1)[:, :4]
SOME = np.take_along_axis(PROBABILITIES, ORDER, 1)


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.3, 0.9])
def test_the_number_of_flips_is_exact_and_all_go_to_a_class_that_the_model_names(rate):
    noisy = instance(KEYS, LABELS, ORDER, SOME, rate, 0)
    wrong = noisy != LABELS
    assert wrong.sum() == round(rate * COUNT)
    assert (ORDER[wrong] == noisy[wrong, None]).any(1).all()
    assert noisy.dtype == np.int32


def test_what_is_wrong_at_a_low_rate_is_wrong_in_the_same_way_at_a_higher_one():
    low, high = (instance(KEYS, LABELS, ORDER, SOME, rate, 0) for rate in (0.05, 0.4))
    wrong = low != LABELS
    assert np.array_equal(low[wrong], high[wrong])


def test_noise_follows_the_keys_not_the_rows():
    rows = np.random.default_rng(1).permutation(COUNT)
    expected = instance(KEYS, LABELS, ORDER, SOME, 0.2, 0)[rows]
    keys = [KEYS[row] for row in rows]
    assert np.array_equal(instance(keys, LABELS[rows], ORDER[rows], SOME[rows], 0.2, 0), expected)


def test_a_sample_is_flipped_in_proportion_to_the_doubt():
    wrong = instance(KEYS, LABELS, ORDER, SOME, 0.2, 0) != LABELS
    doubts = np.where(LABELS[:, None] == ORDER, 0, SOME).sum(1)
    for low, high in [(0.05, 0.3), (0.3, 0.6), (0.6, 0.9), (0.9, 1.01)]:
        these = (doubts >= low) & (doubts < high)
        expected = 0.2 * doubts[these].mean() / doubts.mean()
        deviation = np.sqrt(expected * (1 - expected) / these.sum())
        assert abs(wrong[these].mean() - expected) < 5 * deviation


def test_the_class_shown_is_drawn_as_the_model_has_it():
    keys = [str(i) for i in range(COUNT)]
    classes, shares = np.tile([2, 0, 1, 3], (COUNT, 1)), np.tile(np.float32([0.5, 0.25, 0.0, 0.25]), (COUNT, 1))
    noisy = instance(keys, np.full(COUNT, 2), classes, shares, 0.5, 0)
    counts = np.bincount(noisy, minlength=4)
    assert counts[1] == 0
    assert counts[2] == COUNT // 2
    assert abs(counts[0] - COUNT // 4) < 5 * np.sqrt(COUNT / 8)


def test_another_seed_is_other_noise():
    assert (instance(KEYS, LABELS, ORDER, SOME, 0.3, 0) != instance(KEYS, LABELS, ORDER, SOME, 0.3, 1)).mean() > 0.1


def test_a_rate_beyond_what_the_model_doubts_names_the_maximum():
    sure = np.zeros((10, 2), np.float32)
    sure[:, 0] = 1
    sure[:4, 1] = 0.5
    classes = np.tile([0, 1], (10, 1))
    assert (instance(KEYS[:10], np.zeros(10, int), classes, sure, 0.4, 0) == 1).sum() == 4
    with pytest.raises(FastptError, match=r"no other class for 6 samples. The maximum here is 0\.4"):
        instance(KEYS[:10], np.zeros(10, int), classes, sure, 0.5, 0)


def test_classes_that_are_doubted_more_are_no_fault(tmp_path, caplog):
    split = prepared(tmp_path, made_up(40))
    shares = np.where(split.clean_labels == 0, 0.4, 0.01).astype(np.float32)
    classes = np.stack(
        [split.clean_labels, (split.clean_labels + 1) % 4, *((split.clean_labels + i) % 4 for i in (2, 3))], 1
    )
    probabilities = np.stack([1 - shares, shares, 0 * shares, 0 * shares], 1)
    labels = split.clean_labels
    found = Predictions(labels, labels, (1 - 2 * shares), classes, probabilities)
    write_predictions(tmp_path / "s.parquet", split, found, {})
    plan = add_noise(split, 0.2, 0, kind="instance", files={"predictions": tmp_path / "s.parquet"})
    wrong = np.bincount(labels[plan.array != labels], minlength=4)
    assert wrong.sum() == 8
    assert wrong[0] > 4
    assert "labels wrong" not in caplog.text
