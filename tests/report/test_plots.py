import xml.etree.ElementTree as ElementTree

import pytest

from fastpt.report.plots import Axes, Series, draw, rate_style, themed

AXES = Axes("title", "x", "y")
BLUE = "#0072b2"


def line(label="a", y=(1, 2), **style):
    return Series(label, (1, 2), y, BLUE, **style)


def test_the_same_input_gives_the_same_bytes_and_no_date():
    drawn = draw("one", AXES, [line(error=(0.1, 0.2), marker="o")])
    assert drawn == draw("one", AXES, [line(error=(0.1, 0.2), marker="o")])
    assert "<metadata" not in drawn
    assert drawn.startswith("<svg")


@pytest.mark.parametrize("label", ["<script>&", "a $x$ b $", "_hidden", "דג", "\x1b[31mred", "lone $", "x" * 300])
def test_any_label_is_drawn_as_escaped_text(label):
    drawn = draw("odd", AXES, [line(label), line("other")])
    ElementTree.fromstring(drawn)
    assert "<script" not in drawn
    assert "\x1b" not in drawn
    texts = ["".join(node.itertext()) for node in ElementTree.fromstring(drawn).iter() if node.tag.endswith("text")]
    assert label in texts or label in ("_hidden", "\x1b[31mred", "x" * 300)
    assert len([text for text in texts if text in (label, "hidden", "red") or text.startswith("xxx")]) == 1


def test_panels_share_no_ids():
    def ids(svg):
        return {node.get("id") for node in ElementTree.fromstring(svg).iter()} - {None}

    one, two = draw("one", AXES, [line(marker="o")]), draw("two", AXES, [line(marker="o")])
    assert ids(one)
    assert not ids(one) & ids(two)


def test_colours_become_variables_in_the_page_only():
    drawn = draw("one", AXES, [line()])
    assert BLUE in drawn
    shown = themed(drawn, {BLUE: "method-0"})
    assert "var(--method-0, #0072b2)" in shown
    assert "stroke: #4a4e57" not in shown


def test_a_difference_of_no_weight_does_not_fill_the_plot():
    def ticks(axes):
        root = ElementTree.fromstring(draw("span", axes, [line(y=(70.0, 70.1))]))
        return ["".join(node.itertext()) for node in root.iter() if node.tag.endswith("text")]

    assert any("70.1" in text for text in ticks(AXES))
    assert not any("70.1" in text for text in ticks(Axes("title", "x", "y", least_span=10)))


def test_styles_are_stable():
    assert len({rate_style(rank, 5)["colour"] for rank in range(5)}) == 5
    assert rate_style(0, 1) == rate_style(0, 3)
