import json
import re
from importlib.metadata import EntryPoint, EntryPoints

import pytest
from click.testing import CliRunner

from fastpt import registry
from fastpt.cli import data, main
from fastpt.noise.kinds import KINDS
from tests.conftest import made_up, prepared


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


def test_a_csv_is_called_so_that_it_can_be_read_again():
    ran = CliRunner().invoke(main, ["noise", "nowhere", "--rate", "0.1", "--csv", "shown.txt"])
    assert ran.exit_code == 2
    assert "shown.txt is a CSV: let its name end in .csv" in ran.output


def test_info_tells_the_shares_of_classes_in_a_line_and_all_of_them_in_json(tmp_path):
    split = prepared(tmp_path, made_up(2500, classes=1000), [0.05])
    told = CliRunner().invoke(main, ["info", str(split.path)]).output.splitlines()
    (line,) = [
        i for i, line in enumerate(told) if line.startswith("  noise symmetric-0.05-seed0: asked 0.05, realised 0.05")
    ]
    assert re.fullmatch(
        r"    of each class: 0 \(class \d+\) to 0.5 \(class \d+\), median 0; 8\d\d of 1,000 classes have none",
        told[line + 1],
    )
    (plan,) = json.loads(CliRunner().invoke(main, ["info", str(split.path), "--json"]).output)["noise"]
    assert len(plan["realised_per_class"]) == 1000
    assert plan["largest_deviation"].keys() == {"name", "samples", "wrong"}
    assert plan["realised_rate"] == 0.05


def test_the_rate_of_a_file_is_told_as_nothing_that_was_asked_for(tmp_path):
    split = prepared(tmp_path, made_up(10))
    (tmp_path / "l.csv").write_text(f"key,label\n{split.keys[0]},class 3\n")
    ran = CliRunner().invoke(main, ["noise", str(split.path), "--kind", "external", "--file", str(tmp_path / "l.csv")])
    assert "noise external-l: realised 0.1 (1 wrong labels" in ran.stdout
