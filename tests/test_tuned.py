"""Results in a run's folder: those of weights that the run has, and what speaks against others."""

import json
import shutil
from pathlib import Path

import pytest

from fastpt.files import write_sealed_json
from fastpt.report.apart import compared
from fastpt.runs import read_run, read_runs
from fastpt.runs.folder import EXPORT_FORMAT
from fastpt.tuned import overlaps
from tests.conftest import made_up, prepared
from tests.report.conftest import change_provenance, noise_record, tune_results, write_run, write_tune

RESULTS = tune_results({("id", "a", "a"): {"lp": [0.5]}})


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_run(tmp_path, rate=0.05, tune=RESULTS)


def left_out(run: Path, *words: str) -> bool:
    read = read_run(run)
    return not read.tunes and all(any(word in problem for problem in read.problems) for word in words)


def test_results_of_the_runs_weights_are_read_with_their_file(run):
    (tune,) = read_run(run).tunes
    assert (tune["suite"], tune["file"]) == ("demo", "tune/demo.json")
    assert read_run(run).problems == []


def test_results_of_weights_that_were_exported_before_are_left_out_by_name(run):
    sums = {"format": "2.0", "files": {"model.safetensors": "0" * 64}}
    write_sealed_json(run / "export" / "manifest.json", sums)
    assert left_out(run, "tune/demo.json is of other weights than the run exports now, and is left out")


def test_a_card_that_was_written_anew_makes_no_other_weights(run):
    path = run / "export" / "manifest.json"
    files = json.loads(path.read_text())["files"]
    write_sealed_json(path, {"format": "2.0", "files": {**files, "README.md": "0" * 64}})
    assert read_run(run).tunes


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"seed": 1}, "of a training of seed 0"),
        ({"samples_id": "d" * 64}, "of a training of samples_id c3"),
        ({"noise": None}, "on other noise"),
        ({"noise": {**(noise_record(0.05) or {}), "array_sha256": "0" * 64}}, "on other noise"),
    ],
)
def test_results_of_a_training_that_was_begun_anew_are_left_out_while_it_has_no_export_yet(run, record, said):
    change_provenance(run, **record)
    assert left_out(run, said)
    shutil.rmtree(run / "export")
    assert left_out(run, said)


def test_results_of_another_encoder_are_none_of_the_run(run):
    results = json.loads((run / "tune" / "demo.json").read_text())
    results["encoder"] |= {"name": "timm:resnet18", "export": None}
    del results["self_sha256"]
    write_sealed_json(run / "tune" / "demo.json", results)
    assert left_out(run, "is of encoder timm:resnet18, no export of this run")


def test_results_of_another_run_are_none_of_this_one(run, tmp_path):
    other = write_run(tmp_path, seed=1, rate=0.05, tune=RESULTS)
    shutil.copy(other / "tune" / "demo.json", run / "tune" / "demo.json")
    assert left_out(run, "of other weights")


def test_without_an_export_results_of_several_weights_are_left_out(run):
    shutil.rmtree(run / "export")
    read = read_run(run)
    assert read.tunes
    assert any("cannot be held against the weights: export/ is not there" in problem for problem in read.problems)
    second = {**RESULTS, "encoder": {**RESULTS["encoder"], "weights_sha256": "c8" * 32}}
    results = json.loads((run / "tune" / "demo.json").read_text())
    write_sealed_json(
        run / "tune" / "other.json",
        {**second, "encoder": {**results["encoder"], "weights_sha256": "c8" * 32}},
    )
    assert left_out(run, "tune/demo.json, tune/other.json are of different weights")


def test_a_split_that_was_replaced_since_is_said(run, tmp_path):
    dataset = prepared(tmp_path / "data" / "pets", made_up(8, name="val", is_train=False))
    ids = {"samples_id": dataset.samples_id, "images_id": dataset.images_id}
    split = {"domain": "id", "set": "a", "test": "a", "path": "data/pets/val", **ids, "samples": 8, "answers": None}
    write_tune(run, {**RESULTS, "splits": [split]})
    assert read_run(run).problems == []
    shutil.rmtree(tmp_path / "data")
    assert read_run(run).problems == []
    prepared(tmp_path / "data" / "pets", made_up(9, name="val", is_train=False))
    read = read_run(run)
    assert read.tunes  # it is what it was, and says of what
    assert read.problems == ["tune/demo.json: data/pets/val holds other samples now than those that are recorded"]


def test_samples_that_are_tested_and_trained_on_are_told_of_a_run_where_they_are_many(run):
    split = {"domain": "id", "set": "a", "test": "t", "samples": 1000}
    lines = [overlaps([{**split, "in_training": count}]) for count in (0, 1)]
    assert lines[0] == []
    assert lines[1][0].startswith("1 of 1000 samples of a/t are among those that the heads are trained on")
    for count, told in ((10, 0), (11, 1)):
        write_tune(run, {**RESULTS, "splits": [{**split, "in_training": count}, {**split, "test": None}]})
        assert len(read_run(run).problems) == told


def test_weights_of_another_step_or_choice_are_of_another_setting(tmp_path):
    runs = [write_run(tmp_path, rate=rate) for rate in (0, 0.05)]
    for (step, chosen), (other, choice), apart in (
        ((10, "last"), (10, "last"), False),
        ((10, "last"), (5, "last"), True),
        ((10, "best"), (5, "best"), False),
        ((10, "last"), (10, "best"), True),
    ):
        for run, values in zip(runs, ((step, chosen), (other, choice)), strict=True):
            path = run / "export" / "manifest.json"
            known = dict(zip(("step", "chosen"), values, strict=True))
            write_sealed_json(path, {"format": EXPORT_FORMAT, "files": json.loads(path.read_text())["files"], **known})
            write_tune(run, RESULTS)
        assert (len(compared(read_runs(runs)).suites) == 2) == apart
