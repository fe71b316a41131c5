"""The sets of a suite that are not there, made by the commands that it names: `fastpt tune --prepare`."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from fastpt.errors import FastptError
from fastpt.printable import plural
from fastpt.tuning.suites import Suite, tests_of

FASTPT = (sys.executable, "-m", "fastpt")
Say = Callable[[str], None]


def missing_sets(suite: Suite) -> dict[str | None, list[str]]:
    """The sets of which a prepared split is not there, by the command that makes them; None for those without one."""
    missing: dict[str | None, list[str]] = {}
    for one in [*suite.id, *suite.ood]:
        splits = [split for source in (one.train, *tests_of(one).values()) for split in source.splits]
        if any(not Path(split, "dataset.json").is_file() for split in splits):
            missing.setdefault(one.prep, []).append(one.name)
    return missing


def prepare_missing(suite: Suite, agreed: Callable[[str], bool], say: Say) -> None:
    """Run the commands that make what is missing, one after the other, if what they are is `agreed` to.

    A command that was stopped, here or before, goes on where it was. Raises FastptError, when all others are done, if
    one failed, or if a set has no command that can be run.
    """
    missing = missing_sets(suite)
    if not missing:
        return
    commands = {command: words for command in missing if command and (words := _words(command))}
    by_hand = [command for command in missing if command not in commands]
    told = "\n".join(f"  {', '.join(missing[command])}: {command}" for command in commands)
    if commands and not agreed(f"{plural(len(commands), 'preparation')} for suite {suite.name}:\n{told}\n"):
        raise FastptError("nothing was prepared. Without --prepare, what is there is tuned on.")
    failed = []
    for command, words in commands.items():
        say(f"{', '.join(missing[command])}: {command}")
        if subprocess.run([*FASTPT, *words], stdout=2).returncode:  # the tables that are asked for have stdout alone
            failed.append(command)
    left = [f"  {', '.join(missing[command])}: `{command}` failed, see above" for command in failed]
    left += [f"  {', '.join(missing[command])}: {_by_hand(command)}" for command in by_hand]
    if left:
        raise FastptError(
            "not all sets could be prepared:\n" + "\n".join(left) + f"\nThe same command goes on with these; without "
            f"--prepare, what is there of suite {suite.name} is tuned on."
        )


def _words(command: str) -> list[str] | None:
    """The words behind `fastpt` of a command that can be run as it stands."""
    try:
        first, *words = shlex.split(command)
    except ValueError:
        return None
    return words if first == "fastpt" and words[:1] == ["prep"] else None


def _by_hand(command: str | None) -> str:
    return (
        f"to be prepared by hand: {command}" if command else "the suite names no command that prepares it (prep: ...)"
    )
