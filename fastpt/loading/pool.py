"""The native threads of one iteration, by _batches.c: they read, check and decode the pictures of all batches in work.

Python only plans what is to be done and looks after what comes out otherwise: `Pool.submit` puts a batch to work,
`Job.wait` waits for it, and neither takes longer for more pictures. Without the library no thread is started, and every
picture is one that is `LEFT`.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable
from functools import cache

import numpy as np

from fastpt import native
from fastpt.data import pictures
from fastpt.data.pictures import Pictures, Result
from fastpt.errors import FastptError
from fastpt.jpeg import Interpolation, kernel

MOST = 8  # batches that may be in work: RING of _batches.c
PATIENCE = 50  # milliseconds after which Python looks for signals while it waits


class _Decoding(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("new", "free", "decode")),
        ("filter", ctypes.c_int32),
        ("size", ctypes.c_int32),
    ]


class Pool:
    """`threads` threads that read pictures, and with `size` decode them too, by our kernel, to `size` x `size`.

    To be closed where it was opened: then its threads end, each after the picture that it is at. They end too when the
    pool is collected, and before the process exits. In a process that was forked from this one they do not exist: there
    a job cannot be waited for, and closing does nothing.

    Raises FastptError if the machine gives no thread.
    """

    def __init__(
        self,
        stored: Pictures,
        shard: Callable[[int], int],
        threads: int,
        size: int = 0,
        interpolation: Interpolation = "area",
    ):
        self._stored, self._shard, self._size = stored, shard, size
        self._held: dict[int, tuple] = {}  # what threads may be writing to, by batch
        self._process = os.getpid()
        self._handle: int | None = None
        library = _library()
        functions = kernel.functions() if size and library else None
        if library is None or (size and functions is None):
            return
        decoding = _Decoding(*(functions or (None, None, None)), kernel.INTERPOLATIONS.index(interpolation), size)
        self._handle = library.fastpt_pool_new(ctypes.byref(stored.struct), ctypes.byref(decoding), threads)
        if not self._handle:
            raise FastptError(f"none of {threads} threads to load with could be started. Raise `ulimit -u`.")
        self._end = weakref.finalize(self, _end, library, self._handle, self._process)

    def submit(
        self,
        sample_ids: np.ndarray,
        boxes: np.ndarray,
        flips: np.ndarray,
        out: np.ndarray,
        starts: np.ndarray | None = None,
    ) -> Job:
        """Put B pictures to work: ids int64 [B], boxes int32 [B, 4], flips bool [B].

        They go to `out`, uint8 [B, size, size, 3]; with `starts`, uint64 [B], their JPEGs go there in `out`, uint8. At
        most `MOST` batches may be in work.
        """
        results = np.full(len(sample_ids), Result.LEFT, np.uint8)
        if self._handle is None or len(sample_ids) == 0:
            return Job(self, None, results)
        library = _library()
        assert library is not None
        self._check_process()
        self._stored.open(sample_ids, self._shard)
        arrays = (sample_ids, boxes, flips, starts, out, results)
        pointers = [None if array is None else array.ctypes.data for array in arrays]
        number = library.fastpt_pool_submit(self._handle, len(sample_ids), *pointers)
        assert number >= 0, f"more than {MOST} batches in work"
        self._held[number] = arrays
        return Job(self, number, results)

    def wait(self, number: int, milliseconds: int) -> bool:
        """Wait for a batch, so long at most; whether it is done. Python's lock is let go meanwhile."""
        library = _library()
        assert library is not None
        assert self._handle is not None, "the pool is closed"
        self._check_process()
        done = bool(library.fastpt_pool_wait(self._handle, number, milliseconds))
        if done:
            del self._held[number]
        return done

    def close(self) -> None:
        """End the threads."""
        if self._handle is not None:
            self._handle = None
            self._end()
            self._held.clear()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise FastptError(
                "this iterator of a loader was made before the process was forked, and its threads are not here. Make "
                "a new one in this process."
            )


class Job:
    """A batch in work. `results`, uint8 [B], say what came of each picture (`Result`) once it is done."""

    def __init__(self, pool: Pool, number: int | None, results: np.ndarray):
        self.results = results
        self._pool, self._number = pool, number

    def done(self, milliseconds: int = 0) -> bool:
        """Whether it is done, now or within so many milliseconds."""
        if self._number is not None and self._pool.wait(self._number, milliseconds):
            self._number = None
        return self._number is None

    def wait(self) -> None:
        """Wait until it is done; signals are seen to meanwhile."""
        while not self.done(PATIENCE):
            pass


def _end(library: ctypes.CDLL, handle: int, process: int) -> None:
    if os.getpid() == process:
        library.fastpt_pool_free(handle)


@cache
def _library() -> ctypes.CDLL | None:
    """_batches.c, or None where it was not built or lacks what it checks pictures with."""
    library = native.load("_batches", __file__)
    if library is None or pictures.library() is None:
        return None
    number, pointer = ctypes.c_int32, ctypes.c_void_p
    library.fastpt_pool_new.argtypes = [pointer, pointer, number]
    library.fastpt_pool_new.restype = pointer
    library.fastpt_pool_free.argtypes = [pointer]
    library.fastpt_pool_free.restype = None
    library.fastpt_pool_submit.argtypes = [pointer, number, *6 * [pointer]]
    library.fastpt_pool_submit.restype = ctypes.c_int64
    library.fastpt_pool_wait.argtypes = [pointer, ctypes.c_uint32, number]
    return library
