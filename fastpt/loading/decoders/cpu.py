"""Decoding on the CPU in C from a pool of threads.

Our own kernel decodes what a crop needs (fastpt/jpeg). Where it was not built, and for pictures it leaves, libffcv's
decode the whole picture and resize by area; antialiased bilinear and bicubic then come from torch's uint8 kernels.
All are called through ctypes, which releases the GIL; FFCV's Python package, which compiles with numba, is never
imported.
"""

import ctypes
import io
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

import cv2
import numpy as np
import torch
from PIL import Image

from fastpt.errors import FastptError
from fastpt.jpeg import kernel
from fastpt.jpeg.libffcv import load_libffcv
from fastpt.loading.batch import DecodedBatch
from fastpt.loading.reading import BatchPlan, BatchReader, ReadBatch

AHEAD = 2  # batches in work beside the one that is waited for
CHUNK = 16  # pictures of a work item, at most: enough to amortise numpy's overhead, few enough to share a batch out


class CpuDecoder:
    """Turns picks into batches of `size` x `size` pixels, `threads` pictures at a time."""

    def __init__(self, size: int, interpolation: str, threads: int, device: torch.device):
        self.size, self.interpolation, self.threads, self.device = size, interpolation, threads, device
        self._lib = libffcv()
        self._scratch = threading.local()

    def batches(self, picker: BatchReader, plan: Iterable[np.ndarray]) -> Iterator[DecodedBatch]:
        """A batch for each array of positions in `plan`, in order. Closing the iterator ends its threads."""
        pool = ThreadPoolExecutor(self.threads, "fastpt-cpu")
        started: deque[tuple[torch.Tensor, list[Future]]] = deque()
        try:
            for positions in plan:
                started.append(self._start(pool, picker, positions))
                if len(started) > AHEAD:
                    yield self._finish(*started.popleft())
            while started:
                yield self._finish(*started.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        """Threads end with `batches`; nothing else is held."""

    def _start(self, pool: ThreadPoolExecutor, picker: BatchReader, positions: np.ndarray) -> tuple[torch.Tensor, list]:
        """Memory for a batch, and the work items that fill it; at least one, be it empty."""
        shape = (len(positions), self.size, self.size, 3)
        images = torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        # All batches in work share the threads.
        chunk = max(1, min(CHUNK, -(-(AHEAD + 1) * len(positions) // self.threads)))
        starts = range(0, max(len(positions), 1), chunk)
        wanted = picker.wanted(positions)
        return images, [
            pool.submit(
                self._fill,
                picker,
                BatchPlan(*(column[at : at + chunk] for column in wanted)),
                images.numpy()[at : at + chunk],
            )
            for at in starts
        ]

    def _finish(self, images: torch.Tensor, work: list[Future]) -> DecodedBatch:
        masks, ids, views = (np.concatenate(parts) for parts in zip(*(item.result() for item in work), strict=True))
        if not masks.all():
            images = images[torch.from_numpy(masks)]
        return DecodedBatch(images.to(self.device, non_blocking=True), torch.from_numpy(ids), torch.from_numpy(views))

    def _fill(self, picker: BatchReader, wanted: BatchPlan, images: np.ndarray) -> tuple[np.ndarray, ...]:
        """Decode into `images`, uint8 [K, H, W, 3]. Returns which are filled, bool [K], their ids and views."""
        picks, samples = picker.read(wanted), picker.dataset.samples
        shapes = np.stack([samples.height[picks.sample_ids], samples.width[picks.sample_ids]], axis=1)
        done = np.zeros(len(picks.rows), bool)
        if kernel.kernel():
            done = kernel.decode(picks.jpegs, shapes, picks.boxes, picks.flips, self.interpolation, images, picks.rows)
        for at in np.flatnonzero(~done):
            self._decode_whole(picks, at, shapes[at].tolist(), images[picks.rows[at]])
        filled = np.zeros(len(images), bool)
        filled[picks.rows] = True
        return filled, picks.sample_ids, picks.views

    def _decode_whole(self, picks: ReadBatch, at: int, shape: list[int], out: np.ndarray) -> None:
        """Decode one picture of `shape` with libffcv, resize its box into `out`, uint8 [H, W, 3], and flip it."""
        height, width = shape
        stored = picks.jpegs[at]
        picture = self._memory(height * width * 3).reshape(height, width, 3)
        if self._lib.imdecode(
            stored.ctypes.data, stored.size, height, width, picture.ctypes.data, height, width, 0, 0, 1, 1, False, False
        ):
            picture = _decode_tolerantly(stored, (height, width, 3), int(picks.sample_ids[at]))
        resize(picture, picks.boxes[at].tolist(), out, self.interpolation)
        if picks.flips[at]:
            cv2.flip(out, 1, dst=out)

    def _memory(self, size: int) -> np.ndarray:
        """uint8 [size] that this thread uses for all pictures: fresh pages would cost a tenth of the decoding."""
        memory = getattr(self._scratch, "memory", None)
        if memory is None or memory.size < size:
            memory = self._scratch.memory = np.empty(size, np.uint8)
        return memory[:size]


def resize(picture: np.ndarray, box: list[int], out: np.ndarray, interpolation: str) -> None:
    """Resize the box (top, left, height, width) of `picture`, uint8 [h, w, 3], into `out`, uint8 [H, W, 3]."""
    top, left, height, width = box
    if interpolation == "area":
        libffcv().resize(
            0,
            picture.ctypes.data,
            *picture.shape[:2],
            top,
            top + height,
            left,
            left + width,
            out.ctypes.data,
            *out.shape[:2],
        )
        return
    cut = torch.from_numpy(picture[top : top + height, left : left + width]).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(cut, out.shape[:2], mode=interpolation, antialias=True)
    out[...] = resized[0].permute(1, 2, 0).numpy()


def _decode_tolerantly(stored: np.ndarray, shape: tuple[int, int, int], sample_id: int) -> np.ndarray:
    """Decode with Pillow, uint8 [h, w, 3], what libffcv would not: it takes every libjpeg warning for a failure.

    Raises FastptError where Pillow fails too: these are the stored bytes, so the preparation let them through.
    """
    try:
        with Image.open(io.BytesIO(stored)) as image:
            picture = np.array(image.convert("RGB"))
    except OSError as error:
        found = f"cannot be decoded ({error})"
    else:
        if picture.shape == shape:
            return picture
        found = f"is {picture.shape[1]} x {picture.shape[0]} pixels, not {shape[1]} x {shape[0]}"
    raise FastptError(f"sample {sample_id} has the bytes that were stored, but {found}. Prepare the split anew.")


@cache
def libffcv() -> ctypes.CDLL:
    """libffcv's kernels."""
    library = load_libffcv()
    number, pointer = ctypes.c_uint32, ctypes.c_void_p
    library.imdecode.argtypes = [
        pointer,
        ctypes.c_uint64,
        number,
        number,
        pointer,
        *6 * [number],
        ctypes.c_bool,
        ctypes.c_bool,
    ]
    library.resize.argtypes = 11 * [ctypes.c_int64]
    return library
