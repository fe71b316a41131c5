"""Whether the classes of two splits are the same: by their ids, which is what they are told by, and by their names."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol


class Classed(Protocol):
    """A split with labels."""

    classes: list[str]
    class_names: list[str]

    @property
    def path(self) -> Path | str:
        """Where it lies, for messages."""
        ...


def differing(ones: Sequence[str], others: Sequence[str], here: str, there: str) -> str:
    """How two lists of classes that are not the same differ; `here` and `there` say where they are ("in the file")."""
    if sorted(ones) == sorted(others):
        first = next(i for i, (one, other) in enumerate(zip(ones, others, strict=True)) if one != other)
        return f"classes have another order: number {first} is {ones[first]!r} {here} and {others[first]!r} {there}"
    only = [(here, set(ones) - set(others)), (there, set(others) - set(ones))]
    told = [f"{len(names):,} are only {where}, such as {min(names)!r}" for where, names in only if names]
    return f"classes differ: {' and '.join(told)}"


def no_words(names: Sequence[str]) -> list[str]:
    """Those of the readable names of classes that no caption has so: ids, numbers, and `_` for blanks."""
    return [name for name in names if re.fullmatch(r"n?\d+|.*_.*", name)]


def misnamed(one: Classed, other: Classed, same_as: Iterable[int]) -> str | None:
    """What is wrong if classes that pass for the same by their ids are, by their readable names, more often others.

    `same_as` says of each class of `one` which of `other` it passes for, -1 for none. Ids may be numbers, and everybody
    counts from 0.
    """
    names, same, wrong = set(one.class_names), 0, []
    for ours, theirs in enumerate(same_as):
        if theirs < 0:
            continue
        name = other.class_names[theirs]
        if name == one.class_names[ours]:
            same += 1
        elif name in names:
            wrong.append((ours, name))
    if len(wrong) <= same:
        return None
    first, name = wrong[0]
    own = one.class_names[first]
    return (
        f"class {one.classes[first]!r} is called {own!r} in {one.path} and {name!r} in {other.path}, "
        f"which is another class there: so are {len(wrong)} that have the same ids"
    )
