"""Rooms grow by one file: nothing outside a member's file, its table and declared defaults knows it by name."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
ROOMS = {
    "datasets_prep.sources": "SOURCES",
    "fastpt.noise.kinds": "KINDS",
    "fastpt.loading.decoders": "DECODERS",
    "fastpt.training.tasks": "TASKS",
    "fastpt.tuning.encoders": "ENCODERS",
    "fastpt.tuning.methods": "METHODS",
}
# Words that stand for something else, too: there it must be said that the member is meant (`decoder == "cpu"`).
AMBIGUOUS = {
    "captions": {"source"},  # what a target is
    "cpu": {"decoder"},  # torch's device
    "mlp": {"method"},  # what stands before a linear classifier
    "run": {"encoder"},  # a folder, a key of the results
    "timm": {"encoder"},  # a package
    "open_clip": {"encoder"},  # a package
    "onnx": {"encoder"},  # a package
}
# The paper's claims are about three methods by name; the order of a table and a default are declared, not compared.
EXEMPT = {"fastpt/report/paper.py"}
HEAVY = {"torch", "timm", "open_clip", "deepspeed", "nvidia", "onnx", "onnxruntime", "pyarrow", "PIL", "cv2"}
LOOK_UPS = ("get", "pop", "setdefault", "startswith", "endswith")
FILES = sorted(path.relative_to(TOP) for room in ("fastpt", "datasets_prep") for path in (TOP / room).rglob("*.py"))


def table(room: str) -> dict[str, str]:
    return getattr(import_module(room), ROOMS[room]).table


def own_files(room: str, name: str) -> set[str]:
    """The member's file; those beside it that are called like it (`_cpu.py`), or its folder."""
    module = table(room)[name].partition(":")[0].replace(".", "/")
    folder, _, stem = module.rpartition("/")
    return {f"{module}.py", f"{module}/", f"{folder}/_{stem.lstrip('_')}.py", f"{room.replace('.', '/')}/__init__.py"}


def words(node: ast.AST) -> set[str]:
    """The identifiers in an expression, in parts: `self.decoder_name` -> self, decoder, name."""
    found = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Name | ast.Attribute):
            found |= set((part.id if isinstance(part, ast.Name) else part.attr).lower().split("_"))
    return found | {word.rstrip("s") for word in found}


def constants(node: ast.AST) -> Iterator[str]:
    """The texts that an expression is, or that a literal tuple, list or set holds."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Tuple | ast.List | ast.Set):
        for element in node.elts:
            yield from constants(element)


def uses_of_names(tree: ast.AST) -> Iterator[tuple[int, str, set[str]]]:
    """Where code compares with a text or uses it as a key: line, text, and the words of the other side."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            for side in sides:
                for text in constants(side):
                    yield node.lineno, text, set().union(*(words(other) for other in sides if other is not side))
        elif isinstance(node, ast.Subscript):
            for text in constants(node.slice):
                yield node.lineno, text, words(node.value)
        elif isinstance(node, ast.Dict):
            for key in node.keys:
                for text in constants(key) if key is not None else ():
                    yield node.lineno, text, set()
        elif isinstance(node, ast.MatchValue):
            for text in constants(node.value):
                yield node.value.lineno, text, set()
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOOK_UPS:
            for text in constants(node.args[0]) if node.args else ():
                yield node.lineno, text, words(node.func.value)


@pytest.mark.parametrize("room", ROOMS)
def test_no_code_outside_a_members_file_knows_its_name(room):
    found = []
    for path in FILES:
        if path.as_posix() in EXEMPT:
            continue
        uses = list(uses_of_names(ast.parse((TOP / path).read_text(encoding="utf-8"))))
        for name in table(room):
            if any(path.as_posix().startswith(own) for own in own_files(room, name)):
                continue
            meant = AMBIGUOUS.get(name)
            found += [
                f"{path}:{line} {name!r}" for line, text, other in uses if text == name and (not meant or meant & other)
            ]
    assert not found


def test_rooms_and_their_members_import_nothing_heavy():
    modules = [entry.partition(":")[0] for room in ROOMS for entry in table(room).values()]
    packages = [".".join(path.parent.parts) for path in FILES if path.name == "__init__.py"]
    code = f"""
import importlib, sys
for name in {sorted({*modules, *packages})!r}:
    importlib.import_module(name)
    heavy = sorted({HEAVY!r} & sys.modules.keys())
    assert not heavy, f"{{name}} imports {{heavy}}"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=TOP)
    assert done.returncode == 0, done.stderr.splitlines()[-1]


@pytest.mark.parametrize("room", ROOMS)
def test_a_member_that_is_not_there_is_told_with_the_nearest_name(room):
    registry = getattr(import_module(room), ROOMS[room])
    name = registry.names()[0]
    with pytest.raises(Exception, match=f"no {registry.what} '{name}x'; did you mean {name}"):
        registry.get(f"{name}x")
