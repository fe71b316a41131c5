"""Writes tools/constraints.txt, the versions installed of all that pyproject.toml needs: python -m tools.constraints

With all of it pinned, an install is the one that was tested, and pip has nothing to search: left alone, it tries some
hundred versions of the clients of S3 that two packages want.
"""

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
FILE = ROOT / "tools" / "constraints.txt"
HEAD = "# The versions that the tests ran with; tools/setup installs them. Written by `python -m tools.constraints`.\n"


def installed() -> dict[str, str]:
    """The installed version of all that fastpt and its extras need, by name; without a build's own label (+cu126)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    open_ends = [Requirement(text) for texts in lists for text in texts]
    found, seen = {}, set()
    while open_ends:
        requirement = open_ends.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if name == project["name"] or (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue  # DALI's build for another CUDA, say
        found[name] = Version(package.version).public
        needs = [Requirement(text) for text in package.requires or []]
        open_ends += [need for need in needs if _applies(need, extras)]
    return dict(sorted(found.items()))


def _applies(need: Requirement, extras: frozenset[str]) -> bool:
    return need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras or {""})


if __name__ == "__main__":
    FILE.write_text(HEAD + "".join(f"{name}=={version}\n" for name, version in installed().items()), encoding="utf-8")
