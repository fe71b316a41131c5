"""Rooms import those below only: the contracts in pyproject.toml hold."""

import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[1]


def test_every_room_imports_those_below_only():
    linter = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    done = subprocess.run(linter, cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[done.stdout.find("Broken contracts") :]
