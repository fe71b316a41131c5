"""From positions in an epoch's order to checked JPEG bytes, boxes and flips: what every decoder starts from.

A damaged picture is found and replaced before any decoder, so the verdict does not depend on the decoder.
"""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from fastpt.data.pictures import Pictures, cut
from fastpt.data.samples import ImageDataset
from fastpt.errors import DamagedData
from fastpt.jpeg import Interpolation
from fastpt.loading.pool import Job, Pool

log = logging.getLogger("fastpt.loading")

AHEAD = 2  # batches in work beside the one that is waited for

# So many damaged pictures in a row are no accident: the shard is not the one that was written.
MAX_DAMAGED_RUN = 100


class BatchPlan(NamedTuple):
    """B pictures to read: their places in the order, who they are and how to cut them."""

    positions: np.ndarray  # int64 [B]
    sample_ids: np.ndarray  # int64 [B]
    views: np.ndarray  # int64 [B]
    boxes: np.ndarray  # int32 [B, 4]: top, left, height, width
    flips: np.ndarray  # bool [B]


class ReadBatch(NamedTuple):
    """K pictures to decode: their bytes, who they are and how to cut them."""

    jpegs: list[np.ndarray]  # K times uint8 [bytes]
    sample_ids: np.ndarray  # int64 [K]
    views: np.ndarray  # int64 [K]
    boxes: np.ndarray  # int32 [K, 4]: top, left, height, width
    flips: np.ndarray  # bool [K]


class Intact(NamedTuple):
    """A checked picture, and the position in the order that it is of."""

    position: int
    jpeg: np.ndarray  # uint8 [bytes]


class _Reading(NamedTuple):
    """A batch that is being read, and where its JPEGs go."""

    plan: BatchPlan
    memory: np.ndarray  # uint8
    starts: np.ndarray  # uint64 [B + 1]
    job: Job


class BadSamples:
    """The damaged pictures met so far: `counts` by sample id; each is named in the log once."""

    def __init__(self, dataset: ImageDataset):
        self.counts: Counter[int] = Counter()
        self._dataset = dataset
        self._lock = threading.Lock()

    def add(self, sample_id: int, instead: str) -> None:
        """Count a damaged picture; `instead` says what becomes of its place."""
        with self._lock:
            self.counts[sample_id] += 1
            if self.counts[sample_id] > 1:
                return
        samples, dataset = self._dataset.samples, self._dataset
        log.warning(
            "%s: sample %d (%s, %d bytes at %d) is damaged: its bytes or its size are not those that were stored; "
            "%s. `fastpt verify %s` lists all damage.",
            dataset,
            sample_id,
            dataset.shard_name(int(samples.shard[sample_id])),
            samples.size[sample_id],
            samples.offset[sample_id],
            instead,
            dataset.path,
        )


class StaleEntryPoints:
    """The pictures met so far whose entry points do not fit their data: `counts` by sample id; the first is named.

    Their checksums are right, so they were stored like that: by a tool that writes the data anew and keeps segments
    that it does not know.
    """

    def __init__(self, dataset: ImageDataset):
        self.counts: Counter[int] = Counter()
        self._dataset = dataset
        self._lock = threading.Lock()

    def add(self, sample_ids: Iterable[int]) -> None:
        """Count some, which were decoded without."""
        with self._lock:
            told = bool(self.counts)
            self.counts.update(sample_ids)
            if told or not self.counts:
                return
        log.warning(
            "%s: sample %d has entry points that are not those of its data: another tool may have changed it. It is "
            "decoded without them, more slowly. Further ones are counted (`loader.stale_entry_points`), not named; "
            "prepare the split anew to be rid of them.",
            self._dataset,
            next(iter(self.counts)),
        )


