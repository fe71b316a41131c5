"""What `fastpt tune` cannot do is told, and costs no other result."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from fastpt.errors import FastptError
from fastpt.files import read_sealed_json
from fastpt.tuned import FORMAT
from fastpt.tuning.command import tune_command
from fastpt.tuning.jobs import Job
from tests.conftest import made_up, prepared
from tests.tuning.conftest import finished_run


def test_a_suite_must_be_named_somewhere(workplace):
    with pytest.raises(FastptError, match="--encoder needs a suite"):
        tune_command(encoder="timm:resnet18")
    plain = finished_run(workplace / "runs", "plain")
    with pytest.raises(FastptError, match="names no suite"):
        tune_command(run=plain)
    with pytest.raises(FastptError, match="does not exist"):
        tune_command(run=workplace / "runs" / "nowhere")


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_provenance_is_told_before_the_work(workplace, capsys, content):
    (workplace / "runs" / "tiny-s0" / "provenance.json").write_text(content)
    with pytest.raises(FastptError, match=r"provenance.json is damaged"):
        tune_command(methods=["lp"], epochs=1)
    assert "1 of" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("out", "why"),
    [("small.yaml/r.json", "small.yaml is no folder"), ("sealed/new/r.json", "sealed may not be written")],
)
def test_results_that_cannot_be_written_are_told_before_the_work(workplace, monkeypatch, out, why):
    (workplace / "sealed").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "sealed")  # root may do anything
    monkeypatch.setattr("fastpt.tuning.command.tune", lambda *_, **__: pytest.fail("the work has begun"))
    with pytest.raises(FastptError, match=why):
        tune_command(methods=["lp"], epochs=1, out=Path(out))


@pytest.mark.parametrize("name", ["found.csv", "found.txt", "found"])
def test_tables_do_not_take_the_place_of_the_results(workplace, name):
    with pytest.raises(FastptError, match=r"names no \.json"):
        tune_command(out=workplace / name)


def test_an_error_of_one_set_names_it(workplace):
    prepared(workplace / "data" / "one", made_up(10, classes=1))
    suite = {"name": "one", "id": [{"name": "one", "train": "data/one/train", "test": "data/one/train"}]}
    (workplace / "one.yaml").write_text(yaml.safe_dump(suite))
    with pytest.raises(FastptError, match="set one, lp: All 10 samples have the label 0"):
        tune_command(suite="one.yaml", methods=["lp"])
    assert not (workplace / "runs" / "tiny-s0" / "tune").exists()


def test_a_set_that_fails_costs_no_other_and_is_recorded_with_its_reason(workplace, features):
    features(odd=(np.ones((20, 3)), np.zeros(20, int)))
    results = tune_command(suite="texts.yaml", methods=["lp"], epochs=1, out=workplace / "r.json")
    assert {row.set for row in results.rows} == {"good"}
    (failed,) = results.failed
    assert (failed.set, failed.method) == ("odd", "lp")
    assert failed.reason.startswith("All 20 samples have the label 0")
    assert read_sealed_json(workplace / "r.json", FORMAT) == results.as_dict()


def test_a_method_that_fails_on_a_set_costs_no_other(workplace, features):
    features(flat=(np.ones((60, 3)), np.arange(60) % 3))
    results = tune_command(suite="texts.yaml", methods=["lp", "ridge"], epochs=1, out=workplace / "r.json")
    good = {("good", method) for method in ("lp", "ridge", "best-probe")}
    assert {(row.set, row.method) for row in results.rows} == {*good, ("flat", "lp")}
    assert [(one.set, one.method) for one in results.failed] == [("flat", "ridge")]


def test_a_damaged_set_is_no_missing_one_and_costs_no_other(workplace, features):
    features(odd=(np.ones((20, 3)), np.arange(20) % 2))
    (workplace / "odd.npy").write_bytes(b"")
    results = tune_command(suite="texts.yaml", methods=["lp"], epochs=1, out=workplace / "r.json")
    assert [(one.set, one.failed) for one in results.missing] == [("odd", True)]


def test_a_tuning_that_breaks_down_leaves_what_it_had(workplace, features, monkeypatch):
    features(second=(np.eye(3)[np.arange(30) % 3], np.arange(30) % 3))
    measured = Job.measure
    monkeypatch.setattr(
        Job, "measure", lambda job, device: 1 / 0 if job.data.downstream.name == "second" else measured(job, device)
    )
    with pytest.raises(ZeroDivisionError):
        tune_command(suite="texts.yaml", methods=["lp"], epochs=1, threads=1, out=workplace / "r.json")
    found = read_sealed_json(workplace / "r.json", FORMAT)
    assert {row["set"] for row in found["rows"]} == {"good"}
    assert [(one["set"], one["method"], one["failed"]) for one in found["missing"]] == [("second", "lp", True)]


def test_results_of_other_settings_are_not_replaced_unless_named(workplace, features):
    features()
    path = workplace / "tune" / "features" / "texts.json"
    tune_command(suite="texts.yaml", methods=["lp", "mlp"], epochs=2)
    before = path.read_bytes()
    for change, lost in (
        ({"epochs": 3}, "lp.epochs 2"),
        ({"label_noise": 0.5}, "label_noise 0 %"),
        ({"methods": ["lp"]}, "method mlp"),
        ({"fractions": [0.5]}, "fraction 1.0"),
    ):
        with pytest.raises(FastptError, match=f"{lost}.* would be lost.*texts-2.json"):
            tune_command(suite="texts.yaml", **({"methods": ["lp", "mlp"], "epochs": 2} | change))
        assert path.read_bytes() == before
    tune_command(suite="texts.yaml", methods=["lp", "mlp", "ridge"], epochs=2, num_seeds=2)
    assert path.read_bytes() != before
    tune_command(suite="texts.yaml", methods=["lp"], epochs=1, out=path)
    assert read_sealed_json(path, FORMAT)["config"]["epochs"] == 1


def test_a_second_suite_of_a_name_does_not_replace_the_first(workplace, features):
    features()
    tune_command(suite="texts.yaml", methods=["lp"], epochs=1)
    features(more=(np.eye(3)[np.arange(30) % 3], np.arange(30) % 3))  # of the good set, other numbers
    with pytest.raises(FastptError, match=r"id/good/train\.samples_id .* would be lost"):
        tune_command(suite="texts.yaml", methods=["lp"], epochs=1)


def test_results_are_not_written_over_what_is_none(workplace, features):
    features()
    for name in ("provenance.json", "other.json"):
        path = workplace / "runs" / "tiny-s0" / name
        path.write_text(before := '{"recipe": "tiny"}')
        with pytest.raises(FastptError, match="holds no tuning results"):
            tune_command(suite="texts.yaml", methods=["lp"], epochs=1, out=path)
        assert path.read_text() == before
