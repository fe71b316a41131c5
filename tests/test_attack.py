"""The attack does its work and finds nothing where there is nothing; docs/results/reliability.md has what it found."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cases.conftest import environment
from tools.attack import scene
from tools.attack.damage import _judge


def test_another_result_is_wrong_unless_the_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(scene, "result", lambda *_: "another")
    path = tmp_path / "data/pets/train/samples.parquet"
    job = ("train", scene.Ended(0, "data/pets/train: steps of 8 samples", tmp_path), "whole", False)
    assert _judge(tmp_path, path, *job) == "WRONG"
    told = ("train", scene.Ended(0, "samples.parquet is damaged: left out", tmp_path), "whole", False)
    assert _judge(tmp_path, path, *told) == "different, told"


@pytest.mark.long
@pytest.mark.parametrize(
    ("how", "only", "told"),
    [
        ("flip", "dataset.json", "flip dataset.json: {'refused': 3}"),
        ("truncate", "exports", "truncate exports: {'refused': 3}"),
        ("kill", "materialize", "0 faults"),
    ],
)
def test_an_attack_finds_no_fault(tmp_path, how, only, told):
    words = [sys.executable, "-m", "tools.attack", how, "--only", only, "--count", "3"]
    done = subprocess.run(words, cwd=Path(__file__).parents[1], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert told in done.stdout
