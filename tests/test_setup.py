"""tools/setup in a copy of its own, with stand-ins for Python and the compiler: when it installs, and when not."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[1] / "tools" / "setup"
PYTHON = """#!/bin/bash
case "$1" in
    --version) echo Python 3.11 ;;
    -m) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; cp "$0" "$3/bin/pip" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A checkout with C files at several depths, installed."""
    stand_ins = tmp_path / "bin"
    stand_ins.mkdir()
    for name in ("python3", "g++", "pkg-config", "nvidia-smi"):
        (stand_ins / name).write_text(PYTHON)
        (stand_ins / name).chmod(0o755)
    root = tmp_path / "checkout"
    for name in ("fastpt/a.c", "fastpt/room/a.c", "fastpt/room/deeper/a.c", "fastpt/room/a.h", "datasets_prep/a.c"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("int a;\n")
    (root / "pyproject.toml").write_text("")
    (root / "tools").mkdir()
    shutil.copy(SETUP, root / "tools" / "setup")
    (root / "tools" / "constraints.txt").write_text("torch==1\n")
    assert "installing" in setup(root)
    return root


def setup(root: Path) -> str:
    """What tools/setup prints."""
    env = {**os.environ, "PATH": f"{root.parent / 'bin'}:{os.environ['PATH']}", "PYTHON": "python3"}
    return subprocess.run([root / "tools" / "setup"], env=env, check=True, capture_output=True, text=True).stdout


def test_a_second_setup_has_nothing_to_do(checkout):
    assert setup(checkout) == ""


def test_other_versions_are_installed_again(checkout):
    (checkout / "tools" / "constraints.txt").write_text("torch==2\n")
    assert "installing" in setup(checkout)
    assert setup(checkout) == ""


@pytest.mark.parametrize(
    ("driver", "constraints", "pinned"),
    [
        ("", "tools/constraints.txt", "numpy==1\nnvidia-nccl-cu13==1\ntorch==1\n"),
        ("550.54", ".venv/constraints.txt", "numpy==1\n"),
    ],
    ids=["the tested CUDA", "an older driver"],
)
def test_pip_is_held_to_the_tested_versions_but_for_torch_of_another_cuda(checkout, driver, constraints, pinned):
    (checkout / "tools" / "constraints.txt").write_text("numpy==1\nnvidia-nccl-cu13==1\ntorch==1\n")
    (checkout.parent / "bin" / "nvidia-smi").write_text(f"#!/bin/bash\necho {driver}\n")
    for name in ("pip", "uv"):
        (checkout / ".venv" / "bin" / name).write_text('#!/bin/bash\necho "$0 $@" >> "$PWD/asked"\n')
        (checkout / ".venv" / "bin" / name).chmod(0o755)
    setup(checkout)
    (asked,) = [line for line in (checkout / "asked").read_text().splitlines() if "--editable" in line]
    assert f"--constraint {constraints}" in asked
    assert (checkout / constraints).read_text() == pinned


@pytest.mark.parametrize("name", ["fastpt/a.c", "fastpt/room/deeper/a.c", "fastpt/room/a.h", "datasets_prep/a.c"])
def test_a_changed_kernel_is_built_again(checkout, name):
    (checkout / name).write_text("int b;\n")
    assert "installing" in setup(checkout)
    assert setup(checkout) == ""
