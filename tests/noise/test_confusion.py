import numpy as np

from fastpt.noise import add_noise
from fastpt.noise.confusion import Confusion, confusion

PAIRS = Confusion(np.array([0, 0, 1, 2, 2]), np.array([0, 2, 1, 0, 2]), np.array([5, 2, 4, 1, 3]), 4)


def test_samples_are_counted_by_their_own_class_and_by_the_one_shown():
    assert PAIRS.samples().tolist() == [7, 4, 4, 0]
    assert PAIRS.showing().tolist() == [6, 4, 5, 0]
    assert PAIRS.wrong.samples().tolist() == [2, 0, 1, 0]


def test_a_class_says_what_it_is_shown_as_and_what_is_shown_as_it():
    assert PAIRS.of(0) == [(2, 2)]
    assert PAIRS.origins(0) == [(2, 1)]
    assert PAIRS.of(1) == []


def test_neighbouring_classes_stand_together_in_a_smaller_matrix():
    assert PAIRS.grouped(4)[0].tolist() == [5, 0, 2, 0]
    assert PAIRS.grouped(2).tolist() == [[9, 2], [1, 3]]


def test_of_captions_it_counts_the_classes_of_those_whose_caption_is_shown(captioned):
    plan = add_noise(captioned, 0.2, 0, kind="swap")
    found = confusion(captioned, plan)
    assert found is not None
    labels = captioned.clean_labels
    expected = np.zeros((4, 4), int)
    np.add.at(expected, (labels, labels[plan.array]), 1)
    assert np.array_equal(found.grouped(4), expected)
