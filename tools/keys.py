"""Writes the pages of docs/reference that the code tells: python -m tools.keys

keys.md has the keys of every kind of file, from the sections that declare them, and commands.md every command with its
options, from the command line itself.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from fastpt.cli import main
from fastpt.cli.keys import FILES, describe
from fastpt.cli.prep_options import COMMON

BAR = r"\|"
REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
KEYS = """# Keys of recipes, suites and studies

What may stand in a recipe (`fastpt train`), a suite (`fastpt tune`) and a study (`fastpt study`). `[]` stands for each
entry of a list or a mapping. `fastpt keys recipe|suite|study [SECTION]` prints the same; this page is written by
`python -m tools.keys`, and a test holds both equal.
"""
COMMANDS = """# Commands and their options

What `--help` of each command says. This page is written by `python -m tools.keys`, and a test holds both equal. Options
may stand before or after the arguments. How a command ends: [errors](errors.md).
"""


def keys_page() -> str:
    """The text of docs/reference/keys.md."""
    rows = {
        file: [[f"`{key.name}`", key.type, _default(key.default), key.meaning] for key in describe(file)]
        for file in FILES
    }
    heads = ["key", "type", "default", "meaning"]
    return "\n".join([KEYS, *(f"## {file.capitalize()}\n\n{_table(heads, rows[file])}" for file in FILES)])


def commands_page() -> str:
    """The text of docs/reference/commands.md."""
    return "\n".join([COMMANDS, *_sections(main, "fastpt", None, 1)])


def _sections(command: click.Command, name: str, parent: click.Context | None, depth: int) -> Iterator[str]:
    """What the help of a command and of those below it says."""
    ctx = click.Context(command, parent, info_name=name.rpartition(" ")[2])
    if parent:
        yield f"{'#' * depth} {name}\n\n`{' '.join([name, *command.collect_usage_pieces(ctx)])}`\n"
        yield from _help(command)
        common = COMMON if name.startswith("fastpt prep ") else ()
        records = [
            option.get_help_record(ctx)
            for option in command.get_params(ctx)
            if isinstance(option, click.Option) and option not in common and "--help" not in option.opts
        ]
        rows = [[re.sub(r"--[\w-]+", r"`\g<0>`", names), meaning] for names, meaning in filter(None, records)]
        if rows:
            yield _table(["option", "meaning"], rows)
    if isinstance(command, click.Group):
        for below in command.list_commands(ctx):
            if found := command.get_command(ctx, below):
                yield from _sections(found, f"{name} {below}", ctx, depth + 1)


def _help(command: click.Command) -> Iterator[str]:
    """The paragraphs of a command's help; those that keep their lines are examples."""
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        first, *lines = paragraph.splitlines()
        if first == "\b":  # examples, with remarks behind them
            yield "\n".join(["```", *(re.sub(r"(?<=\S)( {2,})(?=[\w.])", r"\1# ", line) for line in lines), "```\n"])
        else:
            yield " ".join([first, *lines]) + "\n"


def _default(value: str | None) -> str:
    return "required" if value is None else f"`{value}`" if value else ""


def _table(heads: list[str], rows: list[list[str]]) -> str:
    every = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', BAR) for cell in row)} |\n" for row in every)


PAGES = {REFERENCE / "keys.md": keys_page, REFERENCE / "commands.md": commands_page}

if __name__ == "__main__":
    for path, page in PAGES.items():
        path.write_text(page(), encoding="utf-8")
