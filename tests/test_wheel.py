"""The wheel is built, and works without a compiler, a checkout, or what the extras bring (tools/wheel)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.long
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_the_wheel_works_where_there_is_no_compiler():
    environment = {**os.environ, "PYTHON": sys.executable}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run([ROOT / "tools" / "wheel"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no compiler in sight" in done.stdout
