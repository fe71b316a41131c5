"""How a run begins and goes on, and what is recorded of it."""

import shutil

import pytest

from fastpt.errors import DamagedData, FastptError
from fastpt.files import write_sealed_json
from fastpt.runs import is_finished, read_metrics, read_provenance, read_recipe, read_run, records, verify
from fastpt.runs.folder import PROVENANCE_FORMAT
from fastpt.runs.records import write_records
from fastpt.training.starts import begin, go_on
from tests.report.conftest import add_lines

MACHINE = {"command": "fastpt train a", "git": "abc", "versions": {"torch": "2"}, "world_size": 1, "device": "CPU"}
MACHINE |= {"precision": "fp32", "settings_sha256": "e5"}
RECIPE = {"task": "supervised", "data": {"train": "data/a", "threads": 2}, "optim": {"lr": 0.1}, "log_every": 10}
PROVENANCE = {"samples_id": "a1" * 32, "images_id": "d4" * 32, "noise": None, "recipe": "a", **MACHINE}


def begun(run, checkpoints=1, recipe=RECIPE):
    begin(run, recipe, PROVENANCE, resume=False)
    for step in range(checkpoints):
        (run / "checkpoints" / f"step-{step:08d}").mkdir()
    return run


def contents(run):
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_run_begins_anew_while_it_has_no_checkpoint(tmp_path):
    run = begun(tmp_path / "run", checkpoints=0)
    add_lines(run, {"event": "train", "step": 1})
    assert begin(run, {**RECIPE, "log_every": 1}, PROVENANCE, resume=False) == []
    assert read_run(run).recipe["log_every"] == 1
    assert read_provenance(run) == PROVENANCE
    assert read_metrics(run) == []


def test_a_run_with_checkpoints_begins_only_to_resume(tmp_path):
    run = begun(tmp_path / "run")
    with pytest.raises(FastptError, match="Go on with --resume"):
        begin(run, RECIPE, PROVENANCE, resume=False)
    assert begin(run, RECIPE, PROVENANCE, resume=True) == []


def test_a_finished_run_without_checkpoints_does_not_begin_anew(tmp_path):
    run = begun(tmp_path / "run", checkpoints=0)
    add_lines(run, {"event": "end", "step": 200})
    with pytest.raises(FastptError, match="name another --run-dir"):
        begin(run, RECIPE, PROVENANCE, resume=False)
    assert begin(run, RECIPE, PROVENANCE, resume=True) == []
    assert is_finished(run)


@pytest.mark.parametrize("odd", [{}, {"samples_id": 5, "noise": None}, {"samples_id": "a1" * 32, "noise": [1]}])
def test_a_provenance_that_does_not_say_what_was_trained_on_is_damaged(tmp_path, odd):
    run = begun(tmp_path / "run")
    write_sealed_json(run / "provenance.json", {"format": PROVENANCE_FORMAT, **odd})
    with pytest.raises(DamagedData, match=r"provenance\.json"):
        begin(run, RECIPE, PROVENANCE, resume=True)


def test_of_several_splits_only_what_differs_is_told(tmp_path):
    several = [{"path": "data/a", "weight": 1}, {"path": "data/b", "weight": 1}]
    recipes = [{**RECIPE, "data": {"train": [several[0], {**several[1], "weight": weight}]}} for weight in (1, 2)]
    begin(tmp_path / "run", recipes[0], PROVENANCE, resume=False)
    (tmp_path / "run" / "checkpoints" / "step-00000001").mkdir()
    other = {**PROVENANCE, "samples_id": "b2" * 32}
    found = begin(tmp_path / "run", recipes[1], other, resume=True, allow_changes=True)
    assert found == [
        "data.train.1.weight was 1, is 2",
        "samples_id of data.train was a1a1a1a1a1a1, is b2b2b2b2b2b2",
    ]


