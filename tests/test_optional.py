"""What an extra brings is needed by nothing but what the extra is for."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

WITHOUT = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        hidden = name.partition('.')[0] in {missing!r} or name in {missing!r}
        return None if hidden else self.finder.find_spec(name, path, target)

    def find_distributions(self, *context):  # of packages that look up their own version
        return getattr(self.finder, 'find_distributions', lambda *_: ())(*context)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""
EXTRAS = ("ffcv", "numba", "deepspeed", "nvidia.dali", "ray", "onnx", "onnxruntime")
FASTPT = "from fastpt.cli import main; main(sys.argv[1:])"
LOAD = "from fastpt import Dataset, Loader; print(sum(len(b.images) for b in Loader(Dataset('{path}'), 8, 32, seed=0)))"
THEIRS = "from fastpt import Dataset; print(len(Dataset.from_ffcv('{path}', cache='index')))"


def without(missing, code, *arguments, cwd) -> subprocess.CompletedProcess:
    words = [sys.executable, "-c", WITHOUT.format(missing=missing) + code, *arguments]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True)


def succeeded(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which pictures were prepared without any extra: some as they came, some made smaller."""
    place = tmp_path_factory.mktemp("bare")
    numbers = np.random.default_rng(0)
    for i in range(16):
        (place / f"pets/{i % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(numbers.integers(0, 256, (40 + 5 * i, 64, 3), np.uint8)).save(place / f"pets/{i % 2}/{i}.jpg")
    options = ("--max-side", "80", "--workers", "1")
    succeeded(without(EXTRAS, FASTPT, "prep", "imagefolder", "--source", "pets", *options, cwd=place))
    return place


def test_ffcv_files_are_written_checked_and_loaded_without_ffcv(place):
    for command in ("info", "verify"):
        succeeded(without(EXTRAS, FASTPT, command, "data/pets/train", cwd=place))
    materialize = ("materialize", "data/pets/train", "--noise", "clean", "--format", "ffcv", "--out", "made")
    succeeded(without(EXTRAS, FASTPT, *materialize, cwd=place))
    assert succeeded(without(EXTRAS, LOAD.format(path="data/pets/train"), cwd=place)) == "16\n"
    assert succeeded(without(EXTRAS, THEIRS.format(path="made/train.beton"), cwd=place)) == "16\n"


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("from fastpt.training.deepspeed_adapter import join_group; join_group(False)", "train"),
        (LOAD.format(path="data/pets/train").replace("seed=0", "seed=0, decoder='dali'"), "dali"),
    ],
)
def test_who_wants_what_an_extra_brings_is_told_its_name(place, code, extra):
    done = without(EXTRAS, code, cwd=place)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode != 0
    assert "FastptError" in last
    assert f"pip install 'fastpt[{extra}]'" in last


def test_every_module_can_be_imported_without_extras(place):
    code = """
import importlib, pkgutil, sys
import fastpt, datasets_prep
for package in (fastpt, datasets_prep):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):
        if not found.name.rpartition('.')[2].startswith('_'):  # C, and __main__
            importlib.import_module(found.name)
"""
    succeeded(without(EXTRAS, code, cwd=place))
