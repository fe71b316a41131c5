"""A study of tiny trainings: 40 made-up pictures, two rates, and a recipe that cannot be trained."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import filelock
import pytest
import yaml
from click.testing import CliRunner

from fastpt.cli import main
from fastpt.errors import FastptError, Preempted, RecipeError
from fastpt.files import read_sealed_json, write_sealed_json
from fastpt.study import run as study_run
from fastpt.study.declaration import load_study
from fastpt.study.grid import RECORD_FORMAT, StudyGrid
from fastpt.study.table import steps_table, text_table
from fastpt.study.work import FASTPT

CLASSIFIER = {
    "task": "supervised",
    "model": {"name": "resnet10_half", "args": {"channels": [8, 8, 16, 16]}},
    "optim": {"name": "adamw", "lr": 0.01},
    "schedule": {"epochs": 1},
    "batch_size": 8,
    "engine": {"precision": "fp32"},
}


@pytest.fixture(scope="module")
def study(tmp_path_factory, captioned):
    """A study run once, in a folder of its own: what it said, and the error that it ended with."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "data").mkdir()
    shutil.copytree(captioned.path, folder / "data" / "train")
    files = {
        "tiny.yaml": {**CLASSIFIER, "data": {"train": "data/train", "val": "data/train", "size": 32, "threads": 1}},
        "downstream.yaml": {
            "name": "downstream",
            "id": [
                {"name": "pictures", "train": "data/train", "test": "data/train"},
                {"name": "absent", "train": "data/absent", "test": "data/absent"},
            ],
        },
        "study.yaml": {
            "name": "tiny",
            "pretrain": [
                {
                    "recipe": "tiny.yaml",
                    "set": ["batch_size=1000"],
                    "rates": [0],
                    "seeds": [0],
                    "suites": ["downstream.yaml"],
                },
                {"recipe": "tiny.yaml", "rates": [0, 0.25], "seeds": [0], "suites": ["downstream.yaml"]},
            ],
            "tune": {"methods": ["mlp"], "num_seeds": 2, "options": ["--epochs", "2"]},
        },
    }
    for name, values in files.items():
        (folder / name).write_text(yaml.safe_dump(values))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        said: list[str] = []
        with pytest.raises(FastptError) as error:
            study_run.run_study(StudyGrid(load_study(Path("study.yaml"))), said.append)
    return folder, said, str(error.value)


@pytest.fixture
def here(study, monkeypatch):
    """In the folder of the study that was run."""
    monkeypatch.chdir(study[0])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def plan(**changes) -> StudyGrid:
    values = yaml.safe_load(Path("study.yaml").read_text())
    path = Path("changed.yaml")
    path.write_text(yaml.safe_dump({**values, **changes}))
    return StudyGrid(load_study(path))


def states(plan: StudyGrid) -> list[str]:
    return [row.state for row in steps_table(plan)]


def test_a_step_that_fails_takes_down_only_what_needs_it(study, here):
    _, _, error = study
    assert states(plan()) == ["failed", "to do", "done", "done", "done", "done"]
    assert error.startswith("1 step(s) failed:\n  train tiny-clean-s0-")


def test_what_a_failed_step_printed_is_told_and_kept(study):
    _, said, _ = study
    told = next(line for line in said if "failed with exit code 2" in line)
    assert "batch_size 1000 is more than the 40 samples" in told


def test_the_report_is_written_of_what_is_there(study, here):
    assert "on 2 of 3 runs" in study[1][-1]
    page = Path("studies/tiny/report.html").read_text()
    assert "tiny-symmetric-0.25-seed0-s0" in page
    assert all(row.step in page for row in steps_table(plan()))  # with its cost, or that it failed


def test_the_report_alone_runs_nothing(here):
    page, before = Path("studies/tiny/report.html"), {*Path("studies/tiny").glob("[rs]*/*")}
    page.unlink()
    result = CliRunner().invoke(main, ["study", "report", "study.yaml"])
    assert (result.exit_code, result.stdout) == (0, f"report: {page}\n")
    assert "tiny-symmetric-0.25-seed0-s0" in page.read_text()
    assert {*Path("studies/tiny").glob("[rs]*/*")} == before


def test_the_report_alone_is_by_the_declaration_on_record(here):
    plan(tune={"methods": ["mlp"], "num_seeds": 3})
    result = CliRunner().invoke(main, ["study", "report", "changed.yaml"])
    assert result.exit_code == 1
    assert "declares otherwise than is recorded there" in str(result.exception) + result.output
    result = CliRunner().invoke(main, ["study", "report", "study.yaml", "--out", "studies/none"])
    assert "was never declared" in str(result.exception) + result.output


def test_noise_plans_that_are_missing_are_made(study, here):
    assert Path("data/train/noise/symmetric-0.25-seed0.json").exists()


