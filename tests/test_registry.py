"""The table of a room, and the members that installed packages bring."""

import re
import sys
from importlib.metadata import EntryPoint, EntryPoints
from typing import Literal, Protocol

import pytest

from datasets_prep.sources import SOURCES
from fastpt import registry
from fastpt.errors import FastptError
from fastpt.models import MODELS
from fastpt.noise.kinds import KINDS
from fastpt.registry import GROUPS, Registry
from fastpt.tuning.encoders import ENCODERS
from fastpt.tuning.methods import METHODS

TABLE = {"ordered": "collections:OrderedDict", "counter": "collections:Counter"}


def with_packages(monkeypatch, *points: EntryPoint) -> Registry:
    """A room into which these entry points are installed."""
    monkeypatch.setattr(registry, "entry_points", EntryPoints(points).select)
    return Registry("kind of mapping", TABLE, "tests.mappings")


def test_names_come_in_the_order_of_the_table_then_those_of_packages(monkeypatch):
    room = with_packages(monkeypatch, EntryPoint("a-chain", "collections:ChainMap", "tests.mappings"))
    assert room.names() == ["ordered", "counter", "a-chain"]
    assert room.get("a-chain").__name__ == "ChainMap"


def test_a_name_of_the_table_looks_at_no_package(monkeypatch):
    monkeypatch.setattr(registry, "entry_points", lambda **_: pytest.fail("scanned"))
    assert Registry("kind of mapping", TABLE, "tests.mappings").get("counter").__name__ == "Counter"


def test_names_import_no_member():
    room = Registry("kind of clock", {"turtle": "turtle:Turtle"})
    assert room.names() == ["turtle"]
    assert "turtle" not in sys.modules


def test_a_built_in_name_cannot_be_taken_over_and_that_is_told(monkeypatch, capsys):
    room = with_packages(monkeypatch, EntryPoint("counter", "collections:ChainMap", "tests.mappings"))
    assert room.get("counter").__name__ == "Counter"
    assert room.origin("counter") is None
    assert room.names() == ["ordered", "counter"]
    told = "kind of mapping 'counter' of package unknown is called as one of ours, which stays. Rename it there."
    assert capsys.readouterr().err == f"warning: {told}\n"


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


class Clock(Protocol):
    hands: int
    face: Literal["round", "square"] = "round"

    def tick(self) -> None: ...


class Wall:
    hands, face = 2, "round"

    def tick(self):
        raise ZeroDivisionError("no\nspring")


class Sundial:
    hands, face = "one", "round"


WALL, SUNDIAL = Wall(), Sundial()


def clocks(monkeypatch, attribute: str) -> Registry:
    point = EntryPoint("clock", f"{__name__}:{attribute}", "tests.clocks")
    monkeypatch.setattr(registry, "entry_points", EntryPoints([point]).select)
    return Registry("kind of clock", {}, "tests.clocks", Clock)


def test_a_packages_member_is_held_to_the_protocol(monkeypatch):
    assert clocks(monkeypatch, "WALL").get("clock") is WALL
    with pytest.raises(FastptError, match=r"'clock' of package unknown .*hands: .* valid integer; it has no tick"):
        clocks(monkeypatch, "SUNDIAL").get("clock")


@pytest.mark.parametrize("room", [SOURCES, KINDS, ENCODERS, METHODS], ids=lambda room: room.what)
def test_our_own_members_keep_the_protocol_too(monkeypatch, room):
    points = [EntryPoint(name, where, room.group) for name, where in room.table.items()]
    monkeypatch.setattr(registry, "entry_points", EntryPoints(points).select)
    for name in room.table:
        assert Registry(room.what, {}, room.group, room.protocol).get(name) is room.get(name)


def test_a_package_that_ends_the_process_is_told(monkeypatch, tmp_path):
    (tmp_path / "leaves_at_once.py").write_text("\nraise SystemExit(7)")
    monkeypatch.syspath_prepend(tmp_path)
    room = with_packages(monkeypatch, EntryPoint("broken", "leaves_at_once:CLOCK", "tests.mappings"))
    with pytest.raises(FastptError, match=r"cannot be loaded \(SystemExit\(7\) in leaves_at_once\.py, line 2\)"):
        room.get("broken")


def test_a_group_that_no_room_has_is_told(monkeypatch, capsys):
    with_packages(monkeypatch, EntryPoint("mine", "collections:ChainMap", "fastpt.noise_kind")).names()
    told = "warning: package unknown has entry points of fastpt.noise_kind, of which nothing is used; "
    assert capsys.readouterr().err == f"{told}did you mean fastpt.noise_kinds?\n"


def test_the_groups_are_those_of_the_rooms():
    assert {room.group for room in (SOURCES, KINDS, MODELS, ENCODERS, METHODS)} == set(GROUPS)


def test_what_goes_wrong_in_a_package_is_told_as_its_fault_with_its_line(monkeypatch):
    room = clocks(monkeypatch, "WALL")
    line = Wall.tick.__code__.co_firstlineno + 1
    failed = rf"'clock' of package unknown unknown failed \(ZeroDivisionError.* in test_registry\.py, line {line}\)"
    with pytest.raises(FastptError, match=failed), room.blaming("clock"):
        WALL.tick()


def test_what_goes_wrong_in_a_member_of_ours_is_a_fault_of_ours():
    with pytest.raises(ZeroDivisionError), Registry("kind of clock", {"wall": f"{__name__}:WALL"}).blaming("wall"):
        WALL.tick()


def test_errors_that_are_told_in_a_line_pass(monkeypatch, tmp_path):
    room = clocks(monkeypatch, "WALL")
    for error in (FastptError("mend it"), FileNotFoundError(2, "gone", "a.txt")):
        with pytest.raises(type(error), match=re.escape(str(error))), room.blaming("clock"):
            raise error
