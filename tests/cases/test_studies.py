"""Studies, and jobs of SLURM: no work that is lost, and folders where they are asked for."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cases.conftest import FASTPT, REPOSITORY, command, process
from tests.cases.workplace import write_yaml
from tests.conftest import picture

pytestmark = pytest.mark.long


def write_study(name: str, file: str = "study.yaml", **more: object) -> None:
    grid = {"recipe": "recipe.yaml", "rates": [0], "seeds": [0]}
    write_yaml(file, {"name": name, "pretrain": [grid], **more})


def test_a_study_writes_a_lost_export_again(here):
    write_study("mend")
    process("study", "study.yaml").must()
    (export,) = Path("studies/mend").glob("runs/*/export")
    shutil.rmtree(export)
    if not process("study", "study.yaml").refused("export"):
        assert export.is_dir()


def test_a_study_prepares_by_the_shells_rules(here):
    Path("my src/class").mkdir(parents=True)
    for i in range(24):
        Path(f"my src/class/{i}.jpg").write_bytes(picture(i))
    run = "prep imagefolder --source 'my src' --name quoted --out made --workers 1"
    write_study("quotes", prepare=[{"run": run, "makes": ["made/train"]}])
    process("study", "study.yaml").worked()


@pytest.mark.parametrize("name", ["", ".."])
def test_a_name_that_is_no_folder_of_a_study_is_refused(here, fastpt, name):
    write_study(name)
    assert fastpt("study", "study.yaml", "--dry-run").refused("name")


def test_a_dry_run_of_1500_steps_takes_a_second_or_two(here):
    rates = [0, *(round(0.01 * i, 2) for i in range(1, 25))]
    grid = {"recipe": "recipe.yaml", "rates": rates, "seeds": list(range(20)), "suites": ["demo", "small.yaml"]}
    write_yaml("big.yaml", {"name": "big", "pretrain": [grid], "tune": {"methods": ["lp"], "num_seeds": 1}})
    steps = Path("studies/big/steps")
    steps.mkdir(parents=True)
    for i in range(1500):
        record = {"key": "0", "kind": "train", "group": "recipe", "seconds": 1, "bytes": 1}
        (steps / f"{i}.json").write_text(json.dumps(record))
    process("study", "big.yaml", "--dry-run", limit=10).worked()


@pytest.fixture
def slurm(here, tmp_path) -> dict[str, str]:
    """The environment of a SLURM job of one task, on this machine."""
    scripts = {
        "srun": 'echo "$SRUN_CPUS_PER_TASK" > cores; export SLURM_PROCID=0 SLURM_LOCALID=0; exec "$@"',
        "scontrol": "echo localhost",
        "fastpt": f'exec {shlex.join(FASTPT)} "$@"',
    }
    for name, line in scripts.items():
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/bash\n{line}\n")
        file.chmod(0o755)
    job = {"SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "here", "SLURM_NTASKS": "1", "SLURM_NTASKS_PER_NODE": "1"}
    job |= {"SLURM_CPUS_PER_TASK": "3"}
    return {**job, "SLURM_ARRAY_TASK_ID": "0", "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}


def test_a_run_folder_given_to_the_slurm_script_is_used(slurm):
    command("bash", REPOSITORY / "tools/slurm_train.sh", "recipe.yaml", "--run-dir", "mine", env=slurm).must()
    assert Path("mine/export").is_dir()
    assert not Path("runs").exists()
    assert Path("cores").read_text() == "3\n"


def test_an_out_folder_given_to_the_slurm_script_of_studies_is_used(slurm):
    write_study("slurm")
    command("bash", REPOSITORY / "tools/slurm_study.sh", "study.yaml", "--out", "mine", env=slurm).must()
    assert [*Path("mine").glob("runs/*/export")]
    assert not Path("studies").exists()


def stand_ins(folder: Path, **lines: str) -> None:
    for name, line in lines.items():
        (folder / "bin" / name).write_text(f"#!/bin/bash\n{line}\n")


@pytest.mark.parametrize(("code", "told"), [(75, "show hostnames here\nrequeue 77\n"), (1, "show hostnames here\n")])
def test_a_training_that_saved_itself_is_put_into_slurms_queue_again(slurm, tmp_path, code, told):
    stand_ins(tmp_path, fastpt=f"exit {code}", scontrol='echo "$@" >> told; echo localhost')
    assert command("bash", REPOSITORY / "tools/slurm_train.sh", "recipe.yaml", env=slurm).code == code
    assert Path("told").read_text() == told


def test_a_study_that_slurm_asks_to_end_saves_itself_and_is_put_into_the_queue_again(slurm, tmp_path):
    study = "trap 'sleep 0.3; exit 75' TERM; touch begun; while true; do sleep 0.05; done"
    stand_ins(tmp_path, fastpt=study, scontrol='echo "$@" >> told')
    words = ["bash", str(REPOSITORY / "tools/slurm_study.sh"), "study.yaml"]
    task = subprocess.Popen(words, env={**os.environ, **slurm, "SLURM_ARRAY_JOB_ID": "70"})
    for _ in range(600):
        if Path("begun").exists():
            break
        time.sleep(0.05)
    task.send_signal(signal.SIGTERM)
    assert task.wait(30) == 75
    assert Path("told").read_text() == "requeue 70_0\n"
