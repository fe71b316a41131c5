"""The page about adding by one file is true: its code stands in the files that it names."""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
TEXT = (TOP / "docs" / "howto" / "extend.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.M | re.S)


@pytest.mark.parametrize(("language", "pattern"), [("python", "*.py"), ("toml", "*.toml")])
def test_its_code_is_that_of_the_examples(language, pattern):
    files = [path.read_text(encoding="utf-8") for path in (TOP / "tests").glob(f"[pe]*/**/{pattern}")]
    assert blocks(language)
    for block in blocks(language):
        assert any(block in text for text in files), block
