import numpy as np
import pytest

from fastpt.errors import FastptError
from fastpt.tuning.folds import first, folds

CLASSES = ["cat", "dog", "owl"]
LABELS = np.repeat([0, 1, 2], [11, 30, 60])
KEYS = [f"pictures/{i:03d}.jpg" for i in range(101)]


def test_folds_are_equal_in_all_and_in_each_class():
    found = folds(KEYS, LABELS, CLASSES, 2)
    assert sorted(np.bincount(found)) == [50, 51]
    for label in range(3):
        few, many = sorted(np.bincount(found[label == LABELS]))
        assert many - few <= 1


def test_folds_go_by_keys_whatever_the_order():
    order = np.random.default_rng(0).permutation(101)
    shuffled = folds([KEYS[i] for i in order], LABELS[order], CLASSES, 3)
    assert shuffled.tolist() == folds(KEYS, LABELS, CLASSES, 3)[order].tolist()


def test_folds_are_the_same_on_any_machine():
    assert folds(KEYS[:8], np.zeros(8, int), CLASSES, 2).tolist() == [0, 0, 1, 1, 0, 1, 0, 1]


def test_classes_with_fewer_samples_than_folds_are_refused():
    with pytest.raises(FastptError, match=r"1 classes have fewer samples than there are folds \(12\): 'cat' \(11\)"):
        folds(KEYS, LABELS, CLASSES, 12)


def test_the_first_have_each_class_by_its_share_and_are_nested():
    few, many = (first(KEYS, LABELS, CLASSES, most, None) for most in (20, 40))
    assert (len(few), len(many)) == (20, 40)
    assert set(few) <= set(many)
    assert np.abs(np.bincount(LABELS[many]) - np.array([11, 30, 60]) * 40 / 101).max() <= 1


def test_the_first_of_each_class_are_nested():
    few, many = (first(KEYS, LABELS, CLASSES, None, each) for each in (4, 20))
    assert np.bincount(LABELS[few]).tolist() == [4, 4, 4]
    assert np.bincount(LABELS[many]).tolist() == [11, 20, 20]
    assert set(few) <= set(many)


def test_more_than_there_are_is_all():
    assert first(KEYS, LABELS, CLASSES, 1000, None).tolist() == list(range(101))
