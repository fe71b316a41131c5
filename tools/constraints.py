"""Writes tools/constraints.txt, the versions installed of all that pyproject.toml needs: python -m tools.constraints

With all of it pinned, an install is the one that was tested, and pip has nothing to search: left alone, it tries some
hundred versions of the clients of S3 that two packages want.
"""

import os
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
FILE = ROOT / "tools" / "constraints.txt"
HEAD = "# The versions that the tests ran with; tools/setup installs them. Written by `python -m tools.constraints`.\n"


UNRESOLVED = {"ffcv", "cuda12"}  # built from source to be asked what it needs; DALI's build for another CUDA


def installed() -> dict[str, str]:
    """The installed version of all that fastpt and its extras need, by name; without a build's own label (+cu126)."""
    project = _project()
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


def newest() -> dict[str, str]:
    """The newest version that pyproject.toml allows of the same, as uv finds them where pip looks for packages.

    Raises CalledProcessError, with uv's words in `stderr`, if no versions fit one another.
    """
    extras = [f"--extra={name}" for name in _project()["optional-dependencies"] if name not in UNRESOLVED]
    lines = uv("compile", "--no-header", "--no-annotate", *extras, str(ROOT / "pyproject.toml")).splitlines()
    pinned = [Requirement(line) for line in lines if "==" in line]
    return {canonicalize_name(one.name): Version(next(iter(one.specifier)).version).public for one in pinned}


def uv(command: str, *arguments: str) -> str:
    """What `uv pip COMMAND` prints; uv reads none of pip's settings, so it is told where pip looks."""
    pip = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    settings = {}
    for line in pip.stdout.splitlines():
        key, _, value = line.partition("=")
        settings[key.rpartition(".")[2]] = value.strip("'")
    told = {
        "UV_DEFAULT_INDEX": settings.get("index-url"),
        "UV_INDEX": settings.get("extra-index-url"),
        "UV_INDEX_STRATEGY": "unsafe-best-match" if "extra-index-url" in settings else None,
        "UV_FIND_LINKS": settings.get("find-links", "").replace(" ", ",") or None,
    }
    environment = {name: value for name, value in told.items() if value} | os.environ
    words = [sys.executable, "-m", "uv", "pip", command, "--quiet", "--python", sys.executable, *arguments]
    return subprocess.run(words, capture_output=True, text=True, check=True, env=environment).stdout


def _project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _applies(need: Requirement, extras: frozenset[str]) -> bool:
    return need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras or {""})


if __name__ == "__main__":
    FILE.write_text(HEAD + "".join(f"{name}=={version}\n" for name, version in installed().items()), encoding="utf-8")
