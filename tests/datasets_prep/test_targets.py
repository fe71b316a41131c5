import math
from decimal import Decimal

import pytest

from datasets_prep.targets import read_labels
from fastpt.errors import FastptError

NAN = math.nan


def read(values, names=None):
    return read_labels(values, "column 'kind'", [f"{i}.jpg" for i in range(len(values))], names)


@pytest.mark.parametrize(
    ("values", "classes", "numbers"),
    [
        ([2, 0, 2], ["0", "1", "2"], [2, 0, 2]),
        ([1.0, 0, True and 1], ["0", "1"], [1, 0, 1]),
        (["10", "9", "0"], [str(i) for i in range(11)], [10, 9, 0]),
        (["1.0", "0.0", "2e0"], ["0", "1", "2"], [1, 0, 2]),
        ([Decimal("1.00"), 0], ["0", "1"], [1, 0]),
        (["dog", "cat", "dog"], ["cat", "dog"], [1, 0, 1]),
        ([True, False, "True"], ["False", "True"], [1, 0, 1]),
        (["01", "10", "02"], ["01", "02", "10"], [0, 2, 1]),
        (["cat", 3, 1.0], ["1", "3", "cat"], [2, 1, 0]),
        ([], [], []),
    ],
)
def test_whole_numbers_are_class_numbers_and_other_text_is_sorted(values, classes, numbers):
    labels = read(values)
    assert (labels.classes, labels.numbers.tolist(), labels.missing) == (classes, numbers, {})
    assert labels.numbers.dtype == "int64"


@pytest.mark.parametrize(
    "value", [None, NAN, "", "  ", "nan", "NaN", "<NA>", "null", "NULL", "NaT", -1, -1.0, "-1", Decimal("nan")]
)
@pytest.mark.parametrize("other", [0, "0", "cat"])
def test_what_means_no_label_is_left_out_with_its_reason(value, other):
    labels = read([other, value])
    assert labels.numbers.tolist() == [0, -1]
    assert labels.classes == [str(other)]
    assert labels.missing[1].startswith("no label")


@pytest.mark.parametrize("value", ["None", "NA", "n/a"])
def test_none_and_na_are_no_numbers_but_may_be_names(value):
    assert read(["1", value, "0"]).numbers.tolist() == [1, -1, 0]
    labels = read(["dog", value, "zebra", value])
    assert value in labels.classes
    assert f"{value!r} is a class, of 2 rows" in labels.warnings[0]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.5, r"0\.5', is no whole number"),
        (math.inf, "inf', is no whole number"),
        ("0.5", r"0\.5', is no whole number"),
        (Decimal("0.5"), r"0\.5'?, is no whole number"),
        ([0, 1], r"\[0, 1\], is a list"),
        ({"id": 3}, r"\{'id': 3\}, is a dict"),
        (b"cat", "b'cat', is a bytes"),
        (-2, "-2, is negative"),
        ("-100", "-100, is negative"),
        (48600114712, "48600114712, would make 48600114713 classes of 3 rows: it looks like an id"),
        (2345678, "2345678.*looks like an id"),
        ("48600114712", "48600114712.*looks like an id"),
        (10_000, "10000.*looks like an id"),
        (2**64 - 1, "18446744073709551615.*looks like an id"),
        (10**100, "a number of more than 40 digits.*looks like an id"),
        ("9" * 5000, "a number of more than 40 digits.*looks like an id"),
        (1e300, "a number of more than 40 digits.*looks like an id"),
        ("inf", "inf', is no whole number"),
        ("1e999", "1e999', is no whole number"),
    ],
)
def test_what_is_no_label_is_an_error_with_column_row_and_value(value, said):
    with pytest.raises(FastptError, match=rf"^column 'kind': the label of 1\.jpg, '?{said}"):
        read([0, value, 1])


def test_many_classes_are_fine_where_there_are_many_rows():
    assert len(read([0] * 2500 + [21_840]).classes) == 21_841


