"""Rooms that grow by one file: a table of names, whose modules are imported when they are asked for.

A room's `__init__.py` holds its table, in the order in which people see it:

    KINDS: Registry[NoiseKind] = Registry(
        "kind of noise", {"symmetric": "fastpt.noise.kinds.symmetric:KIND", ...}, "fastpt.noise_kinds"
    )

Where a room has an entry point group, members of installed packages come behind its own. They are looked for only when
a name is not in the table, or all names are asked for: a scan takes some 0.1 s.
"""

from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, NamedTuple, TypeVar, cast

from fastpt.errors import FastptError, suggestion

Member = TypeVar("Member")


class Origin(NamedTuple):
    """The installed package that a member comes from, as it is recorded with what the member made."""

    name: str
    distribution: str
    version: str


class Registry(Generic[Member]):
    """The members of one room by name. `table` maps names to `module:attribute`; `group` names entry points."""

    def __init__(self, what: str, table: Mapping[str, str], group: str | None = None):
        self.what, self.table, self.group = what, dict(table), group

    @cached_property
    def _installed(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group) if self.group else ():
            if point.name not in self.table:  # a built-in name cannot be taken over
                found.setdefault(point.name, []).append(point)
        return found

    def names(self) -> list[str]:
        """All names: the room's own in its order, then those of installed packages."""
        return [*self.table, *sorted(self._installed)]

    def get(self, name: str) -> Member:
        """The member called `name`. Raises FastptError if there is none, or if two packages have it."""
        if name in self.table:
            module, _, attribute = self.table[name].partition(":")
            return cast(Member, getattr(import_module(module), attribute))
        point = self._point(name)
        try:
            return cast(Member, point.load())
        except Exception as error:  # a package of others, which may fail in any way
            where = f"{self.what} {name!r} of package {_distribution(point)}"
            raise FastptError(f"{where} cannot be loaded ({error!r}). Mend the package.") from None

    def origin(self, name: str) -> Origin | None:
        """The package that gave the member, or None for one of our own. Raises FastptError as `get` does."""
        if name in self.table:
            return None
        point = self._point(name)
        return Origin(name, _distribution(point), point.dist.version if point.dist else "unknown")

    def _point(self, name: str) -> EntryPoint:
        points = self._installed.get(name, [])
        if not points:
            raise FastptError(f"there is no {self.what} {name!r}; {suggestion(name, self.names())}")
        if len(points) > 1:
            packages = " and ".join(sorted(_distribution(point) for point in points))
            raise FastptError(f"{self.what} {name!r} is in {packages}. Uninstall one of them.")
        return points[0]


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "unknown"
