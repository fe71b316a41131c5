import gzip

import numpy as np
import pytest

from fastpt.errors import FastptError
from fastpt.noise.formats import odd_of_matrix, read_edges, read_matrix, write_csv


def test_edges_are_split_by_tab_comma_or_blanks(tmp_path):
    (tmp_path / "tree.txt").write_text("all x\nall\ty z\n\nall, w\n")
    assert read_edges(tmp_path / "tree.txt") == [("all", "x"), ("all", "y z"), ("all", "w")]
    (tmp_path / "tree.txt").write_text("all x\nalone\n")
    with pytest.raises(FastptError, match="line 2"):
        read_edges(tmp_path / "tree.txt")


def test_a_matrix_is_the_same_from_csv_and_npy_and_has_a_row_a_class(tmp_path):
    weights = np.random.default_rng(0).random((7, 7))
    np.savetxt(tmp_path / "m.csv", weights, delimiter=",")
    np.save(tmp_path / "m.npy", weights)
    assert np.array_equal(read_matrix(tmp_path / "m.csv", 7), read_matrix(tmp_path / "m.npy", 7))
    with pytest.raises(FastptError, match=r"shape \[7, 7\], but .* 5 classes"):
        read_matrix(tmp_path / "m.npy", 5)
    (tmp_path / "bad.csv").write_text("a,b\n")
    with pytest.raises(FastptError, match="no confusion matrix"):
        read_matrix(tmp_path / "bad.csv", 2)


@pytest.mark.parametrize(
    ("name", "content"),
    [("m.csv", "\ufeff1,2\r\n3,4\r\n".encode()), ("m.csv.gz", gzip.compress(b"1,2\n3,4\n"))],
)
def test_a_matrix_is_read_whatever_wrote_it(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert read_matrix(tmp_path / name, 2).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("array", [np.ones((2, 2), complex), np.array([["1", "2"]] * 2), np.array([None])], ids=str)
def test_a_matrix_of_other_things_is_refused(tmp_path, array):
    np.save(tmp_path / "m.npy", array)
    with pytest.raises(FastptError, match=r"m\.npy is no confusion matrix"):
        read_matrix(tmp_path / "m.npy", 2)


def test_the_mark_before_utf8_is_no_part_of_a_hierarchy(tmp_path):
    (tmp_path / "tree.txt").write_bytes("\ufeffall x\r\n".encode())
    assert read_edges(tmp_path / "tree.txt") == [("all", "x")]


def test_a_file_that_cannot_be_written_is_told_by_the_name_that_was_given(labelled, tmp_path):
    with pytest.raises(FileNotFoundError) as raised:
        write_csv(
            tmp_path / "nowhere" / "plan.csv",
            "labels",
            labelled.table(["key"])["key"],
            labelled.clean_labels,
            labelled.classes,
        )
    assert raised.value.filename == str(tmp_path / "nowhere" / "plan.csv")


def test_a_matrix_that_is_turned_round_or_of_another_order_is_told():
    rows = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.3, 0.0, 0.7]])
    assert odd_of_matrix(rows) == []
    assert odd_of_matrix(100 * rows) == []
    assert odd_of_matrix(np.ones((3, 3)) - np.eye(3)) == []  # weights alone
    (turned,) = odd_of_matrix(rows.T)
    assert turned.startswith("its columns sum to 1 and its rows do not")
    (order,) = odd_of_matrix(rows[[1, 2, 0]])
    assert order.startswith("3 of 3 classes are more often another than themselves")
