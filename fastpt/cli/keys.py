"""`fastpt keys`: what may stand in a recipe, a suite, a study."""

import dataclasses
import json
import textwrap
from importlib import import_module
from typing import TYPE_CHECKING

import click

from fastpt.cli.shared import JSON
from fastpt.errors import RecipeError, suggestion

if TYPE_CHECKING:
    from fastpt.config import Key

FILES = {
    "recipe": "fastpt.recipe:recipe_schema",
    "suite": "fastpt.tuning.suites:Suite",
    "study": "fastpt.study.declaration:Study",
}
WIDTH = 100  # columns


@click.command()
@click.argument("file", type=click.Choice(list(FILES)))
@click.argument("section", required=False)
@JSON
def keys(file: str, section: str | None, as_json: bool) -> None:
    """Say what may stand in a recipe, a suite or a study. Of each key: its type, default and meaning.

    \b
    fastpt keys recipe          all keys of a recipe
    fastpt keys recipe data     those of its section data
    """
    found = describe(file, section)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(key) for key in found], indent=2))
    else:
        click.echo("\n".join(map(_text, found)))


def describe(file: str, section: str | None = None) -> "list[Key]":
    """The keys of a kind of file, or of one section of it. Raises RecipeError if it has no such section."""
    from fastpt.config import describe_keys

    module, _, name = FILES[file].partition(":")
    schema = getattr(import_module(module), name)
    every = describe_keys(schema if isinstance(schema, type) else schema())  # a recipe's is made of the tasks there are
    if section is None:
        return every
    within = {key.name: key.name.replace("[]", "").rpartition(".")[0] for key in every}
    found = [key for key in every if f"{within[key.name]}.".startswith(f"{section}.")]
    if not found:
        raise RecipeError(
            f"a {file} has no section {section!r}; {suggestion(section, dict.fromkeys(filter(None, within.values())))}"
        )
    return found


def _text(key: "Key") -> str:
    default = ", required" if key.default is None else f", default {key.default}" if key.default else ""
    return f"{key.name}  {key.type}{default}\n{textwrap.indent(textwrap.fill(key.meaning, WIDTH - 4), '    ')}".rstrip()
