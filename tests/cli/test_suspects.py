import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from fastpt import dynamics
from fastpt.cli import main
from fastpt.noise import add_noise
from fastpt.runs import read_provenance, read_recipe
from fastpt.runs.folder import SAMPLES
from fastpt.runs.records import write_records
from tests.conftest import made_up, picture, prepared
from tests.tuning.conftest import finished_run


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("suspected"), made_up(40), [0.25])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("runs"))


def suspects(*words) -> Result:
    return CliRunner().invoke(main, ["suspects", *map(str, words)])


def test_a_file_and_a_page_say_which_labels_are_doubted(split, run, tmp_path):
    ran = suspects(split.path, "--run", run, "--out", tmp_path / "s.parquet", "--json")
    assert ran.exit_code == 0, ran.output
    document = json.loads(ran.stdout)
    table = pq.read_table(tmp_path / "s.parquet").to_pydict()
    doubted = [given != label for given, label in zip(table["given_label"], table["label"], strict=True)]
    assert document["doubted"] == sum(doubted) > 0
    assert document["agreement"] is None  # nobody knows the truth
    assert document["most_probable"] == np.mean([margin > 0 for margin in table["margin"]])
    page = (tmp_path / "s.html").read_text()
    assert page.count("<img ") == sum(doubted)
    assert "http" not in page.replace("http-equiv", "")


def test_where_the_truth_is_known_it_says_how_well_wrong_labels_are_found(split, run, tmp_path):
    plan = "symmetric-0.25-seed0"
    ran = suspects(split.path, "--noise", plan, "--run", run, "--out", tmp_path / "s.parquet")
    assert "Wrong, in truth: 10" in ran.stdout
    assert "Recall: " in ran.stdout
    assert "<dt>is</dt>" in (tmp_path / "s.html").read_text()


def test_a_plan_may_be_named_by_its_rate(split, run, tmp_path):
    words = ("--run", run, "--out", tmp_path / "s.parquet", "--json")
    ran = suspects(split.path, "--noise", "0.25", *words)
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["noise"] == "symmetric-0.25-seed0"


def test_what_a_run_recorded_of_these_labels_ranks_them_too(split, run, tmp_path):
    plan = split.noise_plan("symmetric-0.25-seed0")
    wrong = plan.array != split.clean_labels
    margin = np.where(wrong, -1.0, 1.0).astype(np.float32)
    dynamics.begin(run / SAMPLES, split.samples_id, plan.array.astype(np.int64), wrong, 0)
    dynamics.append(run / SAMPLES, 0, {"margin": margin})
    words = ("--run", run, "--out", tmp_path / "s.parquet", "--json")
    recipe, provenance = read_recipe(run), read_provenance(run)
    write_records(run, recipe, {**provenance, "noise": plan.provenance()})
    document = json.loads(suspects(split.path, "--noise", plan.name, *words).stdout)
    assert document["average_precision_of_dynamics"] == {"low_margin": 1.0}
    table = pq.read_table(tmp_path / "s.parquet").to_pydict()
    assert dict(zip(table["key"], table["low_margin"], strict=True)) == dict(zip(split.keys, -margin, strict=True))
    other = add_noise(split, 0.5, 0)
    document = json.loads(suspects(split.path, "--noise", other.name, *words).stdout)
    assert document["average_precision_of_dynamics"] == {}  # it was trained on other labels
    for kind in ("another that changes the same samples", "those that the plan leaves right"):
        record = {**provenance, "noise": plan.provenance() | ({"array_sha256": "0" * 64} if "another" in kind else {})}
        kept = {"keep": "right" if "right" in kind else "all", "noise": plan.name}
        write_records(run, {**recipe, "data": {**recipe["data"], **kept}}, record)
        document = json.loads(suspects(split.path, "--noise", plan.name, *words).stdout)
        assert document["average_precision_of_dynamics"] == {}, kind
    write_records(run, recipe, provenance)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--run", "a", "--encoder", "b"], "--run and --encoder name two encoders; give one"),
        (["--out", "s.csv"], "s.csv is a parquet file: let its name end in .parquet"),
        (["--out", "no/s.parquet"], "no is no folder, where s.parquet is to be written"),
        (["--page", "s.txt"], "s.txt is to be one page: let its name end in .html."),
    ],
)
def test_what_cannot_be_meant_is_told_before_the_split_is_opened(words, said):
    ran = suspects("nowhere", *words)
    assert ran.exit_code in (1, 2)
    assert said in ran.output


def test_a_split_without_labels_is_told(tmp_path):
    split = prepared(tmp_path, made_up(8, 0, captions=True))
    ran = suspects(split.path, "--encoder", "timm:resnet18")
    assert ran.exit_code == 1
    assert "has no labels, only captions" in ran.stderr


def test_pictures_of_no_class_here_are_looked_at_and_have_no_right_label(split, run, tmp_path):
    listing = made_up(20, classes=2, special={i: picture(500 + i) for i in range(20)})
    other = prepared(tmp_path / "other", replace(listing, classes=["x", "y"], class_names=["x", "y"]))
    plan = add_noise(split, 0.25, 7, kind="open-set", files={"from": other.path})
    ran = suspects(split.path, "--noise", plan.name, "--run", run, "--out", tmp_path / "s.parquet", "--json")
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    assert found["agreement"]["wrong"] == 10
    assert found["agreement"]["corrected"] is None
    assert found["made_with"]["images_id"] == split.shown(plan.name).images_id
