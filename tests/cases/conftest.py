"""How the cases run fastpt and judge what it does.

A case is right if the work is done, or refused by a plain error that names what is concerned. Cases that are wrong
today are marked with `wrong`; the mark goes with the change that mends them. Only judgements may fail: a command,
option or key that does not exist proves nothing, so it is an error of the case (`BrokenCase`), marked or not.
"""

import contextlib
import functools
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from fastpt.cli import main
from tests.cases import workplace

REPOSITORY = Path(__file__).parents[2]
FASTPT = (sys.executable, "-m", "fastpt")
OUT = Path("prepared")
UNKNOWN = re.compile("no such option|no such command|unknown key|is not one of|there is no source", re.IGNORECASE)

wrong = functools.partial(pytest.mark.xfail, strict=True, raises=AssertionError)
"""Mark of a case that is wrong today; `reason` says what happens."""


class BrokenCase(Exception):
    """The case does not fit the program, or cannot begin."""


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    output: str  # stdout, stderr and what was logged
    crash: str = ""  # a traceback, a signal, or no end

    def __post_init__(self) -> None:
        if found := UNKNOWN.search(self.output):
            raise BrokenCase(f"the case uses words that fastpt does not know ({found.group()}): {self.output[-500:]}")

    def refused(self, *names: str) -> bool:
        """Whether it ended with an error; it then has to be a plain one that holds the `names`, regular expressions."""
        assert not self.crash, f"{self.crash}: {self.output[-2000:]}"
        if self.code == 0:
            return False
        for name in names:
            assert re.search(name, self.output), f"the error does not name {name}: {self.output}"
        return True

    def worked(self, *names: str) -> None:
        """Assert that the work was done and the `names`, regular expressions, were told."""
        assert not self.refused(), self.output
        for name in names:
            assert re.search(name, self.output), f"{name} is not told: {self.output}"

    def must(self) -> "Ran":
        """What has to work for a case to begin."""
        if self.code or self.crash:
            raise BrokenCase(f"the case cannot begin: {self.crash} {self.output[-2000:]}")
        return self


Command = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """Each case works in a folder of its own, with a cache of its own and one thread."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here" / "cache"))
    torch.set_num_threads(1)


@pytest.fixture
def fastpt(caplog, monkeypatch) -> Command:
    """`fastpt WORDS` in this process."""

    def run(*words: object) -> Ran:
        caplog.clear()
        monkeypatch.setattr(sys, "argv", ["fastpt", *map(str, words)])
        with caplog.at_level(logging.WARNING):
            ran = in_process(*words)
        return replace(ran, output=ran.output + caplog.text)

    return run


@pytest.fixture
def prep(fastpt: Command) -> Command:
    """`fastpt prep SOURCE --source PATH` into OUT."""
    return lambda source, path, *options: fastpt(
        "prep", source, "--source", path, "--workers", 1, "--out", OUT, *options
    )


def in_process(*words: object) -> Ran:
    result = CliRunner().invoke(main, [str(word) for word in words])
    crash = "" if isinstance(result.exception, SystemExit | None) else f"traceback of {result.exception!r}"
    return Ran(result.exit_code, result.output, crash)


def process(*words: object, **options) -> Ran:
    """`fastpt WORDS` in a process of its own; see `command`."""
    return command(*FASTPT, *words, **options)


def command(*words: object, limit: float = 120, env: dict[str, str] | None = None, **options) -> Ran:
    """A command in a process of its own, which may take `limit` seconds; `env` comes on top of the environment."""
    try:
        done = subprocess.run(
            [str(word) for word in words],
            timeout=limit,
            env=environment() | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **options,
        )
    except subprocess.TimeoutExpired as error:
        return Ran(1, (error.output or b"").decode(errors="replace"), f"no end within {limit} s")
    output = done.stdout.decode(errors="replace")
    crash = signal.Signals(-done.returncode).name if done.returncode < 0 else ""
    return Ran(done.returncode, output, crash or "traceback" * ("Traceback (most recent" in output))


def train(fastpt: Command, run: str, *overrides: str, recipe: str = "recipe.yaml") -> Ran:
    return fastpt("train", recipe, "--run-dir", run, *workplace.sets(*overrides))


def environment() -> dict[str, str]:
    ours = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"]}
    return os.environ | ours


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """The folder of the splits of `workplace.make_data`, which no case changes."""
    folder = tmp_path_factory.mktemp("data")
    workplace.make_data(folder)
    return folder


@pytest.fixture
def here(data) -> None:
    """The folder of the case has `data`, recipe.yaml, clip.yaml, and the suite of the recipe, small.yaml."""
    lay_out(data)


def lay_out(data: Path) -> None:
    Path("data").symlink_to(data)
    for name, values in {"recipe": workplace.RECIPE, "clip": workplace.CLIP, "small": workplace.SUITE}.items():
        workplace.write_yaml(f"{name}.yaml", values)


@pytest.fixture(scope="session")
def made_runs(data, tmp_path_factory) -> Path:
    """A folder with a run that came to its end, and one that was killed after its checkpoint of step 8."""
    folder = tmp_path_factory.mktemp("runs")
    torch.set_num_threads(1)
    with contextlib.chdir(folder):
        lay_out(data)
        in_process("train", "recipe.yaml", "--run-dir", "finished").must()
        long = ("schedule.steps=30", "checkpoint.keep=99", "evaluate.every_epochs=100")
        in_process("train", "recipe.yaml", "--run-dir", "killed", *workplace.sets(*long)).must()
    workplace.cut_off(folder / "killed", step=8)
    return folder


@pytest.fixture
def finished(here, made_runs) -> Path:
    """`run`, a copy of the finished run."""
    return workplace.copy(made_runs / "finished", "run")


@pytest.fixture
def killed(here, made_runs) -> Path:
    """`run`, a copy of the killed run; steps 4, 6 and 8 are there. `resume` goes on with it."""
    return workplace.copy(made_runs / "killed", "run")
