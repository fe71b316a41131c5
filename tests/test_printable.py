"""What comes from data is made safe to show."""

import pytest

from fastpt.printable import block, csv_cell, finite, first_few, one_line


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred\x1b[0m fish", "red fish"),
        ("\x1b]0;title\x07owl", "owl"),
        ("sea\u202eanemone\u200f", "seaanemone"),
        ("two\r\nlines\tand\x00 more", "two lines and more"),
        ("<b>&amp;</b>", "<b>&amp;</b>"),  # escaping is the template's part
        ("\ud800lone", "lone"),
        ("דג גדול", "דג גדול"),
        (None, "None"),
    ],
)
def test_text_of_data_becomes_one_printable_line(raw, shown):
    assert one_line(raw) == shown


def test_long_text_is_cut_visibly():
    assert one_line("x" * 500, longest=10) == "x" * 9 + "…"


def test_blocks_keep_their_lines_and_lose_control_codes():
    assert block("a:\n  b: \x1b[1m1\x1b[0m\x07\n") == "a:\n  b: 1\n"


@pytest.mark.parametrize("value", [None, "0.5", float("nan"), float("inf"), True, [1]])
def test_what_is_no_finite_number_is_none(value):
    assert finite(value) is None


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-1+1", "@SUM(A1)", "\t=1", "-"])
def test_a_cell_that_a_spreadsheet_would_compute_is_text(text):
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["pets", "a=1", "-0.5", "+1e-3", "", -0.5, None, 3])
def test_other_cells_stay_as_they_are(value):
    assert csv_cell(value) == value


def test_a_list_of_names_says_that_there_are_more():
    assert [first_few(["a", "b", "c"][:count], 2) for count in range(4)] == ["", "a", "a, b", "a, b, ..."]
