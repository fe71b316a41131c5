"""Our own compiled parts: plain shared libraries, built with the package where a C compiler is found."""

import ctypes
from pathlib import Path


def load(name: str, beside: str) -> ctypes.CDLL | None:
    """The library `name` in the folder of the file `beside`; None if it was not built, or does not load."""
    for path in sorted(Path(beside).parent.glob(f"{name}*.so")):  # .abi3.so before what other builds left
        try:
            return ctypes.CDLL(str(path))
        except OSError:
            continue
    return None


def address(library: ctypes.CDLL, name: str) -> int:
    """Where a function of a library is, for C that calls it."""
    return ctypes.cast(library[name], ctypes.c_void_p).value or 0
