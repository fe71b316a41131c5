"""YAML into a strict pydantic model: overrides from the command line, one clear line for each thing that is wrong."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from fastpt.errors import FastptError, RecipeError, suggestion


class Section(BaseModel):
    """A mapping of known keys: each field has its meaning as a docstring, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


Schema = TypeVar("Schema", bound=BaseModel)


def load_strict(schema: type[Schema], path: Path, overrides: Iterable[str] = ()) -> Schema:
    """Read `path`, apply `a.b=value` overrides (values are YAML), check.

    Raises RecipeError naming each wrong key, FastptError if there is no such file.
    """
    if not path.is_file():
        if path.is_dir():
            raise FastptError(f"{path} is a folder; name a YAML file.")
        others = ", ".join(sorted(str(found) for found in path.parent.glob("*.yaml"))) or "none"
        raise FastptError(f"there is no file {path}. Files there: {others}.")
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path} should hold keys and values; it holds {type(values).__name__}.")
    for override in overrides:
        _override(values, override)
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise RecipeError("\n".join(f"{path}: {_explain(schema, one)}" for one in error.errors())) from None


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 5e-3 as text; here it is the number that everybody means."""


_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


def parse_yaml(text: str) -> Any:
    """The value that a YAML text holds."""
    return yaml.load(text, _Loader)


def _override(values: dict, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set {override!r} is not key=value; write for example --set data.noise=0.05")
    *sections, last = key.split(".")
    for depth, name in enumerate(sections):
        if values.get(name) is None:  # absent, or set to null to be absent
            values[name] = {}
        values = values[name]
        if not isinstance(values, dict):
            raise RecipeError(f"--set {key}: {'.'.join(sections[: depth + 1])} is a value, not a section.")
    try:
        values[last] = parse_yaml(text)
    except yaml.YAMLError:
        raise RecipeError(f"--set {override!r}: the value is not valid YAML. Put it in quotes.") from None


def _explain(schema: type[BaseModel], error: dict) -> str:
    """One line for one of pydantic's complaints, with the full dotted key."""
    path = [str(part) for part in error["loc"]]
    key = ".".join(path)
    if error["type"] == "extra_forbidden":
        prefix = "".join(f"{section}." for section in path[:-1])
        return f"unknown key {key}; {suggestion(path[-1], _fields(schema, path[:-1]), prefix=prefix)}"
    if error["type"] == "missing":
        return f"{key} is missing."
    if error["type"] == "model_type":
        return f"{key} is {error['input']!r}; it should be a section with keys."
    return f"{key} is {error['input']!r}; it {error['msg'].removeprefix('Input ')}."


def _fields(schema: type[BaseModel], path: list[str]) -> list[str]:
    """The keys that a section knows; `path` leads to the section."""
    section: Any = schema
    for name in path:
        if name not in section.model_fields:  # an entry of a list or a dict, whose annotation has led to its section
            continue
        annotation = section.model_fields[name].annotation
        section = next(kind for kind in (annotation, *get_args(annotation)) if hasattr(kind, "model_fields"))
    return list(section.model_fields)
