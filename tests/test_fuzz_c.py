"""The C code under sanitizers, for some seconds; tools/fuzz_c.py runs as long as one likes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.long
@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc with its sanitizers")
@pytest.mark.parametrize("sanitizer", ["address", "thread"])
def test_the_sanitizers_find_no_fault_in_the_c_code(sanitizer):
    words = [sys.executable, ROOT / "tools" / "fuzz_c.py", "--seconds", "15", "--sanitizer", sanitizer]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "no fault in" in done.stdout
