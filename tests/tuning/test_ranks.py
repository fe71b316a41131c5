"""Features by several processes, as torchrun starts them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from fastpt.errors import FastptError
from fastpt.files import seal_folder
from fastpt.runs.folder import EXPORT_FORMAT
from fastpt.tuning.ranks import Ranks, joined
from tests.conftest import made_up, prepared
from tests.training.conftest import ENVIRONMENT, run_command
from tests.tuning.conftest import finished_run

ALONE = [sys.executable, "-m", "fastpt"]
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "fastpt"]
TUNE = ["tune", "--mlp", "--variant", "reference-code", "--views", "3", "--epochs", "1", "--suite", "small.yaml"]
PICTURES = 1100  # 3 files


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepared(tmp_path / "data" / "pets", made_up(PICTURES))
    prepared(tmp_path / "data" / "pets", made_up(24, name="test", is_train=False))
    split = {"train": "data/pets/train", "test": "data/pets/test"}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump({"name": "small", "id": [{"name": "pets", **split}]}))
    finished_run(tmp_path / "runs", "tiny-s0", suite="small.yaml")
    return tmp_path


def files(cache: Path) -> dict[str, bytes]:
    folder = cache / "fastpt" / "features"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.long
def test_two_processes_leave_the_files_and_the_results_of_one(workplace):
    for name, launcher in (("one", ALONE), ("two", TWO)):
        done = run_command(["env", f"XDG_CACHE_HOME={workplace / name}", *launcher, *TUNE, "--out", f"{name}.json"])
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("suite small") == 1  # the first process alone tells
    assert files(workplace / "two") == files(workplace / "one")
    assert sum(name.endswith(".safetensors") for name in files(workplace / "one")) == 4 * 3 + 1
    one, two = (json.loads(Path(f"{name}.json").read_text())["rows"] for name in ("one", "two"))
    assert two == one


@pytest.mark.long
def test_killed_processes_go_on_with_the_files_that_are_missing(workplace):
    run = [*TWO, *TUNE, "--out", "two.json"]
    cache = workplace / "two"
    environment = {**ENVIRONMENT, "XDG_CACHE_HOME": str(cache)}
    with subprocess.Popen(run, env=environment, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        while not any(cache.rglob("*.safetensors")):
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("*.safetensors")}
    assert 0 < len(kept) < 13
    assert run_command(["env", f"XDG_CACHE_HOME={cache}", *run]).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(list(cache.rglob("*.safetensors"))) == 13


@pytest.mark.long
def test_features_that_are_no_numbers_end_all_processes_with_one_line(workplace):
    export = workplace / "runs" / "tiny-s0" / "export"
    weights = load_file(export / "model.safetensors")
    weights[next(name for name in weights if name.endswith("weight"))].fill_(torch.nan)
    save_file(weights, export / "model.safetensors")
    (export / "manifest.json").unlink()
    seal_folder(export, EXPORT_FORMAT)
    done = run_command(["env", f"XDG_CACHE_HOME={workplace / 'two'}", *TWO, *TUNE, "--out", "two.json"])
    assert done.returncode != 0
    told = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error: ")]
    assert any("gives NaN or infinity for 512 of 512 pictures" in line for line in told), done.stderr[-2000:]
    assert not Path("two.json").exists()
    assert not list((workplace / "two").rglob("*.safetensors"))


def test_one_process_needs_no_launcher(monkeypatch):
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    with joined() as ranks:
        assert ranks == Ranks(0, 1)


def test_processes_that_cannot_find_each_other_are_told(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(FastptError, match="WORLD_SIZE is 2, but RANK and LOCAL_RANK"), joined():
        pass