@pytest.mark.parametrize(
    ("recipe", "provenance", "words"),
    [
        ({"optim": {"lr": 0.2}}, {}, "optim.lr was 0.1, is 0.2"),
        ({"ema": 0.9}, {}, "ema was None, is 0.9"),
        ({"evaluate": {"flip": True}}, {}, "evaluate.flip was None, is True"),  # measures would mean something else
        ({}, {"samples_id": "b2" * 32}, "samples_id of data/a was a1a1a1a1a1a1, is b2b2b2b2b2b2"),
        ({}, {"images_id": "b2" * 32}, "images_id of data/a was d4d4d4d4d4d4, is b2b2b2b2b2b2"),
        ({}, {"noise": {"plan": "swap", "array_sha256": "c3" * 32}}, "the noise plan was none, is swap c3c3c3c3c3c3"),
    ],
)
def test_what_differs_keeps_a_run_from_resuming_unless_changes_are_allowed(tmp_path, recipe, provenance, words):
    run = begun(tmp_path / "run")
    changed = {**RECIPE, **recipe}, {**PROVENANCE, **provenance}
    with pytest.raises(FastptError, match=f"cannot be resumed: {words}"):
        begin(run, *changed, resume=True)
    assert begin(run, *changed, resume=True, allow_changes=True) == [words]
    assert (read_recipe(run), read_provenance(run)) == (RECIPE, PROVENANCE)  # nothing has been trained yet
    go_on(run, *changed, step=4)
    assert read_recipe(run) == changed[0]
    start = {"step": 4, **MACHINE, "changes": [words]}
    assert read_provenance(run) == {**changed[1], "resumed": [start]}
    assert begin(run, *changed, resume=True) == []


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        (
            {"optim": {"lr": 0.1, "name": "adamw"}},
            {"optim": {"lr": 0.1, "name": "sgd"}},
            "optim.name was 'adamw', is 'sgd'",
        ),
        ({"engine": {"zero_stage": 1}}, {"engine": {"zero_stage": 0}}, "engine.zero_stage was 1, is 0"),
        (
            {"optim": {"lr": 0.1, "weight_decay": 0.0}},
            {"optim": {"lr": 0.1, "weight_decay": 0.1}},
            "optim.weight_decay was 0.0, is 0.1",
        ),
    ],
)
def test_an_optimizer_of_another_make_is_refused_even_where_changes_are_allowed(tmp_path, was, now, told):
    run = begun(tmp_path / "run")
    (run / "checkpoints" / "step-00000004").mkdir(parents=True)
    write_records(run, {**RECIPE, **was}, PROVENANCE)
    with pytest.raises(FastptError, match=f"{told}, and its checkpoints hold an optimizer made otherwise"):
        begin(run, {**RECIPE, **now}, PROVENANCE, resume=True, allow_changes=True)


def test_a_finished_run_keeps_its_record_also_where_changes_are_allowed(tmp_path):
    run = begun(tmp_path / "run")
    add_lines(run, {"event": "end", "step": 200})
    with pytest.raises(FastptError, match="is finished, and differs: task was 'supervised', is 'clip'"):
        begin(run, {**RECIPE, "task": "clip"}, PROVENANCE, resume=True, allow_changes=True)
    assert read_provenance(run) == PROVENANCE


def test_what_does_not_touch_the_weights_may_change(tmp_path):
    run = begun(tmp_path / "run")
    data = {"train": "data/a", "threads": 8, "prep": "fastpt prep demo"}
    free = {**RECIPE, "data": data, "log_every": 1, "checkpoint": {"keep": 9}}
    assert begin(run, free, PROVENANCE, resume=True) == []


def test_a_damaged_recipe_keeps_a_run_from_resuming(tmp_path):
    run = begun(tmp_path / "run")
    (run / "recipe.yaml").write_text("a: [")
    with pytest.raises(DamagedData, match=r"recipe\.yaml is damaged"):
        begin(run, RECIPE, PROVENANCE, resume=True)


def test_each_start_is_recorded_beside_the_first(tmp_path):
    run = begun(tmp_path / "run")
    second = {**MACHINE, "command": "fastpt train a --resume", "git": "def", "world_size": 8, "precision": "bf16"}
    go_on(run, {**RECIPE, "log_every": 1}, {**PROVENANCE, **second}, step=4)
    go_on(run, {**RECIPE, "log_every": 1}, PROVENANCE, step=6)
    found = read_provenance(run)
    assert {key: found[key] for key in PROVENANCE} == PROVENANCE
    assert found["resumed"] == [
        {"step": 4, **second, "changes": ["log_every was 10, is 1"]},
        {"step": 6, **MACHINE, "changes": []},
    ]
    assert read_recipe(run)["log_every"] == 1
    assert read_run(run).over_starts("world_size") == [1, 8]


