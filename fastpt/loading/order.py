"""Which sample is seen when: pure functions of (samples, seed, epoch), the same for every decoder and world size.

There is one global order an epoch. A global step takes the next `global_batch` positions of it; rank r of W takes
positions r, r + W, r + 2W, ... of the step, and of them batch b of B (gradient accumulation) every B-th from b on. So
the samples of a step are the same set at any number of ranks and batches, and what stands side by side in the order,
as the copies of repeated augmentation do, is dealt out over all of these.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np

from fastpt import rng

Order = Literal["random", "quasi_random", "sequential"]

# Blocks that quasi_random mixes at a time: its working set is this many blocks of the files.
OPEN_BLOCKS = 64

# Ids whose keys are made at a time: few enough for the cache.
PIECE = 1 << 16


def epoch_order(
    n: int, seed: int, epoch: int, kind: Order, block: int, repeats: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """The samples of an epoch in their order: ids int64 [n] and views int8 [n].

    `random` is a uniform permutation. `quasi_random` opens blocks of `block` consecutive ids in shuffled order and
    draws from at most `OPEN_BLOCKS` of them at a time, so that files are read in large pieces. `sequential` is 0..n-1.

    With `repeats` > 1 (repeated augmentation: Hoffer et al. 2020, timm's RepeatAugSampler) an epoch stays n long: the
    first n / repeats samples of the order occur `repeats` times in a row, with views 0, 1, ...; each epoch draws anew.
    """
    if kind == "sequential":
        ids = np.arange(n)
    elif kind == "random":
        ids = _sorted_ids(n, lambda ids: rng.bits(rng.SAMPLE_ORDER, seed, epoch, ids))
    else:
        ids = _sorted_ids(n, _drawing_times(n, seed, epoch, block))
    if repeats == 1:
        return ids, np.zeros(n, np.int8)
    distinct = -(-n // repeats)
    views = np.tile(np.arange(repeats, dtype=np.int8), distinct)[:n]
    return np.repeat(ids[:distinct], repeats)[:n], views


def batch_positions(
    number: int, total: int, batch_size: int, rank: int, world_size: int, batches_per_step: int = 1
) -> np.ndarray:
    """Where a rank's batch lies in the global order: int64 [batch_size], shorter or empty at the end of `total`.

    `number` counts this rank's batches of the epoch, `batches_per_step` of them a step.
    """
    step, batch = divmod(number, batches_per_step)
    parts = world_size * batches_per_step
    start = step * batch_size * parts
    first, stop = start + batch * world_size + rank, min(start + batch_size * parts, total)
    return np.arange(first, max(stop, first), parts)


def steps_per_epoch(total: int, global_batch: int, drop_last: bool) -> int:
    """Global steps an epoch, equal on all ranks: an incomplete last global batch is dropped or counts as a step."""
    return total // global_batch if drop_last else -(-total // global_batch)


def _drawing_times(n: int, seed: int, epoch: int, block: int) -> Callable[[np.ndarray], np.ndarray]:
    """When quasi_random draws each of some ids: a function to uint64, fractions of the epoch.

    The block of shuffled rank r is open from time r to r + OPEN_BLOCKS, and each of its samples is drawn at a uniform
    time while it is open. Time is a circle of as many units as there are blocks, so the mixing is the same at the
    start and the end; with no more blocks than OPEN_BLOCKS this is a uniform permutation.
    """
    blocks = -(-n // block)
    shuffled = _sorted_ids(blocks, lambda blocks: rng.bits(rng.BLOCK_ORDER, seed, epoch, blocks))
    rank = np.empty(blocks, np.int64)
    rank[shuffled] = np.arange(blocks)

    def times_of(ids: np.ndarray) -> np.ndarray:
        times = rng.uniform(rng.SAMPLE_ORDER, seed, epoch, ids)
        times *= min(OPEN_BLOCKS, blocks)
        times += rank[ids // block]
        times %= blocks
        return (times * (2.0**63 / max(blocks, 1))).astype(np.uint64)

    return times_of


def _sorted_ids(n: int, keys_of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The permutation of 0..n-1 that sorts the uint64 keys which `keys_of` gives to ids, as int64.

    The id takes the place of a key's low bits: then keys are distinct, the result does not hang on how a machine sorts
    ties, and a plain sort does, which is several times quicker than argsort. Keys are made piece by piece: with the
    temporaries of all at once, 15 million samples would take half a GB and twice the time.
    """
    id_bits = np.uint64(max(n - 1, 1).bit_length())
    keys = np.empty(n, np.uint64)
    for start in range(0, n, PIECE):
        ids = np.arange(start, min(start + PIECE, n))
        keys[start : start + PIECE] = (keys_of(ids) >> id_bits << id_bits) | ids.astype(np.uint64)
    keys.sort()
    keys &= (np.uint64(1) << id_bits) - np.uint64(1)
    return keys.view(np.int64)
