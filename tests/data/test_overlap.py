"""Which pictures of a split are in another, too."""

import numpy as np

from fastpt.data import overlap
from fastpt.data.overlap import also_in


def hashes(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.uint64)


def test_each_picture_that_is_there_too_is_found_however_often_it_comes(monkeypatch):
    monkeypatch.setattr(overlap, "PART", 2)
    largest = 2**64 - 1
    found = also_in(hashes(5, 7, 5, 9, largest), hashes(1, 5, 2, largest, 3, 5))
    assert found.tolist() == [True, False, True, False, True]


def test_what_has_no_hash_is_in_no_other_split():
    assert not also_in(hashes(0, 0, 3), hashes(0, 1)).any()


def test_nothing_has_nothing_in_common():
    assert also_in(hashes(), hashes(1)).tolist() == []
    assert also_in(hashes(1, 2), hashes()).tolist() == [False, False]
