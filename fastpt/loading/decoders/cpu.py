"""Decoding on the CPU in C from a pool of threads.

Our own kernel decodes what a crop needs (fastpt/jpeg). Where it was not built, and for pictures it leaves, libffcv's
decode the whole picture and resize by area; antialiased bilinear and bicubic then come from torch's uint8 kernels.
All are called through ctypes, which releases the GIL.
"""

from __future__ import annotations

import io
import threading
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from fastpt.errors import FastptError
from fastpt.jpeg import Interpolation, kernel, libffcv
from fastpt.loading.batch import DecodedBatch
from fastpt.loading.reading import BatchPlan, BatchReader, ReadBatch

if TYPE_CHECKING:
    import torch

AHEAD = 2  # batches in work beside the one that is waited for
CHUNK = 16  # pictures of a work item, at most: enough to amortise numpy's overhead, few enough to share a batch out


class CpuDecoder:
    """Decodes `threads` pictures at a time, and delivers to a GPU by asynchronous copies out of pinned memory."""

    devices = ("cpu",)
    reads = True
    options = {}

    def __init__(self, size: int, interpolation: Interpolation, threads: int, device: torch.device, batch_size: int):
        self.size, self.threads, self.device = size, threads, device
        self.interpolation: Interpolation = interpolation
        libffcv.load()  # if it is not there, that is said now
        self._scratch = threading.local()

    def batches(self, reader: BatchReader, positions: Iterable[np.ndarray]) -> Generator[DecodedBatch, None, None]:
        """The batches, in order; `AHEAD` more are in work."""
        pool = ThreadPoolExecutor(self.threads, "fastpt-cpu")
        started: deque[tuple[torch.Tensor, list[Future]]] = deque()
        try:
            for places in positions:
                started.append(self._start(pool, reader, places))
                if len(started) > AHEAD:
                    yield self._finish(*started.popleft())
            while started:
                yield self._finish(*started.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        """Threads end with `batches`; nothing else is held."""

    def _start(
        self, pool: ThreadPoolExecutor, reader: BatchReader, positions: np.ndarray
    ) -> tuple[torch.Tensor, list[Future]]:
        """Memory for a batch, and the work items that fill it; at least one, be it empty."""
        import torch

        shape = (len(positions), self.size, self.size, 3)
        images = torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        # All batches in work share the threads.
        chunk = max(1, min(CHUNK, -(-(AHEAD + 1) * len(positions) // self.threads)))
        plan, pixels = reader.plan(positions), images.numpy()
        items = [slice(start, start + chunk) for start in range(0, max(len(positions), 1), chunk)]
        return images, [pool.submit(self._fill, reader, plan.part(item), pixels[item]) for item in items]

    def _finish(self, images: torch.Tensor, work: list[Future]) -> DecodedBatch:
        import torch

        masks, ids, views = (np.concatenate(parts) for parts in zip(*(item.result() for item in work), strict=True))
        if not masks.all():
            images = images[torch.from_numpy(masks)]
        return DecodedBatch(images.to(self.device, non_blocking=True), ids, views)

    def _fill(
        self, reader: BatchReader, plan: BatchPlan, images: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Decode into `images`, uint8 [K, H, W, 3]. Returns which are filled, bool [K], their ids and views."""
        read, samples = reader.read(plan), reader.dataset.samples
        shapes = np.stack([samples.height[read.sample_ids], samples.width[read.sample_ids]], axis=1)
        done = kernel.decode(read.jpegs, shapes, read.boxes, read.flips, self.interpolation, images, read.rows)
        for at in np.flatnonzero(~done).tolist():
            self._decode_whole(read, at, shapes[at].tolist(), images[read.rows[at]])
        filled = np.zeros(len(images), bool)
        filled[read.rows] = True
        return filled, read.sample_ids, read.views

    def _decode_whole(self, read: ReadBatch, at: int, shape: list[int], out: np.ndarray) -> None:
        """Decode one picture of `shape`, resize its box into `out`, uint8 [H, W, 3], and flip it."""
        height, width = shape
        picture = self._memory(height * width * 3).reshape(height, width, 3)
        if not libffcv.decode(read.jpegs[at], picture):
            picture = _decode_tolerantly(read.jpegs[at], (height, width, 3), int(read.sample_ids[at]))
        resize(picture, read.boxes[at].tolist(), out, self.interpolation)
        if read.flips[at]:
            out[...] = out[:, ::-1]

    def _memory(self, size: int) -> np.ndarray:
        """uint8 [size] that this thread uses for all pictures: fresh pages would cost a tenth of the decoding."""
        memory = getattr(self._scratch, "memory", None)
        if memory is None or memory.size < size:
            memory = self._scratch.memory = np.empty(size, np.uint8)
        return memory[:size]


def resize(picture: np.ndarray, box: Sequence[int], out: np.ndarray, interpolation: Interpolation) -> None:
    """Resize the box (top, left, height, width) of `picture`, uint8 [h, w, 3], into `out`, uint8 [H, W, 3]."""
    if interpolation == "area":
        libffcv.resize_by_area(picture, box, out)
        return
    import torch

    top, left, height, width = box
    cut = torch.from_numpy(picture[top : top + height, left : left + width]).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(cut, out.shape[:2], mode=interpolation, antialias=True)
    out[...] = resized[0].permute(1, 2, 0).numpy()


def _decode_tolerantly(jpeg: np.ndarray, shape: tuple[int, int, int], sample_id: int) -> np.ndarray:
    """Decode with Pillow, uint8 [h, w, 3], what libffcv would not: it takes every libjpeg warning for a failure.

    Raises FastptError where Pillow fails too: these are the stored bytes, so the preparation let them through.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(jpeg.tobytes()), formats=["JPEG"]) as image:
            picture = np.array(image.convert("RGB"))
    except OSError as error:
        found = f"cannot be decoded ({error})"
    else:
        if picture.shape == shape:
            return picture
        found = f"is {picture.shape[1]} x {picture.shape[0]} pixels, not {shape[1]} x {shape[0]}"
    raise FastptError(f"sample {sample_id} has the bytes that were stored, but {found}. Prepare the split anew.")
