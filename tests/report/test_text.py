import pytest

from fastpt.report.text import clean, clean_block, duration, listing, metric_value, number, rate


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
    assert clean(raw) == shown


def test_long_text_is_cut_visibly():
    assert clean("x" * 500, longest=10) == "x" * 9 + "…"


def test_blocks_keep_their_lines_and_lose_control_codes():
    assert clean_block("a:\n  b: \x1b[1m1\x1b[0m\x07\n") == "a:\n  b: 1\n"


@pytest.mark.parametrize("value", [None, "0.5", float("nan"), float("inf"), True, [1]])
def test_what_is_no_finite_number_is_none(value):
    assert number(value) is None


def test_numbers_in_words():
    assert rate(0.05) == "5\u00a0%"
    assert rate(0.125) == "12.5\u00a0%"
    assert rate(None) == "unknown rate"
    assert metric_value("zero_shot_top1", 0.4) == "40.0\u00a0%"
    assert metric_value("loss", 1.23456) == "1.23"
    assert [duration(s) for s in (None, 5.25, 65, 3725)] == [
        "–",
        "5.2\u00a0s",
        "1\u00a0min 5\u00a0s",
        "1\u00a0h 2\u00a0min",
    ]
    assert [listing(list(words)) for words in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]
