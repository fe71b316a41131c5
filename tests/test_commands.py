"""The commands on the pages are commands: those of every page parse, and the blocks of the how-to pages run."""

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fastpt.cli import main

TOP = Path(__file__).parents[1]
PAGES = [TOP / "README.md", TOP / "CONTRIBUTING.md", *sorted((TOP / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[tuple[str | None, str]]:
    """The shell blocks of a page, each with why it is not run (a comment above it), if it is not."""
    found, why, lines = [], None, iter(page.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.startswith("```"):
            inside = []
            for line_inside in lines:
                if line_inside == "```":
                    break
                inside.append(line_inside)
            if line == "```":
                found.append((why, "\n".join(inside)))
        if line:
            note = re.fullmatch("<!-- not run: (.+) -->", line)
            why = note[1] if note else None
    return found


def commands(page: Path) -> list[list[str]]:
    """The words behind `fastpt` of each command in the shell blocks of a page."""
    text = "\n".join(block for _, block in blocks(page)).replace("\\\n", " ")
    found = []
    for line in re.findall(r"(?:^|\bdo |-m |--module )\s*(?<![./])fastpt ([^;|]+?)(?:;|\||$)", text, re.M):
        words = [word for word in shlex.split(line, comments=True) if word[0] not in "[("]
        found.append(words)
    return found


WRITTEN = [(page, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize(
    ("page", "words"), WRITTEN, ids=[f"{page.stem}: {' '.join(words)[:60]}" for page, words in WRITTEN]
)
def test_a_command_on_a_page_parses(monkeypatch, page, words):
    monkeypatch.setattr(click.Command, "invoke", lambda *_: None)
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
