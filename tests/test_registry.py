"""The table of a room, and the members that installed packages bring."""

import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from fastpt import registry
from fastpt.errors import FastptError
from fastpt.registry import Registry

TABLE = {"ordered": "collections:OrderedDict", "counter": "collections:Counter"}


def with_packages(monkeypatch, *points: EntryPoint) -> Registry:
    """A room into which these entry points are installed."""
    monkeypatch.setattr(registry, "entry_points", lambda group: EntryPoints(points).select(group=group))
    return Registry("kind of mapping", TABLE, "tests.mappings")


def test_names_come_in_the_order_of_the_table_then_those_of_packages(monkeypatch):
    room = with_packages(monkeypatch, EntryPoint("a-chain", "collections:ChainMap", "tests.mappings"))
    assert room.names() == ["ordered", "counter", "a-chain"]
    assert room.get("a-chain").__name__ == "ChainMap"


def test_a_name_of_the_table_looks_at_no_package(monkeypatch):
    monkeypatch.setattr(registry, "entry_points", lambda group: pytest.fail("scanned"))
    assert Registry("kind of mapping", TABLE, "tests.mappings").get("counter").__name__ == "Counter"


def test_names_import_no_member():
    room = Registry("kind of clock", {"turtle": "turtle:Turtle"})
    assert room.names() == ["turtle"]
    assert "turtle" not in sys.modules


def test_a_built_in_name_cannot_be_taken_over(monkeypatch):
    room = with_packages(monkeypatch, EntryPoint("counter", "collections:ChainMap", "tests.mappings"))
    assert room.get("counter").__name__ == "Counter"
    assert room.origin("counter") is None
    assert room.names() == ["ordered", "counter"]


def test_an_unknown_name_is_told_with_the_nearest(monkeypatch):
    with pytest.raises(FastptError, match=r"no kind of mapping 'conter'; did you mean counter\?"):
        with_packages(monkeypatch).get("conter")


def test_a_name_of_two_packages_is_an_error_when_it_is_used(monkeypatch):
    points = [EntryPoint("chain", f"collections:{name}", "tests.mappings") for name in ("ChainMap", "UserDict")]
    room = with_packages(monkeypatch, *points)
    assert "chain" in room.names()
    with pytest.raises(FastptError, match=r"'chain' is in .* Uninstall one"):
        room.get("chain")


def test_a_package_that_cannot_be_loaded_is_told(monkeypatch):
    room = with_packages(monkeypatch, EntryPoint("broken", "collections:Nothing", "tests.mappings"))
    with pytest.raises(FastptError, match=r"kind of mapping 'broken' of package .* cannot be loaded"):
        room.get("broken")
