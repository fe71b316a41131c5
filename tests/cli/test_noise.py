import json
import re
from importlib import import_module
from importlib.metadata import EntryPoint, EntryPoints

import numpy as np
import pytest
from click.testing import CliRunner, Result

from fastpt import registry
from fastpt.cli import main
from fastpt.noise.kinds import KINDS
from tests.conftest import made_up, prepared


@pytest.fixture
def broken_package(monkeypatch):
    """A package whose kind of noise cannot be loaded."""
    point = EntryPoint("broken", "collections:Nothing", KINDS.group or "")
    monkeypatch.setattr(registry, "entry_points", EntryPoints([point]).select)
    module = import_module("fastpt.cli.noise")
    cached = (module._kinds, module._kind_options)
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


@pytest.mark.parametrize("words", [["--kind", "external", "--rate", "0.1"], ["--kind", "swap"]])
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


def noise(*words) -> Result:
    return CliRunner().invoke(main, ["noise", *map(str, words)])


def test_a_plan_travels_from_split_to_split(labelled, tmp_path):
    plan, copy = tmp_path / "plan.parquet", prepared(tmp_path, made_up(40), format="wds", seed=5)
    wrote = noise(labelled.path, "--rate", 0.25, "--export", plan)
    took = noise(copy.path, "--import", plan, "--export", tmp_path / "again.parquet")
    assert took.exit_code == 0, took.output
    assert (tmp_path / "again.parquet").read_bytes() == plan.read_bytes()
    assert wrote.stderr.split("plan ")[-1] in took.stderr  # the plan's identity
    assert copy.noise_plans() == ["symmetric-0.25-seed0"]


def test_without_a_rate_or_a_file_the_plans_that_are_there_are_told(labelled):
    told = noise(labelled.path).stdout
    assert "noise symmetric-0.25-seed0: asked 0.25, realised 0.25 (10 wrong labels)" in told
    assert re.search(r"class 0 +10 +[23] +\([23]0 %\) +class \d [12]0 %", told)
    assert re.search(r"shown as +samples +wrong +from", told)
    assert all(len(line) <= 100 for line in told.splitlines())


def test_a_split_without_a_plan_says_how_to_make_one(tmp_path):
    split = prepared(tmp_path, made_up(8))
    assert "has no noise plan; `fastpt noise" in noise(split.path).stdout
    ran = noise(split.path, "--csv", tmp_path / "a.csv")
    assert ran.exit_code == 1
    assert "has 0 noise plans. Say --plan NAME, or --rate." in ran.stderr


def test_json_counts_which_class_is_shown_as_which(labelled):
    document = json.loads(noise(labelled.path, "--json").stdout)
    matrix = np.zeros((4, 4), int)
    for clean, shown, count in document["confusion"]:
        matrix[clean, shown] = count
    expected = np.zeros((4, 4), int)
    np.add.at(expected, (labelled.clean_labels, labelled.targets(0.25)), 1)
    assert np.array_equal(matrix, expected)
    assert document["plan"] == "symmetric-0.25-seed0"
    assert document["samples"] == 40


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_which_class_is_shown_as_which_is_drawn(labelled, tmp_path, suffix):
    assert noise(labelled.path, "--picture", tmp_path / f"a.{suffix}").exit_code == 0
    drawn = (tmp_path / f"a.{suffix}").read_bytes()
    assert drawn.startswith(b"\x89PNG" if suffix == "png" else b"<?xml")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--picture", "a.jpg"], "a.jpg is a picture: let its name end in .png or .svg"),
        (["--export", "a.csv"], "a.csv is a parquet file: let its name end in .parquet"),
        (["--plan", "x", "--rate", "0.1"], "a plan is made (--kind, --rate), named (--plan) or taken over (--import)"),
        (["--import", "x", "--plan", "y"], "give one"),
        (["--matrix", "m.npy"], "every kind of noise needs a --rate"),
    ],
)
def test_what_does_not_go_together_is_told_before_the_split_is_opened(words, said):
    ran = noise("nowhere", *words)
    assert ran.exit_code in (1, 2)
    assert said in ran.output


def test_plans_of_one_kind_of_targets_are_told_alone(captioned):
    assert "swap-0.2-seed0" in noise(captioned.path, "--of", "captions").stdout
    assert "symmetric" not in noise(captioned.path, "--of", "captions").stdout
