"""Rooms that grow by one file: a table of names, whose modules are imported when they are asked for.

A room's `__init__.py` holds its table, in the order in which people see it:

    KINDS: Registry[NoiseKind] = Registry(
        "kind of noise", {"symmetric": "fastpt.noise.kinds.symmetric:KIND", ...}, "fastpt.noise_kinds", NoiseKind
    )

Where a room has an entry point group, members of installed packages come behind its own. They are looked for only when
a name is not in the table, or all names are asked for: a scan takes some 0.1 s. What they bring is held to the room's
Protocol, so that a package that is broken breaks its own names only.
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from traceback import walk_tb
from typing import Any, Generic, NamedTuple, TypeVar, cast, get_type_hints

from click import ClickException

from fastpt.errors import FastptError, suggestion
from fastpt.printable import printable

Member = TypeVar("Member")

GROUPS = ("fastpt.sources", "fastpt.noise_kinds", "fastpt.models", "fastpt.encoders", "fastpt.methods")


class Origin(NamedTuple):
    """The installed package that a member comes from, as it is recorded with what the member made."""

    name: str
    distribution: str
    version: str


class Registry(Generic[Member]):
    """The members of one room by name. `table` maps names to `module:attribute`.

    `group` names the entry points of packages, and `protocol` is the class that says what their members bring.
    """

    def __init__(self, what: str, table: Mapping[str, str], group: str | None = None, protocol: type | None = None):
        self.what, self.table, self.group, self.protocol = what, dict(table), group, protocol

    @cached_property
    def _installed(self) -> dict[str, list[EntryPoint]]:
        if not self.group:
            return {}
        found: dict[str, list[EntryPoint]] = {}
        _tell_strays()
        for point in entry_points(group=self.group):
            if point.name not in self.table:
                found.setdefault(point.name, []).append(point)
            else:
                told = f"{self.what} {point.name!r} of package {_distribution(point)} is called as one of ours"
                print(printable(f"warning: {told}, which stays. Rename it there."), file=sys.stderr)
        return found

    def names(self) -> list[str]:
        """All names: the room's own in its order, then those of installed packages."""
        return [*self.table, *sorted(self._installed)]

    def get(self, name: str) -> Member:
        """The member called `name`. Raises FastptError if there is none, two packages have it, or it is broken."""
        if name in self.table:
            module, _, attribute = self.table[name].partition(":")
            return cast(Member, getattr(import_module(module), attribute))
        where = f"{self.what} {name!r} of package {_distribution(point := self._point(name))}"
        try:
            member = point.load()
            problems = _problems(member, self.protocol) if self.protocol else []
        except (Exception, SystemExit) as error:  # a package of others, which may fail in any way
            raise FastptError(f"{where} cannot be loaded ({_raised(error, point)}). Mend the package.") from None
        if problems:
            raise FastptError(f"{where} is not what it should be: {'; '.join(problems)}. Mend the package.")
        return cast(Member, member)

    @contextmanager
    def blaming(self, name: str) -> Iterator[None]:
        """Around what the member called `name` does: what goes wrong in a package is told as a fault of that package.

        Errors that are told in a line anyway pass, and so do all of a member of the table, which are faults of ours.
        """
        try:
            yield
        except Exception as error:
            told = isinstance(error, (FastptError, ClickException)) or getattr(error, "filename", None) is not None
            if told or not (origin := self.origin(name)):
                raise
            where = f"{self.what} {name!r} of package {origin.distribution} {origin.version}"
            raise FastptError(f"{where} failed ({_raised(error, self._point(name))}). Mend the package.") from error

    def origin(self, name: str) -> Origin | None:
        """The package that gave the member, or None for one of our own. Raises FastptError as `get` does."""
        if name in self.table:
            return None
        point = self._point(name)
        return Origin(name, _distribution(point), point.dist.version if point.dist else "unknown")

    def module(self, name: str) -> str:
        """The module that a member comes from. Raises FastptError if there is no member, or two packages have it."""
        return (self.table[name] if name in self.table else self._point(name).value).partition(":")[0]

    def _point(self, name: str) -> EntryPoint:
        points = self._installed.get(name, [])
        if not points:
            raise FastptError(f"there is no {self.what} {name!r}; {suggestion(name, self.names())}")
        if len(points) > 1:
            packages = " and ".join(sorted(_distribution(point) for point in points))
            raise FastptError(f"{self.what} {name!r} is in {packages}. Uninstall one of them.")
        return points[0]


def _problems(member: object, protocol: type) -> list[str]:
    """What a member lacks of what a Protocol names, and what is of another type."""
    from pydantic import ConfigDict, ValidationError, create_model  # not for built-in names alone

    methods = {name: Callable for name, value in vars(protocol).items() if inspect.isfunction(value) and name[0] != "_"}
    fields: dict[str, Any] = {name: (type_, ...) for name, type_ in (get_type_hints(protocol) | methods).items()}
    config = ConfigDict(strict=True, arbitrary_types_allowed=True)
    try:
        schema = create_model("Member", __config__=config, **fields)
        schema.model_validate({name: getattr(member, name) for name in fields if hasattr(member, name)})
    except ValidationError as error:
        return [
            f"it has no {one['loc'][0]}" if one["type"] == "missing" else f"{one['loc'][0]}: {one['msg']}"
            for one in error.errors()
        ]
    return []


def _raised(error: BaseException, point: EntryPoint) -> str:
    """What a package raised, and the last line of its own that led there."""
    package = point.module.partition(".")[0]
    where = ""
    for frame, line in walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__", "").partition(".")[0] == package:
            where = f" in {Path(frame.f_code.co_filename).name}, line {line}"
    return f"{error!r}{where}"


def _tell_strays() -> None:
    """Say which packages name members of rooms that there are not: a typing error, or of another fastpt."""
    for group in sorted(group for group in entry_points().groups if group.startswith("fastpt.")):
        if group not in GROUPS:
            packages = " and ".join(sorted({_distribution(point) for point in entry_points(group=group)}))
            told = f"warning: package {packages} has entry points of {group}, of which nothing is used"
            print(f"{told}; {suggestion(group, GROUPS)}", file=sys.stderr)


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "unknown"
