"""tools/constraints.txt names what the tests run with."""

import pytest
from packaging.requirements import Requirement

from tools.constraints import FILE, installed


def test_what_is_installed_is_what_was_tested():
    lines = [Requirement(line) for line in FILE.read_text().splitlines() if line and not line.startswith("#")]
    pinned = {line.name: str(line.specifier).removeprefix("==") for line in lines}
    found = installed()
    if "nvidia-dali-cuda130" not in found:
        pytest.skip("this machine has builds for another CUDA, which tools/setup does not pin")
    other = {name: (version, pinned.get(name)) for name, version in found.items() if version != pinned.get(name)}
    assert not other, "run `python -m tools.constraints` once the tests pass with what is installed"
