"""Of several processes one tells why a training failed, and the others end quietly."""

import sys
from pathlib import Path

import pytest

from tests.cases.conftest import Ran, command
from tests.cases.workplace import sets

pytestmark = pytest.mark.long
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", 2)

# Fails in the process of one rank only, while the other waits for it.
ONE_FAILS = """
import os, sys
from fastpt.errors import FastptError
from fastpt.cli import main
from fastpt.training import loop
step = loop.Training._step
def fails(self, number, *rest):
    if number == 2 and os.environ["RANK"] == os.environ["FAILS"]:
        raise FastptError("a picture of rank %s cannot be had" % os.environ["RANK"])
    return step(self, number, *rest)
loop.Training._step = fails
main(sys.argv[1:], prog_name="fastpt")
"""


def train(*words: object, program: tuple = ("-m", "fastpt"), **env: str) -> Ran:
    return command(*TORCHRUN, *program, "train", *words, env=env)


def assert_told_once(ran: Ran, error: str) -> None:
    """One error line; no traceback but that of the launcher, which is printed behind its own report of a failure."""
    ours = ran.output.partition("torch/distributed/elastic")[0]
    assert ran.code
    assert "Traceback" not in ours, ours
    assert [line for line in ran.output.splitlines() if line.startswith("Error")] == [error], ran.output


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("x.yaml",), "Error: there is no file x.yaml. Files there: clip.yaml, recipe.yaml, small.yaml."),
        (
            ("recipe.yaml", *sets("optim.lr=1e30")),
            "Error: the loss is nan at step 2. There is no checkpoint yet. Lower optim.lr, warm up longer, or set "
            "engine.gradient_clipping.",
        ),
    ],
)
def test_what_all_processes_know_is_told_once(here, words, error):
    assert_told_once(train(*words, "--run-dir", "run"), error)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_what_one_process_knows_it_tells(here, rank):
    Path("one_fails.py").write_text(ONE_FAILS)
    ran = train("recipe.yaml", "--run-dir", "run", program=("one_fails.py",), FAILS=rank)
    assert_told_once(ran, f"Error: a picture of rank {rank} cannot be had")
