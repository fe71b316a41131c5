"""The attack does its work and finds nothing where there is nothing; docs/results/reliability.md has what it found."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cases.conftest import environment


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
