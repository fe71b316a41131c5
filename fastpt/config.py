"""YAML into a strict pydantic model: overrides from the command line, one clear line for each thing that is wrong."""

import inspect
import json
import re
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from fastpt.errors import FastptError, RecipeError, suggestion

Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Pair = Annotated[tuple[float, float], Strict(False)]  # YAML has lists only
Precision = Literal["fp32", "bf16"]
"""Of products of matrices; what precision is a training's adds fp16, see `fastpt.training.config`."""


class Section(BaseModel):
    """A mapping of known keys: each field has its meaning as a docstring, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)

    def problems(self) -> Iterable[str]:
        """What the keys allow one by one but not together: one line each, which names keys in full."""
        return ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if problems := "\n".join(self.problems()):
            raise PydanticCustomError("contradiction", "{problems}", {"problems": problems})
        return self


MOST_VALUES = 100_000  # of a YAML file
Schema = TypeVar("Schema", bound=Section)


def load_strict(schema: type[Schema], path: Path, overrides: Iterable[str] = ()) -> Schema:
    """Read `path`, apply `a.b=value` overrides (values are YAML), check.

    Raises RecipeError naming each wrong key, FastptError if there is no such file.
    """
    return validate(schema, read_mapping(path, overrides), path)


def read_mapping(path: Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """What the YAML file `path` holds, with `a.b=value` overrides. Raises RecipeError, FastptError as `load_strict`."""
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
    return values


def validate(schema: type[Schema], values: dict[str, Any], path: Path) -> Schema:
    """`values`, which were read from `path`, as `schema`. Raises RecipeError naming each wrong key."""
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        lines = "\n".join(_explained(schema, error.errors())).splitlines()
        raise RecipeError("\n".join(f"{path}: {line}" for line in lines)) from None


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 5e-3 as text; here it is the number that everybody means. A key that comes twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: dict[str, yaml.Node] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and seen.setdefault(key.value, key) is not key:
                raise yaml.constructor.ConstructorError(None, None, f"found {key.value} twice", key.start_mark)
        return super().construct_mapping(node, deep)


_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


def parse_yaml(text: str) -> Any:
    """The value that a YAML text holds. Raises yaml.YAMLError, whatever the parser makes of the text."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _values(node, {}) > MOST_VALUES:
            raise yaml.YAMLError(f"its anchors make more than {MOST_VALUES:,} values of it")
        return loader.construct_document(node)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # such as a date of a month 13, `!!bool x`
        raise yaml.YAMLError(f"a value is not of its type: {error}") from None
    finally:
        loader.dispose()


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """Values at and below a node; what an anchor repeats counts each time. Raises yaml.YAMLError if it has no end."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = 0  # until it is counted
        parts = node.value if isinstance(node, yaml.SequenceNode) else [one for pair in node.value for one in pair]
        known[id(node)] = 1 + sum(_values(part, known) for part in parts)
    elif known[id(node)] == 0:
        raise yaml.YAMLError("an anchor holds itself")
    return known[id(node)]


def _override(values: dict, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set {override!r} is not key=value; write for example --set data.noise=0.05")
    if not text.strip():
        raise RecipeError(f"--set {override!r} has no value: a shell variable that is not set? Write null for none.")
    *sections, last = key.split(".")
    for depth, name in enumerate(sections):
        if values.get(name) is None:  # absent, or set to null to be absent
            values[name] = {}
        values = values[name]
        if not isinstance(values, dict):
            raise RecipeError(f"--set {key}: {'.'.join(sections[: depth + 1])} is a value, not a section.")
    try:
        # What follows a `#` is no comment here: nobody comments an option, but paths have such names.
        values[last] = text if " #" in text and text.strip()[:1] not in "'\"[{" else parse_yaml(text)
    except yaml.YAMLError:
        raise RecipeError(f"--set {override!r}: the value is not valid YAML. Put it in quotes.") from None


def _explained(schema: type[Section], errors: Iterable[ErrorDetails]) -> Iterator[str]:
    """A line for each of pydantic's complaints; of the members of a union, those that the value is not are one line."""
    places = [(*_place(schema, error), error) for error in errors]
    more = [path for path, _, is_no_member, _ in places if not is_no_member]
    told = []
    for path, annotation, is_no_member, error in places:
        if not is_no_member:
            yield _explain(schema, error, path, annotation)
        elif path not in told and not any(other[: len(path)] == path for other in more):
            told.append(path)
            yield f"{'.'.join(path)} is {error['input']!r}; it should be {_type(annotation)}."


