import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from fastpt.tuning.metrics import (
    LEAST_PROBABILITY,
    MEASURES,
    Answers,
    accuracy,
    auroc,
    average_precision,
    expected_calibration_error,
    mean_per_class,
    measured,
    negative_log_likelihood,
)


def test_accuracy_counts_samples_and_mean_per_class_counts_classes():
    predicted, labels = np.array([0, 0, 0, 2, 2]), np.array([0, 0, 1, 2, 0])
    assert accuracy(predicted, labels) == pytest.approx(3 / 5)
    assert mean_per_class(predicted, labels) == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert mean_per_class(np.array([0, 3]), np.array([0, 3])) == 1  # classes that do not occur do not count


def test_auroc_is_the_share_of_pairs_in_order_and_a_tie_is_half():
    scores = np.array([[0.9], [0.5], [0.5], [0.1]])
    members = np.array([[True], [False], [True], [False]])
    assert auroc(scores, members) == pytest.approx((1 + 1 + 0.5 + 1) / 4)  # of the pairs inside, outside


def test_average_precision_is_the_mean_precision_where_each_sample_of_the_class_is_found():
    scores = np.array([[0.9], [0.8], [0.7], [0.6]])
    members = np.array([[True], [False], [True], [False]])
    assert average_precision(scores, members) == pytest.approx((1 / 1 + 2 / 3) / 2)


def test_both_are_scikit_learns_on_several_labels_a_sample_with_ties():
    rng = np.random.default_rng(0)
    members, scores = rng.random((60, 5)) < 0.3, rng.integers(0, 8, (60, 5)).astype(np.float32)
    assert auroc(scores, members) == pytest.approx(roc_auc_score(members, scores, average="macro"))
    assert average_precision(scores, members) == pytest.approx(average_precision_score(members, scores))


def test_classes_without_a_curve_are_left_out():
    scores = np.array([[0.9, 0.5, 0.1], [0.1, 0.5, 0.3]])
    members = np.array([[True, False, True], [False, False, True]])  # one, none and all of the samples
    assert auroc(scores, members) == 1
    assert average_precision(scores, members) == 1
    assert auroc(scores[:, 1:], members[:, 1:]) is None
    assert average_precision(scores[:, 1:2], members[:, 1:2]) is None


def test_calibration_error_weighs_the_gap_of_each_bin_by_its_samples():
    confidence, right = np.array([0.95, 0.95, 0.55, 0.6]), np.array([True, False, True, True])
    # Ten bins: (0.9, 1] has 2 of 4 at a gap of 0.5 - 0.95; (0.5, 0.6] has the others at 1 - 0.575.
    assert expected_calibration_error(confidence, right, bins=10) == pytest.approx(0.5 * 0.45 + 0.5 * 0.425)
    assert expected_calibration_error(np.array([1.0, 1.0]), np.array([True, True])) == 0


def test_likelihood_is_of_the_true_class_and_an_impossible_one_stays_finite():
    probabilities = np.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]])
    found = negative_log_likelihood(probabilities, np.array([0, 1, 1]))
    assert found == pytest.approx((np.log(2) + np.log(4) - np.log(LEAST_PROBABILITY)) / 3)


def test_what_gives_no_probabilities_has_no_calibration_and_no_likelihood():
    labels = np.array([0, 1])
    scores = np.array([[2.0, -1.0], [0.0, 3.0]])
    found = measured(Answers(labels, labels, scores, has_probabilities=False))
    assert [name for name, value in found.items() if value is None] == ["ece", "nll"]
    assert list(found) == list(MEASURES)
    log_odds = np.log([[0.9 / 0.1, 0.1 / 0.9], [0.2 / 0.8, 0.8 / 0.2]])
    assert measured(Answers(labels, labels, log_odds, True))["ece"] == pytest.approx(0.15)
    assert measured(Answers(labels, labels, log_odds, True))["nll"] == pytest.approx(-np.log(0.9 * 0.8) / 2)
