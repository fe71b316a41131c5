"""Help and tables of keys answer at once: nothing heavy is imported for them."""

import subprocess
import sys

import pytest

NEVER = {"torch", "timm", "open_clip", "deepspeed", "nvidia.dali", "onnx", "PIL", "cv2", "matplotlib", "scipy", "ray"}
HELP = ("--help", "prep demo --help", "train --help", "report --help", "study --help")
LISTS = ("prep --help", "noise --help", "tune --help")  # the members of a room, which may import numpy
KEYS = ("keys recipe", "keys suite", "keys study")


@pytest.mark.parametrize(
    ("command", "heavy"),
    [
        *((one, {*NEVER, "pyarrow", "pydantic", "numpy"}) for one in HELP),
        *((one, {*NEVER, "pyarrow", "pydantic"}) for one in LISTS),
        *((one, NEVER) for one in KEYS),
    ],
)
def test_nothing_heavy_is_imported(command, heavy):
    code = "import sys; from fastpt.cli import main; main(sys.argv[1:], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *command.split()], capture_output=True, text=True, check=True)
    assert heavy & set(done.stdout.splitlines()[-1].split()) == set()