@dataclass(frozen=True)
class BatchReader:
    """Plans, reads and checks the pictures of one epoch."""

    dataset: ImageDataset
    stored: Pictures = field(repr=False)  # those of `dataset`
    sample_ids: np.ndarray  # uint32 [N], the epoch's global order
    views: np.ndarray  # int8 [N]
    crop: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]  # (ids, views) -> boxes [K, 4], flips [K]
    replace: bool  # damaged pictures: replaced by the next of the order (training), or left out (evaluation)
    bad: BadSamples = field(repr=False)
    stale: StaleEntryPoints = field(repr=False)

    def plan(self, positions: np.ndarray) -> BatchPlan:
        """What these positions of the order, int64 [B], stand for. Cheap for many at once, dear one by one."""
        ids, views = self.sample_ids[positions].astype(np.int64), self.views[positions].astype(np.int64)
        return BatchPlan(positions, ids, views, *self.crop(ids, views))

    def pool(self, threads: int, size: int = 0, interpolation: Interpolation = "area") -> Pool:
        """Native threads for these pictures; see there."""
        return Pool(self.stored, self.dataset.shard, threads, size, interpolation)

    def batches(self, positions: Iterable[np.ndarray], threads: int) -> Generator[ReadBatch, None, None]:
        """The checked pictures of each array of positions, int64 [B]; K < B where some are left out.

        `AHEAD` more are being read meanwhile, by `threads` native threads, which end when this is closed. Raises
        DamagedData if a shard is missing or cut short, or if `MAX_DAMAGED_RUN` pictures in a row are damaged.
        """
        with self.pool(threads) as pool:
            started: deque[_Reading] = deque()
            for places in positions:
                started.append(self._start(pool, self.plan(places)))
                if len(started) > AHEAD:
                    yield self._finish(started.popleft())
            while started:
                yield self._finish(started.popleft())

    def _start(self, pool: Pool, plan: BatchPlan) -> "_Reading":
        memory, starts = self.stored.places(plan.sample_ids)
        job = pool.submit(plan.sample_ids, plan.boxes, plan.flips, memory, starts)
        return _Reading(plan, memory, starts, job)

    def _finish(self, reading: "_Reading") -> ReadBatch:
        plan, memory, starts, job = reading
        job.wait()
        jpegs: list[np.ndarray | None] = [*cut(memory, starts)]
        found = {row: self.intact(int(plan.positions[row])) for row in np.flatnonzero(job.results).tolist()}
        for row, intact in found.items():
            jpegs[row] = None if intact is None else intact.jpeg
        return ReadBatch([jpeg for jpeg in jpegs if jpeg is not None], *self.settled(plan, found)[1:])

    def settled(self, plan: BatchPlan, found: Mapping[int, Intact | None]) -> BatchPlan:
        """The plan with what was `found` in some of its rows, without those where nothing was."""
        if not found:
            return plan
        positions = plan.positions.copy()
        for row, intact in found.items():
            positions[row] = intact.position if intact else -1
        return self.plan(positions[positions >= 0])

    def intact(self, position: int) -> Intact | None:
        """The picture at `position`, read and checked anew, or what takes its place: the next good one of the order.

        None where a damaged one is left out. Raises DamagedData as `batches`. Safe to call from many threads.
        """
        bad_id = int(self.sample_ids[position])
        for step in range(MAX_DAMAGED_RUN):
            following = (position + step) % len(self.sample_ids)  # the order is a circle
            sample_ids = self.sample_ids[[following]].astype(np.int64)
            jpegs = self.dataset.jpegs(sample_ids)
            if self.dataset.samples.intact(sample_ids, jpegs).all():
                if step == 0:
                    return Intact(position, jpegs[0])
                instead = "the next sample of the order takes its place" if self.replace else "it is left out"
                self.bad.add(bad_id, instead)
                return Intact(following, jpegs[0]) if self.replace else None
        raise DamagedData(
            f"{self.dataset.path}: {MAX_DAMAGED_RUN} pictures in a row are damaged, the first of them sample {bad_id}. "
            f"Shards may have been exchanged: run `fastpt verify {self.dataset.path}`, then restore or prepare anew."
        )
