import numpy as np
import pytest

from fastpt.errors import FastptError
from fastpt.noise.formats import read_edges, read_matrix, write_csv


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