def test_a_split_that_is_measured_on_and_replaced_is_another_training(tmp_path):
    val = {"data": "data/val", "samples_id": "a1" * 32, "images_id": "b2" * 32}
    begin(tmp_path / "run", RECIPE, {**PROVENANCE, "measured_on": {"data.val": val}}, resume=False)
    (tmp_path / "run" / "checkpoints" / "step-00000001").mkdir()
    replaced = {**PROVENANCE, "measured_on": {"data.val": {**val, "images_id": "c3" * 32}}}
    with pytest.raises(FastptError, match="images_id of data/val was b2b2b2b2b2b2, is c3c3c3c3c3c3"):
        begin(tmp_path / "run", RECIPE, replaced, resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_an_export_without_checkpoints_is_not_overwritten(tmp_path, resume):
    run = begun(tmp_path / "run", checkpoints=0)
    (run / "export").mkdir()
    before = contents(run)
    with pytest.raises(FastptError, match=r"export.*another --run-dir"):
        begin(run, RECIPE, PROVENANCE, resume)
    assert contents(run) == before


CONSTANT = {**RECIPE, "schedule": {"epochs": 2, "min_lr": 0.1}}


@pytest.mark.parametrize(
    ("then", "now", "may"),
    [
        (CONSTANT, {"epochs": 3, "min_lr": 0.1}, True),
        (CONSTANT, {"epochs": 1, "min_lr": 0.1}, False),
        (CONSTANT, {"steps": 30, "min_lr": 0.1}, False),
        (CONSTANT, {"epochs": 3, "min_lr": 0.0}, False),
        ({**RECIPE, "schedule": {"epochs": 2, "min_lr": 0.0}}, {"epochs": 3, "min_lr": 0.0}, False),
        ({**RECIPE, "schedule": {"epochs": 2, "min_lr": 0.0}}, {"epochs": 3, "min_lr": 0.1}, False),
        (CONSTANT, {"epochs": 3, "min_lr": 0.1, "warmup_steps": 3}, False),
    ],
)
def test_a_finished_run_is_trained_on_only_at_a_constant_rate(tmp_path, then, now, may):
    run = begun(tmp_path / "run", recipe=then)
    add_lines(run, {"event": "end", "step": 200})
    before = contents(run)
    longer = {**then, "schedule": now}
    if may:
        with pytest.raises(FastptError, match=r"schedule\.epochs was 2, is 3.*--allow-changes"):
            begin(run, longer, PROVENANCE, resume=True)
        changes = begin(run, longer, PROVENANCE, resume=True, allow_changes=True)
        assert changes == ["schedule.epochs was 2, is 3"]
        shutil.rmtree(run / "checkpoints")
    with pytest.raises(FastptError, match="is finished, and differs: schedule"):
        begin(run, longer, PROVENANCE, resume=True, allow_changes=True)
    assert contents(run) == before


@pytest.mark.parametrize("name", ["recipe.yaml", "provenance.json"])
def test_a_record_with_another_value_is_damaged_for_whoever_reads_it(tmp_path, name):
    run = begun(tmp_path / "run")
    text = (run / name).read_text()
    (run / name).write_text(text.replace("supervised", "supervixed").replace("a1a1", "b2b2"))
    assert (run / name).read_text() != text
    with pytest.raises(DamagedData, match=f"{name} is damaged"):
        begin(run, RECIPE, PROVENANCE, resume=True)
    assert any(f"{name} is left out" in problem for problem in read_run(run).problems)
    assert any(f"{name} is damaged" in problem for problem in verify(run))


def test_a_run_stopped_between_its_records_is_told_again_what_changed(tmp_path, monkeypatch):
    run = begun(tmp_path / "run")
    other = {**RECIPE, "task": "clip"}

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(records, "write_sealed_yaml", killed)
        with pytest.raises(KeyboardInterrupt):
            go_on(run, other, PROVENANCE, step=4)
    assert begin(run, other, PROVENANCE, resume=True, allow_changes=True)
    go_on(run, other, PROVENANCE, step=4)
    changes = [start["changes"] for start in read_provenance(run)["resumed"]]
    assert changes == [["task was 'supervised', is 'clip'"]] * 2  # the first left nothing
