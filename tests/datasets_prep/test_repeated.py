"""Pictures that are stored more than once are told."""

from datasets_prep.repeated import repeated_pictures
from tests.conftest import made_up, picture, prepared


def told(tmp_path, train: list[int], val: list[int]) -> list[str]:
    """What is told of a train and a val of these pictures, of classes 0, 1, 0, 1, ..."""
    splits = [
        prepared(tmp_path, made_up(len(numbers), 2, special=dict(enumerate(map(picture, numbers))), name=name))
        for name, numbers in (("train", train), ("val", val))
    ]
    return list(repeated_pictures(splits))


def test_of_pictures_that_are_all_different_nothing_is_told(tmp_path):
    assert told(tmp_path, [0, 1, 2], [3, 4]) == []


def test_a_picture_twice_in_a_split_is_told_and_whether_its_labels_differ(tmp_path):
    (same,) = told(tmp_path, [7, 1, 7], [3])
    assert same.startswith("1 picture of train is the same as another, byte for byte, such as pictures/000")
    assert {"pictures/0000.jpg", "pictures/0002.jpg"} <= set(same.split())
    (other,) = told(tmp_path / "other", [7, 7, 1, 1], [3])
    assert "2 pictures of train are the same as another, byte for byte, 2 of them with another label" in other


def test_a_picture_of_train_in_another_split_is_told(tmp_path):
    (line,) = told(tmp_path, [0, 1, 2], [2, 3])
    assert line == (
        "1 picture of val is in train too, byte for byte, such as pictures/0000.jpg (pictures/0002.jpg there)"
    )
