"""The machine that a bench runs on, and who else uses it."""

import contextlib
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from fastpt.errors import FastptError
from fastpt.processes import cores, cpu_kind
from tools.bench.peers import ROOT

QUIET = 0.1  # share of the processors that others may use


BUSY = click.option("--busy", is_flag=True, help="Measure though others use the machine; figures are marked.")


@contextlib.contextmanager
def told() -> Iterator[None]:
    """End with one line where a package is missing or fastpt refuses something, as a contest tells it of a peer."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is not installed. Run tools/setup, which brings all.") from None
    except FastptError as error:
        raise click.ClickException(str(error)) from None


def refuse_if_busy(busy: bool) -> None:
    """Raise ClickException if others use the machine, and that was not allowed."""
    others = load(2.0)
    if others > QUIET and not busy:
        raise click.ClickException(
            f"others use {others:.0%} of this machine's processors, so that nothing can be measured. Wait, or give "
            "--busy, which marks the figures."
        )


def facts() -> dict[str, Any]:
    """What figures are stated with."""
    return {
        "processor": cpu_kind(),
        "cores": cores(),
        "memory_gib": round(int(_field("/proc/meminfo", "MemTotal").split()[0]) / 2**20, 1),
        "gpu": _gpu(),
        "system": f"Linux {platform.release()}, Python {platform.python_version()}",
        "commit": _git("rev-parse", "HEAD")[:12]
        + ("-dirty" if _git("status", "--porcelain", "--untracked-files=no") else ""),
        "time": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def threads() -> int:
    """That torch and the like compute with in every contestant: OMP_NUM_THREADS, or one a core."""
    return int(os.environ.get("OMP_NUM_THREADS", cores()))


def load(seconds: float = 0.5) -> float:
    """The share of the processors' time that is in use now, by whoever: 0 to 1."""
    before = _spent()
    time.sleep(seconds)
    idle, total = (after - then for after, then in zip(_spent(), before, strict=True))
    return 1 - idle / max(total, 1)


def _spent() -> tuple[int, int]:
    """Ticks that the processors idled or waited for a disk, and all."""
    ticks = [int(one) for one in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return ticks[3] + ticks[4], sum(ticks)


def _field(path: str, name: str) -> str:
    lines = Path(path).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _gpu() -> str | None:
    try:
        asked = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return asked.stdout.splitlines()[0].partition(":")[2].partition("(")[0].strip() or None


def _git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False).stdout.strip()
