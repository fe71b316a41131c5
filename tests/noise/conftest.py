from collections.abc import Iterator
from pathlib import Path

import numpy as np


def flips(path: Path, count: int = 60) -> Iterator[None]:
    """A file with one bit flipped, another each time, at places drawn by a seed."""
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for place in rng.integers(0, len(whole), count):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        yield
