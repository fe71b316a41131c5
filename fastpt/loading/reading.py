"""From positions in an epoch's order to checked JPEG bytes, boxes and flips: what every decoder starts from.

A damaged picture is found and replaced before any decoder, so the verdict does not depend on the decoder.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from fastpt.data.samples import ImageDataset
from fastpt.errors import DamagedData

log = logging.getLogger("fastpt.loading")

# So many damaged pictures in a row are no accident: the shard is not the one that was written.
MAX_DAMAGED_RUN = 100


class BatchPlan(NamedTuple):
    """B pictures to read: their places in the order, who they are and how to cut them."""

    positions: np.ndarray  # int64 [B]
    sample_ids: np.ndarray  # int64 [B]
    views: np.ndarray  # int64 [B]
    boxes: np.ndarray  # int32 [B, 4]: top, left, height, width
    flips: np.ndarray  # bool [B]

    def part(self, rows: slice | np.ndarray) -> "BatchPlan":
        """Some of the pictures."""
        return BatchPlan(*(column[rows] for column in self))


class ReadBatch(NamedTuple):
    """K pictures to decode: the rows of the batch they fill, their bytes, who they are and how to cut them."""

    rows: np.ndarray  # int64 [K]
    jpegs: list[np.ndarray]  # K times uint8 [bytes]
    sample_ids: np.ndarray  # int64 [K]
    views: np.ndarray  # int64 [K]
    boxes: np.ndarray  # int32 [K, 4]: top, left, height, width
    flips: np.ndarray  # bool [K]


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


@dataclass(frozen=True)
class BatchReader:
    """Reads and checks the pictures of one epoch. Safe to use from many threads."""

    dataset: ImageDataset
    sample_ids: np.ndarray  # uint32 [N], the epoch's global order
    views: np.ndarray  # int8 [N]
    crop: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]  # (ids, views) -> boxes [K, 4], flips [K]
    replace: bool  # damaged pictures: replaced by the next of the order (training), or left out (evaluation)
    bad: BadSamples = field(repr=False)

    def plan(self, positions: np.ndarray) -> BatchPlan:
        """What these positions of the order, int64 [B], stand for. Cheap for many at once, dear one by one."""
        ids, views = self.sample_ids[positions].astype(np.int64), self.views[positions].astype(np.int64)
        return BatchPlan(positions, ids, views, *self.crop(ids, views))

    def read(self, plan: BatchPlan) -> ReadBatch:
        """Read and check the pictures; K = B unless some are left out.

        Raises DamagedData if a shard is missing or cut short, or if `MAX_DAMAGED_RUN` pictures in a row are damaged.
        """
        jpegs = self.dataset.jpegs(plan.sample_ids)
        damaged = np.flatnonzero(~self.dataset.samples.intact(plan.sample_ids, jpegs))
        rows = np.arange(len(jpegs))
        if len(damaged):
            positions = plan.positions.copy()
            for row in damaged.tolist():
                positions[row], jpegs[row] = self._next_intact(int(positions[row]))
            rows = rows if self.replace else np.delete(rows, damaged)
            plan = self.plan(positions).part(rows)
        return ReadBatch(rows, [jpegs[row] for row in rows.tolist()], *plan[1:])

    def _next_intact(self, position: int) -> tuple[int, np.ndarray]:
        """What takes the place of the damaged picture at `position`: the next good position, and its JPEG."""
        bad_id = int(self.sample_ids[position])
        for step in range(1, MAX_DAMAGED_RUN):
            following = (position + step) % len(self.sample_ids)  # the order is a circle
            sample_ids = self.sample_ids[[following]]
            jpegs = self.dataset.jpegs(sample_ids)
            if self.dataset.samples.intact(sample_ids, jpegs).all():
                self.bad.add(
                    bad_id, "the next sample of the order takes its place" if self.replace else "it is left out"
                )
                return following, jpegs[0]
        raise DamagedData(
            f"{self.dataset.path}: {MAX_DAMAGED_RUN} pictures in a row are damaged, the first of them sample {bad_id}. "
            f"Shards may have been exchanged: run `fastpt verify {self.dataset.path}`, then restore or prepare anew."
        )
