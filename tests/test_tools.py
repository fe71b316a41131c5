"""Tools that need what is not here, such as a GPU, are not run by tests: that they begin at least is held here."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / "tools"
OURS = ("fastpt", "datasets_prep", "tools", "tests")


def python(path: Path) -> bool:
    return path.suffix == ".py" or (path.is_file() and not path.suffix and b"python" in path.read_bytes()[:40])


def names(path: Path) -> list[tuple[str, str]]:
    """(module, name) of every import of our own in a file, also within functions."""
    found = [one for one in ast.walk(ast.parse(path.read_text())) if isinstance(one, ast.ImportFrom)]
    return [
        (one.module, alias.name)
        for one in found
        if one.module and one.module.partition(".")[0] in OURS
        for alias in one.names
    ]


@pytest.mark.parametrize(
    "path", sorted(filter(python, TOOLS.rglob("*"))), ids=lambda path: str(path.relative_to(TOOLS))
)
def test_what_a_tool_imports_of_ours_is_there(path):
    for module, name in names(path):
        there = import_module(module)
        assert hasattr(there, name) or import_module(f"{module}.{name}"), f"{module} has no {name}"


def test_the_check_of_gpus_is_among_them():
    assert python(TOOLS / "gpu_check")
    assert ("fastpt.runs.folder", "CHECKPOINTS") in names(TOOLS / "gpu_check")
