from collections.abc import Iterable
from typing import Literal

import pytest
import yaml
from pydantic import Field

from fastpt.config import Key, Section, describe_keys, load_strict, parse_yaml, read_mapping
from fastpt.errors import FastptError, RecipeError


class Entry(Section):
    """One of many."""

    metric: str = "accuracy"
    """What is measured."""
    fewest: int = Field(default=0, ge=0)
    """Lower end."""
    most: int | None = Field(default=None, ge=0, lt=10)
    """Upper end."""

    def problems(self) -> Iterable[str]:
        if self.most is not None and self.most < self.fewest:
            yield f"most {self.most} is below fewest {self.fewest}."


class Document(Section):
    entries: list[Entry] = []
    section: Entry = Entry()
    rate: float = 0.0
    """A rate, which is told
    on two lines."""
    kind: Literal["one", "other"] = "one"
    """Either."""


def load(tmp_path, text, *overrides):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    return load_strict(Document, path, overrides)


def test_numbers_in_exponent_form_are_numbers(tmp_path):
    assert load(tmp_path, "rate: 5e-3").rate == 0.005


def test_overrides_reach_into_sections_that_are_not_there_yet(tmp_path):
    assert load(tmp_path, "{}", "section.metric=mine", "rate=0.5").section.metric == "mine"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("entries: [{metrc: x}]", "unknown key entries.0.metrc; did you mean entries.0.metric?"),
        ("section: {metrc: x}", "unknown key section.metrc; did you mean section.metric?"),
        ("rat: 1", "unknown key rat; did you mean rate?"),
        ("metric: mine", "unknown key metric; did you mean entries[].metric or section.metric?"),
        ("rate: fast", "rate is 'fast'; it should be a valid number"),
        ("section: 3", "section is 3; it should be a section with keys"),
        ("[1, 2]", "should hold keys and values"),
        ("a: [", "not valid YAML"),
        ("rate: 1.0\nrate: 2.0", "found rate twice"),
        ("section: {metric: x, metric: y}", "found metric twice"),
        ("rate: .inf", "rate is inf; it should be a finite number"),
        ("3: 4", "3 is no text; put it in quotes"),
        ("a: " + 3000 * "[", "not valid YAML"),
    ],
)
def test_what_is_wrong_is_said_with_its_full_key(tmp_path, text, said):
    with pytest.raises(FastptError, match=r"x\.yaml") as failure:
        load(tmp_path, text)
    assert said in str(failure.value)


@pytest.mark.parametrize(("override", "said"), [("rate", "not key=value"), ("rate.x=1", "is a value, not a section")])
def test_a_wrong_override_is_told(tmp_path, override, said):
    with pytest.raises(FastptError, match=said):
        load(tmp_path, "rate: 1.0", override)


def test_a_sections_own_checks_are_told_beside_other_mistakes(tmp_path):
    with pytest.raises(RecipeError) as failure:
        load(tmp_path, "{rate: fast, section: {fewest: 3, most: 2}, entries: [{fewest: 1, most: 0}]}")
    told = str(failure.value).splitlines()
    assert [line.partition("x.yaml: ")[2] for line in told] == [
        "most 0 is below fewest 1.",
        "most 2 is below fewest 3.",
        "rate is 'fast'; it should be a valid number.",
    ]


def test_every_key_is_described_those_of_inner_sections_behind_their_own():
    assert describe_keys(Document) == [
        Key("entries", "list of section", "[]", "One of many."),
        Key("entries[].metric", "str", '"accuracy"', "What is measured."),
        Key("entries[].fewest", "int >= 0", "0", "Lower end."),
        Key("entries[].most", "int >= 0, < 10", "null", "Upper end."),
        Key("section", "section", "", "One of many."),
        Key("section.metric", "str", '"accuracy"', "What is measured."),
        Key("section.fewest", "int >= 0", "0", "Lower end."),
        Key("section.most", "int >= 0, < 10", "null", "Upper end."),
        Key("rate", "float", "0.0", "A rate, which is told on two lines."),
        Key("kind", "one | other", '"one"', "Either."),
    ]


def test_a_key_that_must_be_there_has_no_default():
    class Named(Section):
        name: str
        """A name."""

    assert describe_keys(Named, "set.") == [Key("set.name", "str", None, "A name.")]


@pytest.mark.parametrize(
    "text", ["[" * 3000, "!!bool x", "!!timestamp x", "!!int x", "2001-99-99", "!!map [a]", "9" * 5000, "? {a: 1}\n: b"]
)
def test_whatever_the_parser_makes_of_a_text_is_one_kind_of_error(text):
    with pytest.raises(yaml.YAMLError):
        parse_yaml(text)


def laughs(levels: int) -> str:
    """Ten to the power of `levels` values in some lines."""
    lines = [f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}" if i else "x"] * 10) + "]" for i in range(levels)]
    return "\n".join(lines)


@pytest.mark.parametrize("text", [laughs(9), laughs(300), "a: &a [*a]", "a: &a {b: *a}"])
def test_anchors_that_make_too_much_or_no_end_of_values_are_refused(text):
    with pytest.raises(yaml.YAMLError, match="anchor"):
        parse_yaml(text)


def test_anchors_repeat_what_they_name():
    assert parse_yaml("a: &a {x: 1}\nb: [*a, {<<: *a, y: 2}]") == {"a": {"x": 1}, "b": [{"x": 1}, {"x": 1, "y": 2}]}


@pytest.mark.parametrize("depth", [50, 300, 900])
def test_a_deep_value_is_one_line(tmp_path, depth):
    path = tmp_path / "a.yaml"
    path.write_text("metric: a\nmost: " + "[" * depth + "]" * depth)
    with pytest.raises(RecipeError):
        load_strict(Entry, path)


def test_a_hash_sign_in_an_override_begins_no_comment(tmp_path):
    (tmp_path / "a.yaml").write_text("{}")
    assert read_mapping(tmp_path / "a.yaml", ["data.val=my #1/val"]) == {"data": {"val": "my #1/val"}}
    assert read_mapping(tmp_path / "a.yaml", ["data.val='my #1'"]) == {"data": {"val": "my #1"}}
    assert read_mapping(tmp_path / "a.yaml", ["seed=1"]) == {"seed": 1}