def test_nothing_that_is_done_is_done_again(here, monkeypatch):
    whole = plan(pretrain=plan().study.model_dump()["pretrain"][1:])
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a step was run"))
    study_run.run_study(whole, lambda _: None)


@pytest.mark.parametrize("change", [lambda text: "[]", lambda text: text.replace('"seconds": ', '"seconds": 1')])
def test_a_step_whose_record_is_damaged_counts_as_not_done_and_is_told(here, capsys, change):
    step = plan().cells[1].train
    path = plan().record_path(step)
    text = path.read_text()
    path.write_text(change(text))
    try:
        assert states(plan()) == ["failed", "to do", "to do", "done", "done", "done"]
    finally:
        path.write_text(text)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"study: {path} is damaged")


def test_a_changed_recipe_trains_and_tunes_anew(here):
    one = {"recipe": "tiny.yaml", "rates": [0], "seeds": [0], "suites": ["downstream.yaml"]}
    assert states(plan(pretrain=[one])) == ["done", "done"]
    assert states(plan(pretrain=[{**one, "set": ["optim.lr=0.02"]}])) == ["to do", "to do"]


def test_changed_tuning_tunes_anew_and_trains_nothing(here):
    assert states(plan(tune={"methods": ["mlp"], "num_seeds": 3})) == [
        "failed",
        "to do",
        "done",
        "to do",
        "done",
        "to do",
    ]


def test_other_pictures_under_the_same_names_are_trained_and_tuned_on_anew(here):
    path = Path("data/train/dataset.json")
    before = path.read_bytes()
    manifest = read_sealed_json(path, json.loads(before)["format"])
    write_sealed_json(path, {**manifest, "images_id": "0" * 64})
    try:
        assert states(plan()) == ["to do"] * 6
    finally:
        path.write_bytes(before)


def test_two_suites_of_one_name_are_refused(here):
    shutil.copy("downstream.yaml", "other.yaml")
    one = {"recipe": "tiny.yaml", "rates": [0], "seeds": [0], "suites": ["downstream.yaml", "other.yaml"]}
    with pytest.raises(RecipeError, match=r"suites downstream.yaml and other.yaml are both called 'downstream'"):
        plan(pretrain=[one])


def test_a_set_that_comes_later_is_tuned_on(here):
    shutil.copytree("data/train", "data/absent")
    try:
        assert states(plan()) == ["failed", "to do", "done", "to do", "done", "to do"]
    finally:
        shutil.rmtree("data/absent")


def test_results_that_were_deleted_are_made_again(here):
    cell = plan().cells[1]
    kept = cell.tunings[0].result.rename("kept.json")
    assert states(plan())[2:4] == ["done", "to do"]
    kept.rename(cell.tunings[0].result)


LIGHT = ("tar", "--exclude=checkpoints", "--exclude=tensorboard", "--exclude=*.safetensors", "--exclude=*.parquet")


