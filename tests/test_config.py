import pytest
from pydantic import BaseModel, ConfigDict

from fastpt.config import load_strict
from fastpt.errors import FastptError


class Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    metric: str = "accuracy"


class Document(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    entries: list[Entry] = []
    section: Entry = Entry()
    rate: float = 0.0


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
        ("rate: fast", "rate is 'fast'; it should be a valid number"),
        ("section: 3", "section is 3; it should be a section with keys"),
        ("[1, 2]", "should hold keys and values"),
        ("a: [", "not valid YAML"),
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
