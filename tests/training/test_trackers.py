"""What trackers are told, offline; and that none can harm a training."""

import json
import shutil
import signal
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastpt.errors import RecipeError
from fastpt.runs import read_provenance
from fastpt.training import trackers
from fastpt.training.run import train
from tests.training.conftest import ENVIRONMENT, in_processes, lines, losses, save, train_all
from tests.training.test_resume import train_and_stop
from tests.training.test_zero import stopped_at

BOTH = "record.trackers=[wandb, mlflow]"


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    """An empty one of MLflow: its tables take seconds to make, and a kill meanwhile leaves one that it refuses."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def offline(tmp_path, monkeypatch, database):
    """Both trackers write to files of the test's folder, in the processes that it starts, too."""
    shutil.copy(database, tmp_path / "mlflow.db")
    where = {
        "WANDB_MODE": "offline",
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    for name, value in where.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setitem(ENVIRONMENT, name, value)


def mlflow_runs():
    from mlflow import MlflowClient

    client = MlflowClient()
    (experiment,) = client.search_experiments(filter_string="name = 'fastpt'")
    return client, client.search_runs([experiment.experiment_id])


def logged_by_mlflow() -> dict[int, float]:
    client, (run,) = mlflow_runs()
    return {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, "train/loss")}


def records(content: bytes) -> Iterator[bytes]:
    """Of a .wandb file, which is a log as LevelDB's: behind 7 bytes, blocks of 32 KiB with pieces of records."""
    at, record = 7, b""
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:  # no room for a piece's header
            at += left
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)  # behind a sum
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield record
            record = b""


def logged_by_wandb(run) -> dict[int, float]:
    """Of all files of a run, in their order."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = {}
    for path in sorted((run / "trackers" / "wandb").glob("offline-run-*/run-*.wandb")):
        for content in records(path.read_bytes()):
            record = Record()
            record.ParseFromString(content)
            items = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            if "train/loss" in items:
                found[int(record.history.step.num)] = items["train/loss"]
    return found


def test_both_are_told_what_is_logged(supervised, offline, tmp_path):
    run = train(supervised(BOTH), "tiny", tmp_path / "run")
    assert logged_by_mlflow() == pytest.approx(losses(run))
    assert logged_by_wandb(run) == pytest.approx(losses(run))
    client, (there,) = mlflow_runs()
    assert (there.info.run_name, there.info.status) == ("run", "FINISHED")
    assert there.data.params["optim.lr"] == "0.01"
    (top1,) = {event["top1"] for event in lines(run, "eval") if event["step"] == 10}
    assert client.get_metric_history(there.info.run_id, "val/top1")[-1].value == pytest.approx(top1)
    assert losses(run) == losses(train(supervised(), "tiny", tmp_path / "without"))


def test_a_run_that_goes_on_is_the_same_run_there(supervised, offline, tmp_path):
    recipe = supervised(BOTH, "checkpoint={every_steps: 3, keep: 9}", "schedule.epochs=6")
    run = tmp_path / "run"
    train_and_stop(recipe, run, signal.SIGKILL, after=13)
    train(recipe, "tiny", run, resume=True)
    _, (there,) = mlflow_runs()
    assert there.info.status == "FINISHED"
    again = set(range(read_provenance(run)["resumed"][0]["step"] + 1, 31))
    told = logged_by_mlflow()  # but for what was on its way when the run was killed
    assert told == pytest.approx({step: losses(run)[step] for step in told})
    assert told.keys() >= again
    files = list((run / "trackers" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 2
    assert len({path.name for path in files}) == 1  # the id
    told = logged_by_wandb(run)
    assert told == pytest.approx({step: losses(run)[step] for step in told})
    assert told.keys() >= again


def test_a_run_that_begins_anew_is_another_there(supervised, offline, tmp_path):
    recipe = supervised("record.trackers=[mlflow]", "schedule={steps: 1}")
    run = train(recipe, "tiny", tmp_path / "run")
    for part in ("checkpoints", "export"):
        shutil.rmtree(run / part)
    (run / "metrics.jsonl").unlink()
    train(recipe, "tiny", run)
    assert len(mlflow_runs()[1]) == 2


def test_of_two_processes_one_tells_them(supervised, offline, tmp_path):
    save(supervised("record.trackers=[mlflow]"), tmp_path / "recipe.yaml")
    in_processes(2, train_all, tmp_path / "recipe.yaml", tmp_path / "run")
    assert logged_by_mlflow() == pytest.approx(losses(tmp_path / "run"))


class Failing:
    """A tracker whose network is down at one of its calls."""

    at = "open"

    def __init__(self, *_):
        self._fail("open")

    def log(self, *_):
        self._fail("log")

    def end(self, *_):
        self._fail("end")

    def _fail(self, now):
        if now == self.at:
            raise ConnectionError(f"no route to the tracker\nat {now}")


@pytest.mark.parametrize("at", ["open", "log", "end"])
def test_one_that_fails_is_left_off_with_a_line(supervised, tmp_path, monkeypatch, capfd, at):
    monkeypatch.setitem(trackers.KINDS, "wandb", Failing)
    monkeypatch.setattr(Failing, "at", at)
    run = train(supervised("record.trackers=[wandb]"), "tiny", tmp_path / "run")
    said = capfd.readouterr().err
    assert said.count("wandb is left off (no route to the tracker") == 1
    assert "Traceback" not in said
    assert len(losses(run)) == 10
    assert len(lines(run, "end")) == 1


def test_one_that_hangs_holds_up_no_step_and_is_left_at_the_end(supervised, tmp_path, monkeypatch, capfd):
    released = threading.Event()

    class Hanging(Failing):
        at = None

        def log(self, *_):
            released.wait(60)

    monkeypatch.setitem(trackers.KINDS, "mlflow", Hanging)
    monkeypatch.setattr(trackers, "PATIENCE", 0.2)
    run = train(supervised("record.trackers=[mlflow]"), "tiny", tmp_path / "run")
    released.set()
    assert "mlflow has not taken all within 0 s" in capfd.readouterr().err
    assert len(lines(run, "end")) == 1


def test_one_that_is_not_installed_is_told_before_training(supervised, tmp_path, monkeypatch):
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"wandb, which is not installed: pip install 'fastpt\[trackers\]'"):
        train(supervised("record.trackers=[wandb]"), "tiny", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_an_id_that_is_lost_makes_another_run_there(supervised, offline, tmp_path, how):
    recipe = supervised("record.trackers=[mlflow]", "checkpoint={every_steps: 3, keep: 9}")
    run = stopped_at(6, train(recipe, "tiny", tmp_path / "whole"), tmp_path / "run")
    path = run / "trackers" / "id.json"
    path.unlink() if how == "gone" else path.write_text("{")
    train(recipe, "tiny", run, resume=True)
    assert len(mlflow_runs()[1]) == 2


def test_a_tracker_is_named_once(supervised):
    with pytest.raises(RecipeError, match=r"record\.trackers names one twice"):
        supervised("record.trackers=[wandb, wandb]")
