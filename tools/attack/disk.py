"""A disk that fills while a command writes; then there is room again, and the same command once more.

Run as root, or below `unshare --user --map-root-user --mount`, to mount a small disk in memory.
"""

import contextlib
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.cases import workplace
from tools.attack import scene
from tools.attack.scene import JOBS

FILLED = ("prep", "prep tars", "train", "train clip", "resume", "export", "tune", "materialize", "materialize ffcv",
          "noise", "preview", "report", "read tar", "study")  # fmt: skip
SIZE = 96 << 20
CHANGES = (".log", ".lock", "metrics.jsonl", "recipe.yaml", "provenance.json")  # may be written while there is room


@contextlib.contextmanager
def mounted(base: Path) -> Iterator[None]:
    """A disk of SIZE bytes in memory at `base`, with all that lies there."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "attack", str(base)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(base)], check=True)


def attack(base: Path, names: list[str], count: int, dice: random.Random) -> bool:
    """Let the disk fill `count` times during each job. Prints a line for each; returns whether all was well."""
    return all([_attack(base, name, count, dice) for name in names])


def _attack(base: Path, name: str, count: int, dice: random.Random) -> bool:
    job, here, seen, faults = JOBS[name], base / "here", Counter(), []
    _fresh(base, here)
    before = shutil.disk_usage(here).used
    whole = scene.undisturbed(here, job)
    written = shutil.disk_usage(here).used - before
    for _ in range(count):
        _fresh(base, here)
        kept = workplace.digests(here)
        filler = base / "filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(here).free - dice.randrange(written + 1))
        ended = scene.run(here, job.words)
        filler.unlink()
        if ended.code == 0:
            seen["enough room"] += 1
            continue
        seen["full"] += 1
        errors = [line for line in ended.printed.splitlines() if line.startswith("Error")]
        if len(errors) != 1 or "Traceback" in ended.printed or ended.code < 0:
            faults.append(f"no plain error: {ended.printed[-1500:]}")
        if changed := [path for path, sum in workplace.digests(here).items() if kept.get(path, sum) != sum]:
            faults += [f"changed: {path}" for path in changed if not path.endswith(CHANGES)]
        ended = scene.run(here, f"{job.words} {job.again}")
        if left := [path for path in here.rglob("*.tmp")]:
            faults.append(f"leaves {left}")
        if ended.code or scene.result(here, job, ended) != whole:
            faults.append(f"does not go on as before: {ended.printed[-1500:]}")
    print(f"{name}: {dict(seen)}, {written:,} bytes written, {len(faults)} faults", flush=True)
    for fault in faults[:5]:
        print(f"    {fault}", flush=True)
    return not faults


def _fresh(base: Path, here: Path) -> None:
    workplace.copy(base / "saved", here)
    for kind in ("features", "heads", "tokens", "indexes"):
        shutil.rmtree(here / "cache" / "fastpt" / kind, ignore_errors=True)
