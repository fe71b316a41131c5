"""The stored pictures of a data set as C reads and checks them: `struct pictures` of pictures.h.

The check is xxh3-64 and the size in the JPEG's own frame header, as in `Samples.intact`. xxh3 is the function in the
library of the xxhash package, which every installation has: called there, once it was seen to give what Python's gives.
Without it, or without a C compiler at install, Python reads and checks.
"""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from functools import cache
from importlib import import_module
from itertools import pairwise

import numpy as np
import xxhash

from fastpt import native
from fastpt.data.samples import Samples
from fastpt.errors import FastptError
from fastpt.jpeg import frames

XXH3_NAMES = ("XXH3_64bits_dispatch", "XXH3_64bits")  # the first uses what the processor at hand has


class Result(IntEnum):
    """What came of a picture: `enum result` of pictures.h."""

    GOOD = 0
    """It is what was stored."""
    SHORT = 1
    """Its file ends before it does."""
    UNREADABLE = 2
    """The file cannot be opened, or the disk fails."""
    DAMAGED = 3
    """Its bytes have another checksum, or its frame header states another size than the table."""
    LEFT = 4
    """A decoder leaves it to another one."""
    MISLED = 5
    """It is what was stored, and decoded, though its entry points do not fit its data."""


class _Pictures(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("shard", "offset", "size", "width", "height", "xxh3", "files")),
        *((name, ctypes.c_void_p) for name in ("checksum", "frame_sizes")),
        ("wide", ctypes.c_int32),
    ]


class Pictures:
    """N stored pictures and the files they lie in, which are opened when first needed."""

    def __init__(self, samples: Samples):
        self._samples = samples
        self._files = np.full(int(samples.shard.max(initial=0)) + 1, -1, np.int32)
        wide = samples.shard.dtype != np.uint16
        kinds = {"shard": np.uint32 if wide else np.uint16, "offset": np.uint64, "size": np.uint32}
        kinds |= {"width": np.uint16, "height": np.uint16, "xxh3": np.uint64}
        self._columns = {name: np.ascontiguousarray(getattr(samples, name), kind) for name, kind in kinds.items()}
        self._columns["files"] = self._files
        self.struct = _Pictures(
            **{name: column.ctypes.data for name, column in self._columns.items()},
            checksum=xxh3(),
            frame_sizes=frames.function(),
            wide=wide,
        )

    def open(self, sample_ids: np.ndarray, shard: Callable[[int], int]) -> None:
        """Open the files of samples, int64 [K], by `shard` (see `ImageDataset`); those it cannot open stay closed."""
        shards = self._samples.shard[sample_ids]
        closed = shards[self._files[shards] < 0]
        for index in np.unique(closed).tolist() if len(closed) else ():
            with suppress(FastptError):  # who reads from it says what is wrong
                self._files[index] = shard(index)

    def places(self, sample_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Memory for the JPEGs of samples, uint8, and where in it each begins and the last ends: uint64 [K + 1]."""
        starts = np.zeros(len(sample_ids) + 1, np.uint64)
        np.cumsum(self._samples.size[sample_ids], out=starts[1:])
        return np.empty(int(starts[-1]), np.uint8), starts

    def read(self, sample_ids: np.ndarray, shard: Callable[[int], int]) -> tuple[list[np.ndarray], np.ndarray]:
        """The JPEGs of samples, int64 [K]: K times uint8 [size], and uint8 [K], what came of each (`Result`).

        Only a good one is of use; all are `LEFT` without `library()`. Safe to call from many threads.
        """
        memory, starts = self.places(sample_ids)
        results, read = np.full(len(sample_ids), Result.LEFT, np.uint8), library()
        if read:
            self.open(sample_ids, shard)
            ids = np.ascontiguousarray(sample_ids, np.int64)
            pointers = (array.ctypes.data for array in (ids, starts, memory, results))
            read.fastpt_read(ctypes.byref(self.struct), len(ids), *pointers)
        return cut(memory, starts), results


def cut(memory: np.ndarray, starts: np.ndarray) -> list[np.ndarray]:
    """The pieces of `memory` between K + 1 `starts`."""
    return [memory[start:end] for start, end in pairwise(starts.tolist())]


@cache
def library() -> ctypes.CDLL | None:
    """_pictures.c, or None where it was not built or lacks what it checks with."""
    if xxh3() is None or frames.function() is None:
        return None
    library = native.load("_pictures", __file__)
    if library:
        library.fastpt_read.argtypes = [ctypes.c_void_p, ctypes.c_int, *4 * [ctypes.c_void_p]]
        library.fastpt_read.restype = None
    return library


@cache
def xxh3() -> int | None:
    """Where XXH3_64bits is in the xxhash package's library; None where that does not show it."""
    try:
        hashes = ctypes.CDLL(import_module("xxhash._xxhash").__file__)
    except (ImportError, OSError):
        return None
    for name in XXH3_NAMES:
        if hasattr(hashes, name) and _is_xxh3(address := native.address(hashes, name)):
            return address
    return None


def _is_xxh3(address: int) -> bool:
    """Whether a C function gives the sums that Python's gives, for each of the lengths that xxh3 treats differently."""
    checksum = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_char_p, ctypes.c_size_t)(address)
    data, lengths = bytes(range(256)) * 8, (0, 1, 4, 9, 17, 129, 241, 1024, 2048)
    return all(checksum(data, length) == xxhash.xxh3_64_intdigest(data[:length]) for length in lengths)