def test_a_study_of_which_only_what_is_light_is_left_is_done_and_has_the_same_page(here, tmp_path, monkeypatch):
    shutil.copytree(".", tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    packed = [*LIGHT, "-cf", "../light.tar", "studies"]
    subprocess.run(packed, check=True)
    shutil.rmtree("studies")
    subprocess.run(["tar", "-xf", "../light.tar"], check=True)
    assert not [*Path("studies").rglob("*.safetensors")]
    whole = plan(pretrain=plan().study.model_dump()["pretrain"][1:])
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a step was run"))
    rows = Path("studies/tiny/report_files/rows.csv")
    before = rows.read_bytes()
    study_run.run_study(whole, lambda _: None)
    assert rows.read_bytes() == before
    assert not re.search("cannot be held against|left out", Path("studies/tiny/report.html").read_text())


def test_what_is_to_do_is_expected_to_take_what_its_like_took(here):
    more = plan(pretrain=[{"recipe": "tiny.yaml", "rates": [0, 0.25], "seeds": [0, 1], "suites": []}])
    done, to_do = steps_table(more)[0], steps_table(more)[2]
    assert (done.state, to_do.state) == ("done", "to do")
    assert to_do.seconds == pytest.approx((done.seconds + steps_table(more)[1].seconds) / 2)


def test_a_step_that_was_paused_makes_no_other_look_long(here):
    grid = StudyGrid(load_study(Path("study.yaml")), Path("elsewhere"))
    (grid.folder / "steps").mkdir(parents=True)
    for number, seconds in enumerate((60.0, 62.0, 40_000.0)):
        record = {"format": RECORD_FORMAT, "key": "", "kind": "train", "group": "paused", "seconds": seconds}
        write_sealed_json(grid.folder / "steps" / f"{number}.json", {**record, "bytes": 10})
    assert grid.usual_costs()["train", "paused"] == {"seconds": 62.0, "bytes": 10}


def test_a_second_study_in_the_folder_is_refused(here):
    with filelock.FileLock("studies/tiny/.lock"), pytest.raises(FastptError, match="another `fastpt study` is at work"):
        study_run.run_study(plan(), lambda _: None)


def test_everything_that_the_grid_misnames_is_told_at_once(here):
    wrong = {"recipe": "none.yaml", "rates": [0.1, 0.1, 5], "seeds": [0], "suites": ["nothing"], "kind": "symetric"}
    with pytest.raises(RecipeError) as error:
        plan(name="a/b", pretrain=[wrong], tune={"methods": ["nmtun"]})
    for part in (
        "'a/b' is no plain folder name",
        "none.yaml",
        "names something twice",
        "write 0.05",
        "'nothing'",
        "did you mean symmetric",
        "did you mean nmtune",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(("run", "said"), [("prep demo --out 'my data", "No closing quotation"), (" ", "is empty")])
def test_a_preparation_that_a_shell_would_not_read_is_told(here, run, said):
    with pytest.raises(RecipeError, match=rf"prepare\.run.*{said}"):
        plan(prepare=[{"run": run, "makes": ["data/train"]}])


def test_a_seed_that_cannot_be_is_told(here):
    with pytest.raises(RecipeError, match=r"pretrain\.0\.seeds\.1 is -1"):
        plan(pretrain=[{"recipe": "tiny.yaml", "rates": [0], "seeds": [0, -1]}])


def test_a_recipe_of_several_splits_is_told(here):
    both = "data.train=[{path: data/train}, {path: data/train}]"
    clip = ["task=clip", both, "model={name: RN50}"]
    with pytest.raises(FastptError, match="trains on several splits, but a study on one"):
        _ = plan(pretrain=[{"recipe": "tiny.yaml", "set": clip, "rates": [0], "seeds": [0]}]).cells


def test_a_plan_of_a_kind_that_needs_a_file_must_be_there(here):
    with pytest.raises(FastptError, match=r"no noise plan 'asymmetric-0\.25-seed0'"):
        _ = plan(pretrain=[{"recipe": "tiny.yaml", "kind": "asymmetric", "rates": [0.25], "seeds": [0]}]).cells


def test_a_kind_that_does_not_change_what_the_task_learns_from_is_told(here):
    one = {"recipe": "tiny.yaml", "kind": "pairswap", "rates": [0.25], "seeds": [0]}
    with pytest.raises(
        RecipeError, match=r"pretrain.0: pairswap noise changes captions, but tiny.yaml trains on labels"
    ):
        plan(pretrain=[one])


def test_noise_that_has_the_rate_of_its_file_is_no_part_of_a_grid(here):
    one = {"recipe": "tiny.yaml", "kind": "external", "rates": [0.25], "seeds": [0]}
    with pytest.raises(RecipeError, match=r"external noise has the rate of its file.*name that in plans"):
        plan(pretrain=[one])


def test_status_does_not_wait_for_torch(here):
    code = "import sys; from fastpt.cli import main; main(sys.argv[1:], standalone_mode=False); print(*sys.modules)"
    words = [sys.executable, "-c", code, "study", "status", "study.yaml"]
    printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert "torch" not in printed.splitlines()[-1].split()


def test_status_and_dry_run_run_nothing(here):
    for words in (["status", "study.yaml"], ["study.yaml", "--dry-run"], ["--dry-run", "study.yaml"]):
        result = CliRunner().invoke(main, ["study", *words])
        assert result.exit_code == 0, result.output
        assert "4 of 6 steps done" in result.output
    rows = json.loads(CliRunner().invoke(main, ["study", "status", "study.yaml", "--json"]).output)
    assert [row["state"] for row in rows] == ["failed", "to do", "done", "done", "done", "done"]


def test_a_dry_run_of_one_cell_is_refused(here):
    result = CliRunner().invoke(main, ["study", "study.yaml", "--dry-run", "--cell", "1"])
    assert result.exit_code == 2
    assert "leave --cell out" in result.output


def test_a_cell_that_is_not_there_is_refused_before_plans_are_made(here):
    plans = set(Path("data/train/noise").iterdir())
    grid = StudyGrid(plan(pretrain=[{"recipe": "tiny.yaml", "rates": [0, 0.4], "seeds": [0]}]).study)
    with pytest.raises(FastptError, match="--cell 99 is not in the grid: it has cells 0 to 1"):
        study_run.run_one(grid, 99, lambda _: None)
    assert set(Path("data/train/noise").iterdir()) == plans


def test_data_that_is_missing_is_told_with_the_recipes_way_to_make_it(here):
    gone = {"recipe": "tiny.yaml", "set": ["data.train=gone", "data.prep=fastpt prep demo"], "rates": [0], "seeds": [0]}
    with pytest.raises(FastptError, match=r"gone is not there\. Prepare it: fastpt prep demo"):
        _ = plan(pretrain=[gone]).cells


def test_looking_makes_no_noise_plan(here):
    plans = set(Path("data/train/noise").iterdir())
    one = {"recipe": "tiny.yaml", "rates": [0, 0.5], "seeds": [0]}
    looked = StudyGrid(plan(pretrain=[one]).study, look_only=True)
    assert states(looked) == ["done", "to do"]
    assert looked.cells[1].train.name.startswith("tiny-symmetric-0.5-seed0-s0-")
    assert set(Path("data/train/noise").iterdir()) == plans


def test_a_preparation_that_fails_stops_the_study(here, capfd):
    broken = plan(prepare=[{"run": "prep imagefolder --source nowhere", "makes": ["data/nowhere/train"]}])
    with pytest.raises(FastptError, match="`fastpt prep imagefolder --source nowhere` failed"):
        study_run.run_study(broken, lambda _: None)


LONG = {"recipe": "tiny.yaml", "set": ["schedule.epochs=2000"], "rates": [0], "seeds": [0, 1]}


def test_sigterm_goes_on_to_all_trainings_at_work_which_save_themselves(here):
    runs = [cell.train.result.parent for cell in plan(pretrain=[LONG]).cells]
    study = subprocess.Popen([*FASTPT, "study", "changed.yaml", "--jobs", "2"], stderr=subprocess.PIPE, text=True)
    while not all((run / "metrics.jsonl").exists() for run in runs) and study.poll() is None:
        time.sleep(0.05)
    study.terminate()
    _, told = study.communicate(timeout=60)
    assert study.returncode == 75, told
    assert re.search("stopped by SIGTERM in train tiny-clean-s0-.* and train tiny-clean-s1-", told)
    assert all(list((run / "checkpoints").glob("step-*")) for run in runs)
    assert states(plan(pretrain=[LONG])) == ["to do", "to do"]


def test_a_study_stops_when_its_time_is_over(here):
    long = plan(pretrain=[LONG])
    with pytest.raises(Preempted, match=r"stopped after 1 s in train tiny-clean-s0-.*\. The same command goes on"):
        study_run.run_study(long, lambda _: None, seconds=1)
    assert states(long) == ["to do", "to do"]


@pytest.mark.parametrize("time", ["150", "2 h", "0m", "1.5h", "m", "-1s"])
def test_a_time_has_a_number_and_a_unit(here, time):
    told = CliRunner().invoke(main, ["study", "study.yaml", "--for", time])
    assert told.exit_code == 2
    assert "Write a whole number with its unit" in told.output


def test_jobs_and_a_time_are_for_a_study_run_here(here):
    assert CliRunner().invoke(main, ["study", "study.yaml", "--cell", "0", "--jobs", "2"]).exit_code == 2


def test_totals_of_steps_never_timed_say_so(here):
    never = plan(pretrain=[{"recipe": "tiny.yaml", "rates": [0], "seeds": [5], "suites": []}])
    rows = [dataclasses.replace(row, seconds=None, bytes=None) for row in steps_table(never)]
    assert "1 of 1 steps to do: not yet timed here" in text_table(rows, never.folder)


def test_ray_does_the_cells_that_are_not_done(here):
    pytest.importorskip("ray")
    whole = plan(pretrain=plan().study.model_dump()["pretrain"][1:])
    tuned = whole.cells[0].tunings[0]
    before = json.loads(tuned.result.read_bytes())["rows"]
    whole.record_path(tuned).unlink()
    study_run.run_on_ray(whole, Path("changed.yaml"), "local", lambda _: None)
    assert states(whole) == ["done"] * 4
    assert json.loads(tuned.result.read_bytes())["rows"] == before


def test_two_studies_of_one_name_do_not_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, mine, yours = Path("studies/one"), Path("mine.yaml"), Path("yours.yaml")
    for file in (mine, yours):
        file.touch()
    study_run.claim_folder(folder, mine)
    study_run.claim_folder(folder, mine)
    with pytest.raises(FastptError, match=r"studies/one holds the study of .*mine\.yaml.*another name.*--out"):
        study_run.claim_folder(folder, yours)
    mine.rename("moved.yaml")
    study_run.claim_folder(folder, Path("moved.yaml"))


def test_a_copy_of_the_folder_that_a_study_was_begun_in_goes_on(tmp_path, monkeypatch):
    (tmp_path / "clone").mkdir()
    monkeypatch.chdir(tmp_path / "clone")
    Path("study.yaml").touch()
    study_run.claim_folder(Path("studies/one"), Path("study.yaml"))
    shutil.copytree(tmp_path / "clone", tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    study_run.claim_folder(Path("studies/one"), Path("study.yaml"))
