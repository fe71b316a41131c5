"""How many processes or threads to start, and how they do not outlive who started them."""

import ctypes
import os
import platform
import signal
from pathlib import Path

_WIDEST = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")
_PR_SET_PDEATHSIG = 1  # prctl's option


def cores() -> int:
    """The cores that this process may use: those of a container or a cluster's job, not those of the machine."""
    return len(os.sched_getaffinity(0))


def cpu_kind(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The CPU's model and the widest of its instructions that matrix products take: 'AMD EPYC, avx512_bf16'.

    Trainings of one seed differ between kinds: they add in another order.
    """
    try:
        first = cpuinfo.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return platform.machine()  # no Linux
    known = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}
    flags = known.get("flags", "").split()
    widest = [name for name in _WIDEST if name in flags][:1]
    return ", ".join([known.get("model name") or platform.machine(), *widest])


def die_with(parent: int) -> None:
    """From now on a SIGKILL ends this process when `parent`, which started it, is gone, however that ended (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before
        os._exit(1)
