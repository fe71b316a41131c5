"""Processes that do not outlive who started them."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1  # prctl's option


def die_with(parent: int) -> None:
    """From now on a SIGKILL ends this process when `parent`, which started it, is gone, however that ended (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before
        os._exit(1)