def _place(schema: type[Section], error: ErrorDetails) -> tuple[list[str], Any, bool]:
    """The keys that lead to what pydantic complains of, the annotation there, and whether it says no more than that the
    value is not of one member of a union."""
    path, annotation, in_member = [], schema, False
    for part in error["loc"]:
        if not in_member and len(_members(annotation)) > 1:
            in_member = True  # `part` names the member, and is no key
            continue
        path.append(str(part))
        section = next(_sections(annotation), None)
        if section and part in section.model_fields:  # else an entry of a list or a dict
            annotation, in_member = section.model_fields[str(part)].annotation, False
    is_member = in_member and path[-1] != str(error["loc"][-1])
    return path, annotation, is_member and error["type"].endswith(("_type", "literal_error"))


def _explain(schema: type[Section], error: ErrorDetails, path: list[str], annotation: Any) -> str:
    """One line for one of pydantic's complaints, with the full dotted key."""
    key = ".".join(path)
    if error["type"] == "contradiction":
        return error["msg"]
    if error["type"] == "extra_forbidden":
        elsewhere = [known.name for known in describe_keys(schema) if known.name.endswith(f".{key}")]
        if elsewhere:
            return f"unknown key {key}; did you mean {' or '.join(elsewhere)}?"
        prefix = "".join(f"{section}." for section in path[:-1])
        return f"unknown key {key}; {suggestion(path[-1], next(_sections(annotation)).model_fields, prefix=prefix)}"
    if error["type"] == "missing":
        return f"{key} is missing."
    if error["type"] == "model_type":
        return f"{key} is {error['input']!r}; it should be a section with keys."
    if error["type"] == "invalid_key" or path[-1:] == ["[key]"]:  # of a section, or of a mapping
        return f"key {key.removesuffix('.[key]')} is no text; put it in quotes."
    return f"{key} is {error['input']!r}; it {re.sub(r'^[A-Z][a-z]+ (?=should )', '', error['msg'])}."


@dataclass(frozen=True)
class Key:
    """What may stand under one key of a file."""

    name: str
    """Dotted, from the file's top; `[]` stands for each entry of a list."""
    type: str
    """For people, such as `int >= 1` or `cosine | linear`; `section` for a mapping of known keys, which follow."""
    default: str | None
    """As YAML; None if the key must be there. Of a section: empty, as its keys have their own."""
    meaning: str
    """One line."""


def describe_keys(section: type[Section], prefix: str = "") -> list[Key]:
    """Every key of a section and of those within it, in their order, with `prefix` before each name.

    `fastpt keys` and the tables in the documentation are printed from this.
    """
    found: list[Key] = []
    for name, field in section.model_fields.items():
        inner = next(_sections(field.annotation), None)
        meaning = field.description or (inspect.getdoc(inner) if inner else None) or ""
        many = inner is not None and inner is not field.annotation and type(None) not in get_args(field.annotation)
        default = None if field.is_required() else _yaml(field.get_default(call_default_factory=True))
        type_ = _type(field.annotation, field.metadata)
        found.append(Key(f"{prefix}{name}", type_, default, " ".join(meaning.split())))
        if inner:
            found += describe_keys(inner, f"{prefix}{name}{'[]' if many else ''}.")
    return found


def _sections(annotation: Any) -> Iterator[type[Section]]:
    """The sections in an annotation: `Engine | None`, `list[TrainSplit]`."""
    if inspect.isclass(annotation) and issubclass(annotation, Section):
        yield annotation
    for inner in get_args(annotation):
        yield from _sections(inner)


def _members(annotation: Any) -> tuple[Any, ...]:
    """What a union may be but None; of another annotation, itself."""
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(one for one in get_args(annotation) if one is not type(None))
    return (annotation,)


def _yaml(value: Any) -> str:
    sections = value if isinstance(value, list) and value else [value]
    return "" if isinstance(sections[0], Section) else json.dumps(value, ensure_ascii=False)


_BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def _type(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """An annotation in words; `metadata` are its bounds."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0], [*metadata, *arguments[1:]])
    if origin in (Union, types.UnionType):
        return " | ".join(_type(one, metadata) for one in _members(annotation))
    if origin is Literal:
        return " | ".join(str(one) for one in arguments)
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is tuple:
        return f"[{', '.join(_type(one) for one in arguments)}]"
    if origin is dict or annotation is dict:
        return "mapping"
    if inspect.isclass(annotation) and issubclass(annotation, Section):
        return "section"
    bounds = [inner for one in metadata for inner in (one.metadata if isinstance(one, FieldInfo) else [one])]
    words = [f"{sign} {getattr(one, name):g}" for one in bounds for name, sign in _BOUNDS.items() if hasattr(one, name)]
    return " ".join([annotation.__name__, ", ".join(words)]).strip()
