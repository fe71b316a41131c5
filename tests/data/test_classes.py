"""Whether the classes of two splits are the same."""

from dataclasses import dataclass, field

import pytest

from fastpt.data.classes import differing, misnamed


@dataclass
class Split:
    class_names: list[str]
    path: str
    classes: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.classes = [str(i) for i in range(len(self.class_names))]


@pytest.mark.parametrize(
    ("others", "how"),
    [
        (["a", "c", "b"], "classes have another order: number 1 is 'b' here and 'c' there"),
        (["a", "b"], "classes differ: 1 are only here, such as 'c'"),
        (["a", "b", "x", "y"], "classes differ: 1 are only here, such as 'c' and 2 are only there, such as 'x'"),
    ],
)
def test_how_two_lists_differ_is_said(others, how):
    assert differing(["a", "b", "c"], others, "here", "there") == how


def test_ids_that_are_others_by_their_names_are_told():
    ours, theirs = Split(["cat", "dog", "fox", "owl"], "ours"), Split(["owl", "fox"], "theirs")
    assert misnamed(ours, theirs, [0, 1, -1, -1]) == (
        "class '0' is called 'cat' in ours and 'owl' in theirs, which is another class there: so are 2 that have the "
        "same ids"
    )
    assert misnamed(ours, theirs, [-1, -1, 1, 0]) is None


def test_names_that_are_only_written_otherwise_are_no_others():
    ours, theirs = Split(["crane bird", "cat", "crane"], "ours"), Split(["crane", "cat", "crane, machine"], "theirs")
    assert misnamed(ours, theirs, range(3)) is None
