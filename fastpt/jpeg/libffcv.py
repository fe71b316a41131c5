"""libffcv, found without importing FFCV's Python package, which compiles with numba."""

import ctypes
import importlib.util
from pathlib import Path

from fastpt.errors import FastptError


def load_libffcv() -> ctypes.CDLL:
    """FFCV's C library; it is linked with libjpeg-turbo, whose functions it offers too. Raises FastptError."""
    spec = importlib.util.find_spec("ffcv")
    folders = spec.submodule_search_locations if spec else []
    found = [path for folder in folders for path in Path(folder).glob("_libffcv*.so")]
    if not found:
        raise FastptError(f"libffcv was not found (looked in: {folders or 'no ffcv package'}). Run tools/setup.")
    return ctypes.CDLL(str(found[0]))
