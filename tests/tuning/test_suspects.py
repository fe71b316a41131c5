import tracemalloc

import numpy as np
import pytest
import torch

from fastpt.errors import FastptError
from fastpt.noise.predictions import Predictions
from fastpt.tuning import suspects
from fastpt.tuning.methods import ridge
from fastpt.tuning.suspects import agreement, average_precision, folds_of, predictions_of, probe

CLASSES, DIMENSIONS = 4, 12


def clusters(count=400, seed=0, wrong=0.1):
    """Features of four overlapping classes; their labels, some of them wrong; and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(count) % CLASSES
    centres = rng.normal(size=(CLASSES, DIMENSIONS))
    features = centres[truth] + 0.5 * rng.normal(size=(count, DIMENSIONS))
    flipped = rng.random(count) < wrong
    given = np.where(flipped, (truth + rng.integers(1, CLASSES, count)) % CLASSES, truth)
    return torch.from_numpy(features.astype(np.float32)), given, truth


def probed(features, given):
    keys = [str(i) for i in range(len(given))]
    return probe(features, given, CLASSES, folds_of(keys, given, 5, 0))


def judged(found, given):
    return predictions_of(found.blocks, given, CLASSES)


def probabilities_of(found):
    """Of all samples at once."""
    rows, probabilities = zip(*found.blocks(), strict=True)
    return np.concatenate(probabilities)[np.argsort(np.concatenate(rows))]


def confident_labels(probabilities, given):
    probabilities = probabilities.astype(np.float32)
    return predictions_of(
        lambda: iter([(np.arange(len(given)), probabilities)]), given, probabilities.shape[1]
    ).suggested


def test_wrong_labels_are_found_and_corrected():
    features, given, truth = clusters()
    found = agreement(judged(probed(features, given), given), truth)
    assert found.precision is not None
    assert found.precision > 0.9
    assert found.recall is not None
    assert found.recall > 0.85
    assert found.corrected is not None
    assert found.corrected > 0.9


def test_no_sample_is_judged_by_a_probe_that_saw_its_label():
    features, given, _ = clusters()
    row, other = 7, given.copy()
    other[row] = (other[row] + 1) % CLASSES
    fold = folds_of([str(i) for i in range(len(given))], given, 5, 0)
    before, after = (probe(features, labels, CLASSES, fold) for labels in (given, other))
    assert (before.l2, before.temperature) == (after.l2, after.temperature)
    differ = (probabilities_of(before) != probabilities_of(after)).any(1)
    assert differ.any()
    assert not differ[fold == fold[row]].any()


def test_many_small_folds_are_no_worse():
    features, given, truth = clusters()
    fold = folds_of([str(i) for i in range(len(given))], given, 100, 0)
    found = agreement(judged(probe(features, given, CLASSES, fold), given), truth)
    assert found.precision is not None
    assert found.precision > 0.9


def test_probabilities_are_calibrated_to_the_labels():
    features, given, _ = clusters(2000, wrong=0.3)
    found = probabilities_of(probed(features, given))
    assert np.allclose(found.sum(1), 1, atol=1e-5)
    own = found[np.arange(len(given)), given].mean()
    right = (found.argmax(1) == given).mean()
    assert abs(found.max(1).mean() - right) < 0.06
    assert own < right


def test_what_is_held_at_once_changes_nothing(monkeypatch):
    features, given, _ = clusters()
    whole = judged(probed(features, given), given)
    for module in (ridge, suspects):
        monkeypatch.setattr(module, "BLOCK", 37)
    parts = judged(probed(features, given), given)
    assert np.array_equal(whole.suggested, parts.suggested)
    assert np.array_equal(whole.classes, parts.classes)
    np.testing.assert_allclose(whole.margin, parts.margin, atol=1e-6)


def test_blocks_are_judged_as_the_whole_is_to_the_bit(monkeypatch):
    features, given, _ = clusters()
    monkeypatch.setattr(suspects, "BLOCK", 37)
    found = probed(features, given)
    p, rows = probabilities_of(found), np.arange(len(given))
    own = p[rows, given].astype(np.float64)
    thresholds = np.bincount(given, own) / np.bincount(given)
    above = np.where(p >= thresholds, p, -1)
    others = np.where(np.arange(CLASSES) == given[:, None], 0, p)
    ranked = np.argsort(-p, axis=1, kind="stable")
    parts = judged(found, given)
    assert np.array_equal(parts.suggested, np.where(above.max(1) >= 0, above.argmax(1), given))
    assert np.array_equal(parts.margin, p[rows, given] - others.max(1))
    assert np.array_equal(parts.classes, ranked)
    assert np.array_equal(parts.probabilities, np.take_along_axis(p, ranked, 1))


def test_memory_does_not_grow_with_samples_times_classes():
    samples, classes, block = 20_000, 200, 250
    given, rng = np.arange(samples) % classes, np.random.default_rng(0)
    one = rng.dirichlet(np.ones(classes), block).astype(np.float32)
    blocks = [(rows, one) for rows in np.arange(samples).reshape(-1, block)]
    tracemalloc.start()
    predictions_of(lambda: iter(blocks), given, classes)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.5 * samples * classes * one.itemsize


def test_folds_are_by_key_and_even_in_every_class():
    keys, labels = [str(i) for i in range(100)], np.arange(100) % 7
    fold = folds_of(keys, labels, 5, 0)
    order = np.random.default_rng(0).permutation(100)
    assert np.array_equal(fold[order], folds_of([keys[i] for i in order], labels[order], 5, 0))
    for label in range(7):
        counts = np.bincount(fold[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert not np.array_equal(fold, folds_of(keys, labels, 5, 1))


def test_a_class_counts_a_sample_that_is_above_its_own_mean():
    # Thresholds: class 0 has (0.9 + 0.5) / 2 = 0.7, class 1 has (0.6 + 0.2) / 2 = 0.4.
    probabilities = np.array([[0.9, 0.1], [0.5, 0.5], [0.4, 0.6], [0.8, 0.2]])
    assert confident_labels(probabilities, np.array([0, 0, 1, 1])).tolist() == [0, 1, 1, 0]


def test_a_label_stays_where_no_class_is_above_its_mean():
    probabilities = np.array([[0.9, 0.05, 0.05], [0.3, 0.35, 0.35], [0.1, 0.9, 0.0], [0.0, 0.1, 0.9]])
    assert confident_labels(probabilities, np.array([0, 0, 1, 2])).tolist() == [0, 0, 1, 2]


def test_a_class_without_a_label_is_never_suggested():
    probabilities = np.array([[0.2, 0.3, 0.5], [0.3, 0.4, 0.3]])
    assert 2 not in confident_labels(probabilities, np.array([0, 1]))


def test_the_most_doubtful_come_first():
    predictions = Predictions(
        np.array([0, 0, 0, 0]),
        np.array([0, 1, 0, 1]),
        np.array([-0.9, -0.2, 0.5, -0.8]),
        np.zeros((4, 2)),
        np.ones((4, 2)),
    )
    assert predictions.order().tolist() == [3, 1, 0, 2]


def test_average_precision_is_that_of_scikit_learn():
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(0)
    wrong, score = rng.random(50) < 0.3, rng.permutation(50)
    expected = average_precision_score(wrong, -score)
    assert average_precision(wrong, np.argsort(score)) == pytest.approx(expected)
    assert average_precision(np.zeros(3, bool), np.arange(3)) is None


def test_too_few_samples_are_told():
    with pytest.raises(FastptError, match="too few for a cross-validated probe"):
        probe(torch.ones(3, 2), np.zeros(3, np.int64), 1, np.zeros(3, np.int64))


def test_features_that_are_all_alike_are_told():
    with pytest.raises(FastptError, match="All features are alike"):
        probe(torch.ones(20, 2), np.arange(20) % 2, 2, np.arange(20) % 5)


def test_cleanlab_doubts_the_same_labels():
    filtering = pytest.importorskip("cleanlab.filter")
    features, given, _ = clusters(800, wrong=0.25)
    probabilities = probabilities_of(probed(features, given))
    issues = filtering.find_label_issues(given, probabilities, filter_by="confident_learning", n_jobs=1)
    assert issues.sum() > 100
    assert np.array_equal(confident_labels(probabilities, given) != given, issues)
