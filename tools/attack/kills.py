"""Kills with -9, of a process or of its group, at random moments; then the same command again, to its end."""

import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.cases import workplace
from tools.attack import scene
from tools.attack.scene import JOBS

KILLED = ("prep", "prep tars", "train", "train clip", "tune many", "study", "materialize", "materialize ffcv", "export",
          "noise", "report")  # fmt: skip
MOST = 4  # kills before a job is let come to its end
ORPHANS = 10.0  # seconds after which processes that outlived a killed one are a fault


def attack(base: Path, names: list[str], count: int, dice: random.Random) -> bool:
    """Kill each job at least `count` times. Prints a line for each; returns whether all was well."""
    return all([_attack(base, name, count, dice) for name in names])


def _attack(base: Path, name: str, count: int, dice: random.Random) -> bool:
    job, here, seen, faults = JOBS[name], base / "here", Counter(), []
    _fresh(base)
    began = time.monotonic()
    whole = scene.undisturbed(here, job)
    took = time.monotonic() - began
    while seen["kills"] < count:
        _fresh(base)
        faults += _until_it_ends(here, name, took, dice, seen)
        ended = scene.run(here, f"{job.words} {job.again}")
        seen["runs"] += 1
        if ended.code and "exists" in ended.printed and scene.result(here, job, ended) == whole:
            seen["whole already"] += 1
        elif ended.code or "Traceback" in ended.printed:
            faults.append(f"ended with {ended.code}: {ended.printed[-1500:]}")
        elif scene.result(here, job, ended) != whole:
            faults.append(f"gives something else than undisturbed: {ended.printed[-1500:]}")
        elif left := [path for path in here.rglob("*.tmp")]:
            faults.append(f"leaves {left}")
        print(f"  {name}: {dict(seen)}, {len(faults)} faults", file=sys.stderr, flush=True)
    print(f"{name}: {dict(seen)}, {took:.1f} s undisturbed, {len(faults)} faults", flush=True)
    for fault in faults[:5]:
        print(f"    {fault}", flush=True)
    return not faults


def _fresh(base: Path) -> None:
    workplace.copy(base / "saved", base / "here")
    for kind in ("features", "heads", "tokens"):
        shutil.rmtree(base / "here" / "cache" / "fastpt" / kind, ignore_errors=True)


def _until_it_ends(here: Path, name: str, took: float, dice: random.Random, seen: Counter) -> list[str]:
    """Start a job and kill it, some times; what was wrong with that."""
    job, faults, log = JOBS[name], [], Path(tempfile.gettempdir(), f"attack-{os.getpid()}.log")
    for _ in range(dice.randint(1, MOST)):
        pid = scene.start(here, f"{job.words} {job.again}", log)
        time.sleep(dice.uniform(0, took))
        if os.waitpid(pid, os.WNOHANG)[0]:
            seen["came to their end"] += 1
            return faults
        try:
            (os.killpg if dice.random() < 0.5 else os.kill)(pid, signal.SIGKILL)
        except ProcessLookupError:  # it has no group of its own yet
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        seen["kills"] += 1
        if not _gone(pid):
            faults.append("processes outlive the one that was killed")
    return faults


def _gone(group: int) -> bool:
    """Wait until no process of a group is left."""
    end = time.monotonic() + ORPHANS
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    return False
