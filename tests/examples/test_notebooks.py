"""The notebooks of docs/notebooks run, as scripts, from nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "docs" / "notebooks"


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "made"),
    [("noise_at_a_glance", ["confusion.png", "mislabelled.png"]), ("folder_to_report", ["report.html"])],
)
def test_a_notebook_runs(tmp_path, name, made):
    environment = {**os.environ, "MPLBACKEND": "agg"}
    command = [sys.executable, str(NOTEBOOKS / f"{name}.py")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [file for file in made if not (tmp_path / file).stat().st_size] == []


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.py")), ids=lambda path: path.stem)
def test_a_notebook_is_in_percent_format(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# %% [markdown]\n")
    assert "\n# %%\n" in text
