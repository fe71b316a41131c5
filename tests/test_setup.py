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
    -m) mkdir -p "$3/bin"; for name in python pip uv; do cp "$0" "$3/bin/$name"; done ;;
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


def setup(root: Path, *words: str, **env: str) -> str:
    """What tools/setup prints."""
    path = f"{root.parent / 'bin'}:/usr/bin:/bin"
    env = {**os.environ, "PATH": path, "PYTHON": "python3", **env}
    command = [str(root / "tools" / "setup"), *words]
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


def installing(root: Path, pip: str = "", uv: str = "", **env: str) -> list[str]:
    """What pip and uv were asked when something had to be installed. `pip` and `uv` are what these do then (bash)."""
    for name, what in (("pip", pip), ("uv", uv)):
        (root / ".venv" / "bin" / name).write_text(f'#!/bin/bash\necho "{name} $@" >> "$PWD/asked"\n{what}\n')
        (root / ".venv" / "bin" / name).chmod(0o755)
    (root / "tools" / "constraints.txt").write_text("numpy==1\nnvidia-nccl-cu13==1\ntorch==1\n")
    setup(root, **env)
    return (root / "asked").read_text().splitlines()


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
def test_the_tested_versions_are_installed_but_for_torch_of_another_cuda(checkout, driver, constraints, pinned):
    (checkout.parent / "bin" / "nvidia-smi").write_text(f"#!/bin/bash\necho {driver}\n")
    (asked,) = [line for line in installing(checkout) if "--editable" in line]
    assert asked.startswith("uv ")
    assert f"--constraint {constraints}" in asked
    assert (checkout / constraints).read_text() == pinned


@pytest.mark.parametrize(
    "broken",
    [{"uv": '[[ "$*" != *--editable* ]]'}, {"pip": '[[ "$*" != *" uv" ]]'}],
    ids=["uv fails", "uv is not to be had"],
)
def test_pip_installs_where_uv_does_not(checkout, broken):
    asked = [line for line in installing(checkout, **broken) if "--editable" in line]
    assert asked[-1].startswith("pip install")
    assert "--constraint tools/constraints.txt" in asked[-1]
    assert setup(checkout) == ""


def test_some_extras_need_no_headers_and_are_there_once_all_is(checkout):
    (checkout.parent / "bin" / "pkg-config").write_text("#!/bin/bash\nfalse\n")
    assert setup(checkout, "train") == ""
    (checkout / "pyproject.toml").write_text("# another\n")
    assert "installing" in setup(checkout, "train")
    assert setup(checkout, "train") == ""
    (checkout.parent / "bin" / "pkg-config").write_text("#!/bin/bash\n")
    assert "installing" in setup(checkout)
    assert setup(checkout, "train") == ""


@pytest.mark.parametrize(("own", "index"), [({}, "/mirror"), ({"UV_DEFAULT_INDEX": "/own"}, "/own")])
def test_uv_looks_for_packages_where_pip_does_unless_told(checkout, own, index):
    config = """[ "$1" = config ] && printf "%s\n" "global.index-url='/mirror'" ":env:.find-links='/one /two'"; true"""
    uv = 'echo "$UV_DEFAULT_INDEX $UV_FIND_LINKS" >> "$PWD/asked"'
    assert f"{index} /one,/two" in installing(checkout, pip=config, uv=uv, **own)


@pytest.mark.parametrize("name", ["fastpt/a.c", "fastpt/room/deeper/a.c", "fastpt/room/a.h", "datasets_prep/a.c"])
def test_a_changed_kernel_is_built_again(checkout, name):
    (checkout / name).write_text("int b;\n")
    assert "installing" in setup(checkout)
    assert setup(checkout) == ""
