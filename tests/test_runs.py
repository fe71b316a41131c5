import json
import math
import os
import re
import shutil
from pathlib import Path

import pytest

from fastpt.errors import DamagedData, FastptError
from fastpt.files import seal_folder
from fastpt.runs import is_finished, read_metrics, read_provenance, read_recipe, read_run, read_runs, verify
from fastpt.runs.folder import CHECKPOINT_FORMAT, EXPORT_FORMAT, alone, newest_finished, newest_first
from fastpt.runs.records import write_records
from fastpt.tuned import FORMAT
from tests.report.conftest import add_lines, tune_results, write_run, write_tune


def test_a_whole_run_has_no_problems(tmp_path):
    run = read_run(write_run(tmp_path, rate=0.05, tune=tune_results({("id", "a", "a"): {"lp": [0.5]}})))
    assert run.problems == []
    assert (run.task, run.model, run.seed, run.kind, run.rate) == ("supervised", "resnet18", 0, "symmetric", 0.05)
    assert (run.last_step, run.seconds) == (200, pytest.approx(72))
    assert run.last_evals[0]["step"] == 200
    assert run.mean("data_wait") == pytest.approx(0.02)


def test_the_same_folder_is_read_once(tmp_path):
    path = write_run(tmp_path)
    assert [run.path for run in read_runs([path, path, tmp_path / "runs" / ".." / "runs" / path.name])] == [path]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: root / "nowhere", "does not exist"),
        (lambda root: root, "neither recipe.yaml nor provenance.json"),
        (lambda root: write_run(root).parent, "holds some, such as"),
        (lambda root: write_run(root) / "recipe.yaml", "is a file"),
    ],
)
def test_what_is_no_run_is_an_error_that_says_so(tmp_path, make, words):
    with pytest.raises(FastptError, match=words):
        read_run(make(tmp_path))


def test_no_runs_is_an_error():
    with pytest.raises(FastptError, match="none was given"):
        read_runs([])


