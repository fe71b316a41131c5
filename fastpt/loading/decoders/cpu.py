"""Decoding on the CPU in C from a pool of threads (fastpt/loading/pool.py).

Our own kernel decodes what a crop needs (fastpt/jpeg). Where it was not built, and for pictures that it leaves,
libjpeg-turbo or Pillow decode whole pictures in Python threads (fastpt/jpeg/whole.py); OpenCV resizes them by area, or
torch by antialiased bilinear or bicubic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastpt.data.pictures import Result
from fastpt.errors import FastptError
from fastpt.jpeg import Interpolation, kernel, whole
from fastpt.loading.batch import DecodedBatch
from fastpt.loading.memory import BatchMemory
from fastpt.loading.pool import Job, Pool
from fastpt.loading.reading import AHEAD, BatchPlan, BatchReader, Intact

if TYPE_CHECKING:
    import torch


class CpuDecoder:
    """Decodes `threads` pictures at a time, and delivers to a GPU by asynchronous copies out of pinned memory."""

    devices = ("cpu",)
    reads = True
    options = {}

    def __init__(self, size: int, interpolation: Interpolation, threads: int, device: torch.device, batch_size: int):
        self.size, self.threads, self.device = size, threads, device
        self.interpolation: Interpolation = interpolation
        # Of the batches in work, the one that is given and the one before, which its reader may still hold.
        self._batch_memory = BatchMemory(batch_size * size * size * 3, kept=AHEAD + 2)

    def batches(self, reader: BatchReader, positions: Iterable[np.ndarray]) -> Generator[DecodedBatch, None, None]:
        """The batches, in order; `AHEAD` more are in work."""
        left_over = ThreadPoolExecutor(self.threads, "fastpt-cpu")  # starts no thread before there is work
        started: deque[_Batch] = deque()
        try:
            with reader.pool(self.threads, self.size, self.interpolation) as pool:
                for places in positions:
                    started.append(self._start(pool, reader.plan(places)))
                    for batch in started:  # early, so that it is done while the reader's batch is computed with
                        if batch.found is None and batch.job.done():
                            self._look_after(left_over, reader, batch)
                    if len(started) > AHEAD:
                        yield self._finish(left_over, reader, started.popleft())
                while started:
                    yield self._finish(left_over, reader, started.popleft())
        finally:
            for batch in started:
                for future in (batch.found or {}).values():
                    future.cancel()
            left_over.shutdown()  # cancel_futures=True fails where a process exits amid an iteration: modules are gone

    def close(self) -> None:
        """Threads end with `batches`; the memory of its batches is kept for the next."""
        self._batch_memory.clear()

    def _start(self, pool: Pool, plan: BatchPlan) -> _Batch:
        import torch

        shape = (len(plan.positions), self.size, self.size, 3)
        if self.device.type == "cuda":  # torch keeps pinned memory itself, and knows which copies are under way
            images = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        else:
            images = self._batch_memory.take(shape)
        return _Batch(plan, images, pool.submit(plan.sample_ids, plan.boxes, plan.flips, images.numpy()))

    def _look_after(self, left_over: ThreadPoolExecutor, reader: BatchReader, batch: _Batch) -> None:
        """Begin with those pictures of a batch that the pool has not made."""
        if batch.found is None:
            misled = batch.job.results == Result.MISLED
            reader.stale.add(batch.plan.sample_ids[misled].tolist())
            rows = np.flatnonzero((batch.job.results != Result.GOOD) & ~misled).tolist()
            batch.found = {
                row: left_over.submit(self._fill, reader, batch.plan, row, batch.images[row].numpy()) for row in rows
            }

    def _finish(self, left_over: ThreadPoolExecutor, reader: BatchReader, batch: _Batch) -> DecodedBatch:
        import torch

        batch.job.wait()
        self._look_after(left_over, reader, batch)
        found = {row: future.result() for row, future in (batch.found or {}).items()}
        plan, images = reader.settled(batch.plan, found), batch.images
        if None in found.values():
            images = images[torch.tensor([found.get(row, True) is not None for row in range(len(images))])]
        return DecodedBatch(images.to(self.device, non_blocking=True), plan.sample_ids, plan.views)

    def _fill(self, reader: BatchReader, plan: BatchPlan, row: int, out: np.ndarray) -> Intact | None:
        """Make one picture, or what takes its place, uint8 [H, W, 3]; None where it is left out."""
        intact = reader.intact(int(plan.positions[row]))
        if intact:
            one, samples = reader.plan(np.array([intact.position])), reader.dataset.samples
            shapes = np.stack([samples.height[one.sample_ids], samples.width[one.sample_ids]], axis=1)
            picture = (intact.jpeg, shapes[0], one.boxes[0], bool(one.flips[0]))
            status = kernel.decode_one(*picture, self.interpolation, out)
            if status == kernel.MISLED:
                reader.stale.add(one.sample_ids.tolist())
            if status == kernel.UNUSUAL:
                self._decode_whole(intact.jpeg, shapes[0].tolist(), one, out)
        return intact

    def _decode_whole(self, jpeg: np.ndarray, shape: list[int], plan: BatchPlan, out: np.ndarray) -> None:
        """Decode one picture of `shape`, resize its box into `out`, uint8 [H, W, 3], and flip it."""
        picture = _decode(jpeg, (shape[0], shape[1], 3), int(plan.sample_ids[0]))
        resize(picture, plan.boxes[0].tolist(), out, self.interpolation)
        if plan.flips[0]:
            out[...] = out[:, ::-1]


@dataclass
class _Batch:
    """A batch in work; `found`, once it is looked after, what becomes of the rows that the pool has not made."""

    plan: BatchPlan
    images: torch.Tensor  # uint8 [B, H, W, 3]
    job: Job
    found: dict[int, Future[Intact | None]] | None = None


def resize(picture: np.ndarray, box: Sequence[int], out: np.ndarray, interpolation: Interpolation) -> None:
    """Resize the box (top, left, height, width) of `picture`, uint8 [h, w, 3], into `out`, uint8 [H, W, 3]."""
    top, left, height, width = box
    cut = picture[top : top + height, left : left + width]
    if interpolation == "area":
        import cv2

        out[...] = cv2.resize(cut, out.shape[1::-1], interpolation=cv2.INTER_AREA)
        return
    import torch

    resized = torch.nn.functional.interpolate(
        torch.from_numpy(cut).permute(2, 0, 1)[None], out.shape[:2], mode=interpolation, antialias=True
    )
    out[...] = resized[0].permute(1, 2, 0).numpy()


def _decode(jpeg: np.ndarray, shape: tuple[int, int, int], sample_id: int) -> np.ndarray:
    """Decode a whole picture, uint8 [h, w, 3].

    Raises FastptError where that cannot be: these are the stored bytes, so the preparation let them through.
    """
    try:
        picture = whole.decode(jpeg)
    except OSError as error:
        found = f"cannot be decoded ({error})"
    else:
        if picture.shape == shape:
            return picture
        found = f"is {picture.shape[1]} x {picture.shape[0]} pixels, not {shape[1]} x {shape[0]}"
    raise FastptError(f"sample {sample_id} has the bytes that were stored, but {found}. Prepare the split anew.")
