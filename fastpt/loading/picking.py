"""From positions in an epoch's order to checked JPEG bytes, boxes and flips: what every decoder starts from.

Here, before any decoder, a damaged picture is found and replaced; so the verdict does not depend on the decoder.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import xxhash

from fastpt.data.dataset import Dataset
from fastpt.errors import FastptError

log = logging.getLogger("fastpt.loading")

# So many damaged pictures in a row are no accident: the shard is not the one that was written.
HOPELESS = 100


class Picks(NamedTuple):
    """K pictures to decode: the rows of the batch they fill, who they are, their bytes and how to cut them."""

    rows: np.ndarray  # int64 [K]
    sample_ids: np.ndarray  # int64 [K]
    views: np.ndarray  # int64 [K]
    jpegs: list[np.ndarray]  # K times uint8 [bytes]
    boxes: np.ndarray  # int32 [K, 4]: top, left, height, width
    flips: np.ndarray  # bool [K]


class BadSamples:
    """The damaged pictures met so far: `counts` by sample id; each is named in the log once."""

    def __init__(self, dataset: Dataset):
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
            "%s: sample %d (%s, %d bytes at %d) is damaged: its bytes do not have the checksum they were stored with; "
            "%s. `fastpt verify %s` lists all damage.",
            dataset, sample_id, dataset.manifest["shards"][int(samples.shard[sample_id])]["name"],
            samples.size[sample_id], samples.offset[sample_id], instead, dataset.path,
        )  # fmt: skip


@dataclass(frozen=True)
class Picker:
    """Picks the pictures of one epoch. Safe to use from many threads."""

    dataset: Dataset
    sample_ids: np.ndarray  # uint32 [N], the epoch's global order
    views: np.ndarray  # int [N]
    cut: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]  # (ids, views) -> boxes [K, 4], flips [K]
    replace: bool  # damaged pictures: replaced by the next of the order (training), or left out (evaluation)
    bad: BadSamples = field(repr=False)

    def pick(self, positions: np.ndarray) -> Picks:
        """What to decode for these positions of the order, int64 [B]; K = B unless pictures are left out.

        Raises FastptError if a shard is missing or cut short, or if `HOPELESS` pictures in a row are damaged.
        """
        found = [(row, *self._find(int(position))) for row, position in enumerate(positions)]
        found = [(row, at, jpeg) for row, at, jpeg in found if jpeg is not None]
        rows = np.array([row for row, _, _ in found], np.int64)
        at = np.array([at for _, at, _ in found], np.int64)
        ids, views = self.sample_ids[at].astype(np.int64), self.views[at].astype(np.int64)
        return Picks(rows, ids, views, [jpeg for _, _, jpeg in found], *self.cut(ids, views))

    def _find(self, position: int) -> tuple[int, np.ndarray | None]:
        """What is shown in place of `position`, and its JPEG: itself, if damaged the next good one, or nothing."""
        jpeg = self._checked(position)
        if jpeg is not None:
            return position, jpeg
        bad_id = int(self.sample_ids[position])
        for step in range(1, HOPELESS):
            following = (position + step) % len(self.sample_ids)  # the order is a circle
            jpeg = self._checked(following)
            if jpeg is not None:
                self.bad.add(
                    bad_id, "the next sample of the order takes its place" if self.replace else "it is left out"
                )
                return following, jpeg if self.replace else None
        raise FastptError(
            f"{self.dataset.path}: {HOPELESS} pictures in a row are damaged, the first of them sample {bad_id}. "
            f"Shards may have been exchanged: run `fastpt verify {self.dataset.path}`, then restore or prepare anew."
        )

    def _checked(self, position: int) -> np.ndarray | None:
        """The JPEG at a position of the order, uint8 [bytes], or None if its bytes are not those that were stored."""
        sample_id = int(self.sample_ids[position])
        jpeg, stored = self.dataset.jpeg(sample_id), self.dataset.samples.xxh3[sample_id]
        return jpeg if stored in (0, xxhash.xxh3_64_intdigest(jpeg)) else None
