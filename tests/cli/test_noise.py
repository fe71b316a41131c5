from importlib.metadata import EntryPoint, EntryPoints

import pytest
from click.testing import CliRunner

from fastpt import registry
from fastpt.cli import data, main
from fastpt.noise.kinds import KINDS


@pytest.fixture
def broken_package(monkeypatch):
    """A package whose kind of noise cannot be loaded."""
    point = EntryPoint("broken", "collections:Nothing", KINDS.group or "")
    monkeypatch.setattr(registry, "entry_points", lambda group: EntryPoints([point]).select(group=group))
    cached = (data._kinds, data._kind_options)
    for function in cached:
        function.cache_clear()
    KINDS.__dict__.pop("_installed", None)
    yield
    for function in cached:
        function.cache_clear()
    KINDS.__dict__.pop("_installed", None)


def test_help_shows_the_kinds_and_their_files():
    told = CliRunner().invoke(main, ["noise", "--help"]).output
    assert "|".join(KINDS.table) in told
    assert "--matrix FILE" in told
    assert "external    labels or captions that a file holds" in told


def test_a_package_that_cannot_be_loaded_is_left_out_with_one_warning(broken_package):
    ran = CliRunner().invoke(main, ["noise", "--help"])
    assert ran.exit_code == 0
    assert ran.stderr.count("warning: kind of noise 'broken' of package unknown cannot be loaded") == 1
    assert "broken" not in ran.stdout


def test_a_kind_whose_option_is_taken_is_left_out_with_a_warning(broken_package, monkeypatch):
    class Greedy:
        summary, takes_rate, files = "takes too much", True, {"rate": "a file of rates"}

    get = KINDS.get
    monkeypatch.setattr(KINDS, "get", lambda name: Greedy() if name == "broken" else get(name))
    ran = CliRunner().invoke(main, ["noise", "nowhere", "--rate", "0.1"])
    assert "warning: kind of noise 'broken' has an option rate, which is taken" in ran.stderr
    assert "nowhere does not exist" in ran.stderr


@pytest.mark.parametrize("words", [["--kind", "external", "--rate", "0.1"], ["--kind", "swap"], []])
def test_a_rate_is_asked_for_as_the_kind_takes_one(words):
    ran = CliRunner().invoke(main, ["noise", "nowhere", *words])
    assert ran.exit_code == 2
    assert "every kind of noise needs a --rate, but external" in ran.output
