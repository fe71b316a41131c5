"""The classes of splits that belong together."""

from dataclasses import replace

import numpy as np
import pytest

from datasets_prep.classes import class_warnings, with_same_classes
from datasets_prep.listing import NoisyLabels
from fastpt.errors import FastptError
from tests.conftest import made_up


def labelled(name: str, classes: list[str], labels: list[int], class_names: list[str] | None = None, **fields):
    made = made_up(len(labels), name=name, is_train=name == "train", **fields)
    return replace(made, labels=np.array(labels), classes=classes, class_names=class_names or classes)


@pytest.mark.parametrize(
    ("train", "val", "classes", "told"),
    [
        (["cat", "dog"], ["cat", "dog"], ["cat", "dog"], []),
        (["a", "b", "c"], ["c"], ["a", "b", "c"], ["val: 1 "]),
        (["b", "c"], ["a", "b"], ["a", "b", "c"], ["train: 2 "]),
        (["dog", "cat"], ["cat", "dog"], ["dog", "cat"], ["val: 2 "]),
        (["dog", "cat"], ["ant", "cat"], ["dog", "cat", "ant"], ["val: 1 "]),
        ([str(i) for i in range(12)], ["0", "1"], [str(i) for i in range(12)], []),
    ],
)
def test_classes_of_splits_are_merged_by_name_and_new_numbers_are_told(train, val, classes, told):
    splits, warnings = with_same_classes([labelled("val", val, [0]), labelled("train", train, [0, 1])])
    assert [split.classes for split in splits] == [classes, classes]
    assert classes[splits[0].labels[0]] == val[0]
    assert [classes[i] for i in splits[1].labels] == train[:2]
    assert [warning[: len(start)] for warning, start in zip(warnings, told, strict=True)] == told


@pytest.mark.parametrize(("numbers", "names"), [("train", "val"), ("val", "train")])
def test_numbers_in_one_split_and_names_in_another_are_asked_for(numbers, names):
    splits = [labelled(numbers, ["0", "1"], [0, 1]), labelled(names, ["cat", "dog"], [0, 1])]
    with pytest.raises(FastptError, match=f"split {numbers} are numbers .0, 1., those of {names} are names .cat, dog."):
        with_same_classes(splits)
    splits = [labelled(numbers, ["0", "1"], [0, 1]), labelled(names, ["0", "cat"], [0, 1])]
    assert with_same_classes(splits)[0][0].classes == ["0", "1", "cat"]


def test_labels_that_are_missing_stay_so_and_noisy_labels_are_numbered_too():
    noisy = NoisyLabels("worker", "list", np.array([-1, 0]))
    (_, val), _ = with_same_classes(
        [labelled("train", ["a", "b"], [0, 1]), labelled("val", ["b"], [-1, 0], noisy_labels=noisy)]
    )
    assert val.labels.tolist() == [-1, 1]
    assert val.noisy_labels.labels.tolist() == [-1, 1]
    assert class_warnings([val]) == ["1 class has no picture: a"]


def test_two_readable_names_of_a_class_are_told_and_one_is_taken():
    splits, warnings = with_same_classes(
        [
            labelled("train", ["n1", "n2"], [0, 1], ["goldfish", "n2"]),
            labelled("val", ["n1", "n2"], [0, 1], ["carp", "cat"]),
        ]
    )
    assert [split.class_names for split in splits] == [["goldfish", "cat"]] * 2
    assert warnings == ["1 classes have two readable names, the first is taken: n1 (goldfish, carp)"]


def test_classes_without_pictures_or_a_name_of_their_own_are_a_line_each():
    names = [f"c{i}" for i in range(9)]
    train = labelled("train", names, [0, 1], ["crane", "crane", *names[2:]])
    test = labelled("test", names, [0, 2, 2], ["crane", "crane", *names[2:]])
    assert class_warnings([train, test]) == [
        "6 classes have no picture: c3, c4, c5, c6, c7, ...",
        "1 class has no picture in train: c2 (2 in test)",
        "classes of one readable name, which zero-shot cannot tell apart: crane (c0, c1)",
    ]
