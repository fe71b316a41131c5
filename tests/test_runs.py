import json

import pytest

from fastpt.errors import FastptError
from fastpt.runs import read_run, read_runs
from tests.report.conftest import tune_results, write_run


def add_lines(run, *lines):
    with (run / "metrics.jsonl").open("a") as file:
        file.writelines(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)


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


def test_a_truncated_last_line_is_told_apart_from_damage(tmp_path):
    path = write_run(tmp_path)
    add_lines(path, '{"event": "train", "st')
    run = read_run(path)
    assert "the last line of metrics.jsonl is cut short and left out" in run.problems
    assert len(run.train) == 20
    add_lines(path, "\n", '{"event": "train"}\n')
    assert "2 of 27 lines of metrics.jsonl cannot be read and are left out" in read_run(path).problems


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
    add_lines(path, '{"event": "train", "step": 210, "loss": NaN}\n')
    assert "the training loss is not a finite number at 1 of 21 logged steps" in read_run(path).problems


def test_tuning_results_of_an_unknown_format_are_left_out_and_told(tmp_path):
    run = read_run(write_run(tmp_path, tune={**tune_results({}), "format": 3}))
    assert run.tunes == []
    assert any("demo.json has format 3" in problem for problem in run.problems)
