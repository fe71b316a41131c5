"""Reading ahead for quasi_random order: the disk is asked for a block as a whole, before the first of its samples.

Samples of a block are drawn in any order, among those of all open blocks. Read one by one they would be as many small
reads as in random order; asked for as a block they are one large sequential read, and each is then found in the page
cache. So the page cache has to hold `order.OPEN_BLOCKS` blocks (about 0.5 GB); it is shared by the ranks of a machine.
A machine whose ranks draw few of the samples asks for these alone, or each machine would read the whole dataset.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator

import numpy as np

from fastpt.data.fetched import StillFetchedError
from fastpt.data.samples import ImageDataset

PIECE = 128 << 10  # bytes asked for at a time: Linux reads no more for one hint than its readahead window
LEAD = 2  # blocks' worth of samples that a block is asked for before its first sample


def openings(sample_ids: np.ndarray, block: int, start: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """When each block is first drawn from after `start`: (blocks, positions), both int64, by rising position.

    `sample_ids` is the order, int64 [N]. The order is a circle: what is open at its end is open at its start too. So
    the two halves are seen for themselves, and a block that is drawn from in both is named twice.
    """
    count = int(sample_ids.max(initial=0)) // block + 1
    blocks, positions = [], []
    middle = max(start, len(sample_ids) // 2)
    for low, high in ((start, middle), (middle, len(sample_ids))):
        first = np.full(count, -1)
        backwards = np.arange(low, high)[::-1]
        first[sample_ids[backwards] // block] = backwards  # of several assignments the last stays: the first draw
        drawn = np.flatnonzero(first >= 0)
        drawn = drawn[np.argsort(first[drawn])]
        blocks.append(drawn)
        positions.append(first[drawn])
    return np.concatenate(blocks), np.concatenate(positions)


def read_ahead(
    dataset: ImageDataset,
    sample_ids: np.ndarray,
    positions: Iterable[np.ndarray],
    start: int,
    own: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """The same `positions`, int64 arrays from `start` on, one a step; blocks are asked for as the steps are taken.

    `own`, bool [N], are the samples that this machine needs; None: all.
    """
    blocks, opened_at = openings(sample_ids, dataset.block, start)
    asked = 0
    for places in positions:
        last = places.max(initial=start)
        until = int(np.searchsorted(opened_at, last + LEAD * dataset.block, side="right"))
        for block in blocks[asked:until]:
            ask_for(dataset, int(block), own)
        asked = max(asked, until)
        yield places


def ask_for(dataset: ImageDataset, block: int, own: np.ndarray | None = None) -> None:
    """Ask the disk for the bytes of a block of consecutive samples, or of those that are `own`, without waiting.

    What lies between two of its pictures is asked for too if it is short: padding, but not what a subset or another
    machine's ranks leave out.
    """
    samples = dataset.samples
    ids = np.arange(block * dataset.block, min((block + 1) * dataset.block, len(dataset)))
    if own is not None:
        ids = ids[own[ids]]
    if not len(ids):
        return
    ids = ids[np.lexsort((samples.offset[ids], samples.shard[ids]))]
    shards, starts = samples.shard[ids], samples.offset[ids].astype(np.int64)
    stops = starts + samples.size[ids]
    apart = (np.diff(shards.astype(np.int64)) != 0) | (starts[1:] - stops[:-1] > PIECE)
    for run in np.split(np.arange(len(ids)), np.flatnonzero(apart) + 1):
        start, stop = int(starts[run[0]]), int(stops[run].max())
        # A hint, which not every file system takes; a shard that is still fetched is on no disk.
        with contextlib.suppress(OSError, StillFetchedError):
            file = dataset.shard(int(shards[run[0]]))
            for piece in range(start, stop, PIECE):
                os.posix_fadvise(file, piece, min(PIECE, stop - piece), os.POSIX_FADV_WILLNEED)