@pytest.mark.parametrize("missing", ["recipe.yaml", "provenance.json", "metrics.jsonl"])
@pytest.mark.parametrize("how", ["absent", "damaged"])
def test_a_missing_or_damaged_file_is_a_problem_that_names_it(tmp_path, missing, how):
    path = write_run(tmp_path)
    (path / missing).unlink() if how == "absent" else (path / missing).write_text("{]: \x00")
    problems = read_run(path).problems
    assert any(missing in problem for problem in problems)


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: " + 3000 * "["])
def test_a_recipe_without_an_end_is_a_problem(tmp_path, text):
    run = write_run(tmp_path)
    (run / "recipe.yaml").write_text(text)
    assert any("recipe.yaml is left out" in problem for problem in read_run(run).problems)


def test_a_damaged_last_line_that_was_written_whole_is_no_kill(tmp_path):
    path = write_run(tmp_path)
    lines = (path / "metrics.jsonl").read_text()
    (path / "metrics.jsonl").write_text(lines.replace('"end"', '"and"'))
    with pytest.raises(DamagedData, match="line 25 is not as it was written"):
        is_finished(path)


def test_a_last_line_that_a_kill_cut_short_is_told_by_verify(whole):
    text = (whole / "metrics.jsonl").read_text()
    (whole / "metrics.jsonl").write_text(text[:-5])
    (problem,) = verify(whole)
    assert "last line is cut short" in problem


def test_a_line_of_metrics_with_another_number_is_damaged(tmp_path):
    path = write_run(tmp_path)
    lines = (path / "metrics.jsonl").read_text()
    (path / "metrics.jsonl").write_text(lines.replace('"step": 50', '"step": 51', 1))
    assert "1 of 25 lines of metrics.jsonl are damaged and are left out" in read_run(path).problems
    with pytest.raises(DamagedData, match="line 5 is not as it was written"):
        read_metrics(path)


def test_a_truncated_last_line_is_told_apart_from_damage(tmp_path):
    path = write_run(tmp_path)
    add_lines(path, '{"event": "train", "st')
    run = read_run(path)
    assert "the last line of metrics.jsonl is cut short and left out" in run.problems
    assert len(run.train) == 20
    add_lines(path, "\n", '{"event": "train"}\n')
    assert "2 of 27 lines of metrics.jsonl are damaged and are left out" in read_run(path).problems


def test_a_resumed_run_shows_each_step_once(tmp_path):
    path = write_run(tmp_path)
    add_lines(path, {"event": "train", "step": 150, "loss": 9.0}, {"event": "eval", "step": 150, "split": "val"})
    run = read_run(path)
    assert [record["step"] for record in run.train] == [*range(10, 150, 10), 150]
    assert [record["step"] for record in run.evals] == [50, 100, 150]
    assert run.train[-1]["loss"] == 9.0
    assert run.end is None
    assert "training has not ended: the log stops at step 150" in run.problems


def test_a_loss_that_is_no_number_is_told(tmp_path):
    path = write_run(tmp_path)
    add_lines(path, {"event": "train", "step": 210, "loss": math.nan})
    assert "the training loss is not a finite number at 1 of 21 logged steps" in read_run(path).problems


def test_what_changed_on_the_way_is_told(tmp_path):
    path = write_run(tmp_path)
    recipe, provenance = read_recipe(path), read_provenance(path)
    starts = [
        {"step": 40, "git": "0123abc", "changes": ["log_every was 10, is 1", "data.noise was None, is 0.1"]},
        {"step": 80, "git": "4567def", "changes": []},
    ]
    write_records(path, recipe, {**provenance, "resumed": starts})
    run = read_run(path)
    assert run.over_starts("git") == ["0123abc", "4567def"]
    told = [problem for problem in run.problems if "trained otherwise" in problem]
    assert told == ["trained otherwise from step 40 on: data.noise was None, is 0.1"]


def test_a_split_that_was_replaced_since_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_run(tmp_path, train="data/train")
    recipe, provenance = read_recipe(path), read_provenance(path)
    val = {"data": "data/val", "samples_id": "a1" * 32, "images_id": "b2" * 32}
    write_records(path, recipe, {**provenance, "measured_on": {"data.val": val}})
    splits = {"data/train": {"samples_id": provenance["samples_id"]}, "data/val": val}
    for folder, ids in splits.items():
        Path(folder).mkdir(parents=True)
        Path(folder, "dataset.json").write_text(json.dumps(ids))
    assert not any("holds other" in problem for problem in read_run(path).problems)
    Path("data/val/dataset.json").write_text(json.dumps({**val, "images_id": "c3" * 32}))
    told = [problem for problem in read_run(path).problems if "holds other" in problem]
    assert told == ["data/val holds other pictures now than those that are recorded"]


def test_tuning_results_of_an_unknown_format_are_left_out_and_told(tmp_path):
    run = read_run(write_run(tmp_path, tune={**tune_results({}), "format": 3}))
    assert run.tunes == []
    assert any(f"demo.json has format 3, not '{FORMAT}', and is left out" in problem for problem in run.problems)


def test_checkpoints_are_those_with_the_name_of_one(tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    for name in ("step-00000009", "step-100000000", "step-00000009.bak", "step-²0000009", ".step-00000010.tmp"):
        (run / "checkpoints" / name).mkdir()
    assert [path.name for path in newest_first(run)] == ["step-100000000", "step-00000009"]


def test_two_trainings_do_not_write_to_one_folder(tmp_path):
    with alone(tmp_path / "run"), pytest.raises(FastptError, match="another training is writing to"):
        alone(tmp_path / "run").__enter__()


def test_metrics_read_strictly_allow_a_last_line_cut_short_alone(tmp_path):
    run = write_run(tmp_path)
    assert is_finished(run)
    add_lines(run, '{"event": "tra')
    assert len(read_metrics(run)) == 25
    add_lines(run, "\n")
    add_lines(run, {"event": "end", "step": 200})
    with pytest.raises(DamagedData, match="line 26 is not as it was written"):
        read_metrics(run)


def test_the_newest_finished_run_is_the_one_exported_last(tmp_path):
    for seconds, name in ((1, "b"), (2, "a")):
        export = tmp_path / name / "export"
        export.mkdir(parents=True)
        (export / "config.json").touch()
        os.utime(export / "config.json", (seconds, seconds))
    (tmp_path / "unfinished").mkdir()
    assert newest_finished(tmp_path) == tmp_path / "a"
    with pytest.raises(FastptError, match="no finished run"):
        newest_finished(tmp_path / "elsewhere")


@pytest.fixture
def whole(tmp_path):
    """A finished run with two checkpoints, an export and results."""
    run = write_run(tmp_path)
    for name in ("checkpoints/step-00000100", "checkpoints/step-00000200", "export"):
        (run / name).mkdir(parents=True, exist_ok=True)
        (run / name / "manifest.json").unlink(missing_ok=True)
        for file in ("model.safetensors", "other.json"):
            (run / name / file).write_text(name)
        seal_folder(run / name, EXPORT_FORMAT if name == "export" else CHECKPOINT_FORMAT)
    write_tune(run, tune_results({("id", "a", "a"): {"lp": [0.5]}}))
    return run


def test_a_whole_run_is_as_it_was_written(whole):
    assert verify(whole) == []


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("checkpoints/step-00000100/model.safetensors", "step-00000100: model.safetensors does not match"),
        ("checkpoints/step-00000200/manifest.json", "step-00000200: .*manifest.json is damaged"),
        ("export/other.json", "export: other.json does not match"),
        ("tune/demo.json", r"tune/demo\.json (does not match|is damaged)"),
        ("recipe.yaml", r"recipe\.yaml is damaged"),
        ("provenance.json", r"provenance\.json is damaged"),
        ("metrics.jsonl", r"metrics\.jsonl is damaged"),
    ],
)
def test_each_damaged_file_of_a_run_is_named(whole, file, said):
    (whole / file).write_text("[\n" + (whole / file).read_text())
    (problem,) = verify(whole)
    assert re.search(said, problem)


def test_every_damaged_file_is_named_not_only_the_first(whole):
    for name in ("model.safetensors", "other.json"):
        (whole / "checkpoints" / "step-00000100" / name).write_text("")
        (whole / "export" / name).unlink()
    assert len(verify(whole)) == 4


def test_a_finished_run_without_its_export_is_not_whole(whole):
    shutil.rmtree(whole / "export")
    (problem,) = verify(whole)
    assert "export: manifest.json is missing" in problem


def test_results_that_were_changed_are_not_reported(whole):
    path = whole / "tune" / "demo.json"
    path.write_text(path.read_text().replace("0.5", "0.9"))
    run = read_run(whole)
    assert run.tunes == []
    assert any("tune/demo.json is not as `fastpt tune` wrote it" in problem for problem in run.problems)
