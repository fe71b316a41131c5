"""How the cases run fastpt and judge what it does.

A case is right if the work is done, or refused by a plain error that names what is concerned. Cases that are wrong
today are marked with `wrong`; the mark goes with the change that mends them. Only judgements may fail: a command,
option or key that does not exist proves nothing, so it is an error of the case (`BrokenCase`), marked or not.
"""

import functools
import logging
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from fastpt.cli import main
from tests.training.conftest import ENVIRONMENT

REPOSITORY = Path(__file__).parents[2]
UNKNOWN = re.compile(
    "no such option|no such command|unexpected extra argument|unknown key|is not one of", re.IGNORECASE
)

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
    """Each case has a folder of its own, and one thread."""
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)


@pytest.fixture
def fastpt(caplog, monkeypatch) -> Command:
    """`fastpt WORDS` in this process."""

    def run(*words: object) -> Ran:
        caplog.clear()
        arguments = [str(word) for word in words]
        monkeypatch.setattr(sys, "argv", ["fastpt", *arguments])
        with caplog.at_level(logging.WARNING):
            result = CliRunner().invoke(main, arguments)
        crash = "" if isinstance(result.exception, SystemExit | None) else f"traceback of {result.exception!r}"
        return Ran(result.exit_code, result.output + caplog.text, crash)

    return run


def process(*words: object, limit: float = 120, env: dict[str, str] | None = None, **options) -> Ran:
    """`fastpt WORDS` in a process of its own, which may take `limit` seconds. `env` comes on top of the environment."""
    return command(sys.executable, "-m", "fastpt", *words, limit=limit, env=env, **options)


def command(*words: object, limit: float = 120, env: dict[str, str] | None = None, **options) -> Ran:
    """Any command in a process of its own."""
    try:
        done = subprocess.run(
            [str(word) for word in words], timeout=limit, env={**ENVIRONMENT, **(env or {})}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **options,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        return Ran(1, (error.output or b"").decode(errors="replace"), f"no end within {limit} s")
    output = done.stdout.decode(errors="replace")
    crash = signal.Signals(-done.returncode).name if done.returncode < 0 else ""
    return Ran(done.returncode, output, crash or "traceback" * ("Traceback (most recent" in output))
