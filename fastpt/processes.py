"""How many processes or threads to start, and how they do not outlive who started them."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1  # prctl's option


def cores() -> int:
    """The cores that this process may use: those of a container or a cluster's job, not those of the machine."""
    return len(os.sched_getaffinity(0))


def die_with(parent: int) -> None:
    """From now on a SIGKILL ends this process when `parent`, which started it, is gone, however that ended (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before
        os._exit(1)
