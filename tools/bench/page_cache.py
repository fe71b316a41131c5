"""What of files the kernel holds in memory."""

import ctypes
import mmap
from pathlib import Path

import numpy as np


def resident(files: list[Path]) -> float:
    """The share of the files' pages that are in the page cache (mincore)."""
    libc, there, pages = ctypes.CDLL(None, use_errno=True), 0, 0
    for file in files:
        with file.open("rb") as opened:
            mapped = mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE)
        view = np.frombuffer(mapped, np.uint8)
        flags = np.zeros(-(-view.size // mmap.PAGESIZE), np.uint8)
        if libc.mincore(
            ctypes.c_void_p(view.ctypes.data), ctypes.c_size_t(view.size), ctypes.c_void_p(flags.ctypes.data)
        ):
            raise OSError(ctypes.get_errno(), "mincore")
        there, pages = there + int((flags & 1).sum()), pages + flags.size
        del view
        mapped.close()
    return there / pages
