from dataclasses import replace

import pytest

from datasets_prep.listing import Found
from fastpt.errors import FastptError
from tests.conftest import made_up


def test_what_is_found_has_to_add_up():
    found = Found.only([made_up(4)])
    found.check()
    with pytest.raises(FastptError, match="5 files were found, but 4 pictures and 0 others"):
        replace(found, files=5).check()


def test_two_samples_of_one_key_are_a_fault_of_the_source():
    with pytest.raises(FastptError, match="two samples of split train are called b"):
        Found.only([made_up(3, keys=["a", "b", "b"])]).check()
