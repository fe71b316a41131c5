import numpy as np
import pytest

from fastpt.errors import FastptError
from fastpt.noise.formats import read_edges
from fastpt.noise.kinds.asymmetric import asymmetric, nearest_classes

COUNT, CLASSES = 1003, 7
KEYS = [f"train/n{i % CLASSES}/{i}.jpg" for i in range(COUNT)]
LABELS = np.arange(COUNT) % CLASSES
NAMES = [f"class {i}" for i in range(CLASSES)]
WEIGHTS = np.random.default_rng(0).random((CLASSES, CLASSES)) * (
    np.random.default_rng(1).random((7, 7)) < 0.6
) + np.eye(7)


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.3, 0.999])
def test_asymmetric_flips_the_exact_count_and_of_each_class_its_share_to_classes_with_weight(rate):
    noisy = asymmetric(KEYS, LABELS, NAMES, WEIGHTS, rate, seed=0)
    wrong = noisy != LABELS
    assert wrong.sum() == round(rate * COUNT)
    assert np.abs(np.bincount(LABELS[wrong], minlength=CLASSES) - rate * np.bincount(LABELS)).max() < 1.1
    assert (WEIGHTS[LABELS[wrong], noisy[wrong]] > 0).all()
    assert noisy.dtype == np.int32


def test_asymmetric_follows_the_weights():
    keys = [str(i) for i in range(40_000)]
    weights = np.array([[9, 1, 0, 3], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])
    counts = np.bincount(asymmetric(keys, np.zeros(40_000, int), NAMES[:4], weights, 0.5, 0), minlength=4)
    assert counts[2] == 0
    assert abs(counts[3] - 15_000) < 5 * np.sqrt(20_000 * 0.25 * 0.75)


def test_asymmetric_is_nested_and_keyed_and_seeded():
    low, high = (asymmetric(KEYS, LABELS, NAMES, WEIGHTS, rate, 0) for rate in (0.1, 0.4))
    wrong = low != LABELS
    assert np.array_equal(low[wrong], high[wrong])
    shuffled = np.random.default_rng(0).permutation(COUNT)
    keys = [KEYS[i] for i in shuffled]
    assert np.array_equal(high[shuffled], asymmetric(keys, LABELS[shuffled], NAMES, WEIGHTS, 0.4, 0))
    assert (high != asymmetric(KEYS, LABELS, NAMES, WEIGHTS, 0.4, 1)).mean() > 0.2


def test_a_class_that_is_confused_with_none_stays_clean():
    weights = WEIGHTS.copy()
    weights[3] = np.eye(CLASSES)[3]
    noisy = asymmetric(KEYS, LABELS, NAMES, weights, 0.5, 0)
    assert np.array_equal(np.unique(LABELS[noisy == LABELS]), np.arange(CLASSES))
    assert (noisy[LABELS == 3] == 3).all()


@pytest.mark.parametrize(
    ("weights", "said"),
    [(np.eye(7), "no weight off its diagonal"), (-np.ones((7, 7)), "least -1"), (np.full((7, 7), np.nan), "finite")],
)
def test_a_matrix_that_makes_no_sense_is_refused(weights, said):
    with pytest.raises(FastptError, match=said):
        asymmetric(KEYS, LABELS, NAMES, weights, 0.1, 0)


def test_nearest_classes_of_a_hierarchy_share_the_lowest_ancestor():
    edges = [
        ("thing", "animal"),
        ("thing", "tool"),
        ("animal", "cat"),
        ("animal", "dog"),
        ("animal", "insect"),
        ("insect", "bee"),
        ("tool", "saw"),
    ]
    weights = nearest_classes(edges, ["cat", "dog", "bee", "saw"])
    assert weights.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]]


def test_a_class_below_another_and_two_parents_are_allowed():
    weights = nearest_classes(
        [("a", "dog"), ("dog", "puppy"), ("b", "puppy"), ("b", "kitten")], ["dog", "puppy", "kitten"]
    )
    assert weights.tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0]]


def test_a_class_that_the_hierarchy_does_not_have_is_named(tmp_path):
    (tmp_path / "tree.txt").write_text("all x\nall\ty z\n\nall, w\n")
    edges = read_edges(tmp_path / "tree.txt")
    assert nearest_classes(edges, ["x", "y z", "w"]).sum() == 6
    with pytest.raises(FastptError, match=r"has no v \(1 of 2 classes\)"):
        nearest_classes(edges, ["x", "v"])
