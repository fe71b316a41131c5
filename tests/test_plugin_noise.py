"""A kind of noise that an installed package brings, from its name on the command line to the targets that it shows."""

import json
import subprocess
import sys

import numpy as np
import pytest

from fastpt import Dataset
from tests.conftest import made_up, prepared

CONTRACT = """
from fastpt import Dataset
from fastpt.noise.kinds import KINDS
from fastpt.testing import assert_makes_noise

assert_makes_noise(KINDS.get("confusion"), Dataset("train"), "labels")
"""


@pytest.fixture
def split(tmp_path) -> Dataset:
    """60 samples in 4 classes, in the test's folder."""
    return prepared(tmp_path, made_up(60))


@pytest.fixture
def python(plugin, split):
    """Run Python beside the split, where the package is installed."""

    def run(*words: str) -> str:
        command = [sys.executable, *words]
        ran = subprocess.run(command, cwd=split.path.parent, env=plugin, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    return run


@pytest.fixture
def plan(python) -> str:
    """What is told of the plan, once it is made."""
    return python("-m", "fastpt", "noise", "train", "--kind", "confusion", "--rate", "0.2")


def test_it_keeps_the_contract(python):
    python("-c", CONTRACT)


def test_help_lists_it(python):
    told = python("-m", "fastpt", "noise", "--help")
    assert "|open-set|confusion]" in told
    assert "confusion   labels, each flipped to the next class" in told


def test_its_plan_shows_a_fifth_of_each_class_as_the_next(plan, split):
    assert "noise confusion-0.2-seed0: asked 0.2, realised 0.2 (12 wrong labels, by fastpt-plugin 0.1)" in plan
    shown, clean = split.targets("confusion-0.2-seed0"), split.clean_labels
    wrong = shown != clean
    assert np.array_equal(shown[wrong], (clean[wrong] + 1) % 4)
    assert np.bincount(clean[wrong]).tolist() == [3, 3, 3, 3]


def test_info_names_it_and_its_package(plan, python):
    assert "confusion-0.2-seed0" in python("-m", "fastpt", "info", "train")
    (noise,) = json.loads(python("-m", "fastpt", "info", "train", "--json"))["noise"]
    assert noise["package"] == {"name": "confusion", "distribution": "fastpt-plugin", "version": "0.1"}


def test_the_deep_check_makes_it_again(plan, python):
    assert "counts and noise agree" in python("-m", "fastpt", "verify", "train", "--deep")


def test_where_the_package_is_not_installed_the_plan_serves_and_is_not_vouched_for(plan, split):
    assert split.targets(0.2).shape == (60,)
    command = [sys.executable, "-m", "fastpt", "verify", str(split.path), "--deep"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 3
    assert "cannot be checked without its kind, of fastpt-plugin 0.1" in ran.stdout