def test_known_names_are_kept_and_a_label_beyond_them_is_named():
    labels = read([1, 0.0, -1], ["pet", "toy", "car"])
    assert (labels.classes, labels.numbers.tolist()) == (["pet", "toy", "car"], [1, 0, -1])
    assert read(["toy"], ["pet", "toy"]).numbers.tolist() == [1]
    with pytest.raises(FastptError, match=r"the label of 1\.jpg, 2, has no name: 2 classes are named"):
        read([0, 2], ["pet", "toy"])
    with pytest.raises(FastptError, match="'dog', is none of the 2 classes"):
        read(["dog"], ["pet", "toy"])
    with pytest.raises(FastptError, match="two of its 2 classes are called 'pet'"):
        read([0], ["pet", "pet"])


def test_known_names_are_plain_and_an_empty_one_is_its_number():
    labels = read([0, 1, 2], ["cat ", "", "dog"])
    assert labels.classes == ["cat", "1", "dog"]
    assert labels.warnings[0].endswith("empty or have blanks around them: 'cat ' is 'cat'")
    assert read(["cat"], ["cat "]).numbers.tolist() == [0]


@pytest.mark.parametrize(
    ("values", "classes", "said"),
    [
        (["cat", "cat ", " dog"], ["cat", "dog"], "blanks around 2 labels are left out, such as 'cat '"),
        (["cat", "Cat"], ["Cat", "cat"], "classes apart: 'Cat' and 'cat'"),
        (["cafe\u0301", "caf\xe9"], ["cafe\u0301", "caf\xe9"], "classes apart"),
        (["cat", "cat|dog", "dog"], ["cat", "cat|dog", "dog"], "'cat|dog' is a class of its own"),
        (["a_b", "a b"], ["a b", "a_b"], "classes apart: 'a b' and 'a_b'"),
        (["10", "9", "cat"], ["10", "9", "cat"], "2 numbers and 1 name, all are taken for names"),
        (["x", "1", "1.0"], ["1", "1.0", "x"], "classes apart: '1' and '1.0'"),
        (["smile \ud83d"], ["smile \ufffd"], "1 labels hold what is not UTF-8, stored as U.FFFD"),
        (["cat", '"cat"'], ['"cat"', "cat"], "classes apart: '\"cat\"' and 'cat'"),
        (["cat", "ca\u200bt"], ["cat", "ca\u200bt"], "classes apart: 'cat' and 'ca\\u200bt'"),
        (["a\x01b", "c"], ["a\x01b", "c"], "1 name of a class holds characters that do not show, such as 'a\\x01b'"),
        (["1,000", "2,000"], ["1,000", "2,000"], "2 names may be meant as numbers, such as '1,000'"),
        (["\u22121", "x"], ["x", "\u22121"], "1 name may be meant as numbers"),
        ([f"{i}.x" for i in range(20)], sorted(f"{i}.x" for i in range(20)), "each of 20 rows has a class of its own"),
        ([*range(20)], [str(i) for i in range(20)], "each of 20 rows has a class of its own. Is it the label?"),
        (["30", *range(19), None], [str(i) for i in range(31)], "each of 20 rows has a class of its own"),
    ],
)
def test_what_may_not_be_meant_is_told(values, classes, said):
    labels = read(values)
    assert labels.classes == classes
    assert said.replace(".", "+") in labels.warnings[-1] or said in "".join(labels.warnings)


def test_labels_that_only_differ_in_what_is_no_text_are_refused():
    with pytest.raises(FastptError, match=r"differs from.*only in what is not UTF-8"):
        read(["caf\udce9", "caf\udce8"])


def test_plain_labels_are_read_without_a_word():
    assert read(["cat", "dog", "cat"]).warnings == ()
    assert read([0, 1, None]).warnings == ()
    assert read([*range(19), None]).warnings == read([*range(20), 3]).warnings == ()
    assert read([*range(20)], [f"class {i}" for i in range(20)]).warnings == ()
