"""tools/constraints.txt names what the tests run with; what pyproject.toml allows beyond that still fits."""

import os
import re
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from tools.constraints import FILE, ROOT, installed, newest, uv

# Some 5 GB that only go together: they are resolved, not installed.
TORCH = re.compile(r"(torch|torchvision|triton)$|(nvidia|cuda)-")
EVERY_MODULE = """
import importlib, pkgutil
import datasets_prep, deepspeed, fastpt, open_clip, timm
for package in (fastpt, datasets_prep):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.rpartition(".")[2].startswith("_"):  # C, and what runs when imported
            importlib.import_module(module.name)
"""


def test_what_is_installed_is_what_was_tested():
    lines = [Requirement(line) for line in FILE.read_text().splitlines() if line and not line.startswith("#")]
    pinned = {line.name: str(line.specifier).removeprefix("==") for line in lines}
    found = installed()
    if "nvidia-dali-cuda130" not in found:
        pytest.skip("this machine has builds for another CUDA, which tools/setup does not pin")
    other = {name: (version, pinned.get(name)) for name, version in found.items() if version != pinned.get(name)}
    assert not other, "run `python -m tools.constraints` once the tests pass with what is installed"


@pytest.mark.long
def test_the_newest_versions_within_the_bounds_go_together_and_import(tmp_path):
    here = installed()
    newer = [f"{name}=={version}" for name, version in newest().items() if here.get(name) != version]
    newer = [one for one in newer if not TORCH.match(one.partition("==")[0])]
    if newer:
        uv("install", "--no-deps", "--target", str(tmp_path), *newer)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, "-c", EVERY_MODULE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"with {newer}: {done.stderr}"
