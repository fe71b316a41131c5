import numpy as np
import pytest

from fastpt.loading.order import OPEN_BLOCKS, batch_positions, epoch_order, steps_per_epoch

KINDS = ("random", "quasi_random", "sequential")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [0, 1, 2, 7, 64, 1000])
def test_every_sample_comes_once_an_epoch(kind, n):
    ids, views = epoch_order(n, seed=3, epoch=1, kind=kind, block=8)
    assert ids.dtype == np.int64
    assert np.array_equal(np.sort(ids), np.arange(n))
    assert np.array_equal(views, np.zeros(n))


@pytest.mark.parametrize("kind", ["random", "quasi_random"])
def test_order_follows_from_seed_and_epoch_alone(kind):
    def order(seed, epoch):
        return epoch_order(5000, seed, epoch, kind, block=16)[0]

    assert np.array_equal(order(1, 2), order(1, 2))
    shared_places = [np.mean(order(1, 2) == other) for other in (order(1, 3), order(2, 2), order(2, 1))]
    assert max(shared_places) < 0.005


def test_random_order_is_pinned():
    """A change of the order would silently break resuming runs of an older fastpt: raise STATE_FORMAT with it."""
    assert epoch_order(10, seed=0, epoch=0, kind="random", block=1)[0].tolist() == [3, 1, 9, 6, 2, 4, 7, 8, 0, 5]
    assert epoch_order(10, seed=0, epoch=0, kind="quasi_random", block=2)[0].tolist() == [3, 8, 4, 6, 1, 5, 7, 2, 9, 0]


def test_random_order_is_uniform():
    """Where sample 0 lands, and which sample comes first, over many seeds: chi-squared against uniform, 19 degrees."""
    orders = np.stack([epoch_order(20, seed, 0, "random", block=4)[0] for seed in range(4000)])
    for places in (orders[:, 0], np.argmax(orders == 0, axis=1)):
        counts = np.bincount(places, minlength=20)
        assert ((counts - 200) ** 2 / 200).sum() < 50  # p = 1e-4


def test_quasi_random_reads_from_a_bounded_set_of_blocks():
    block, blocks = 32, 1000
    ids, _ = epoch_order(block * blocks, seed=0, epoch=0, kind="quasi_random", block=block)
    in_block = ids // block
    for start in range(0, len(ids) - block, block):  # one block's worth of samples draws from the open blocks only
        assert len(np.unique(in_block[start : start + block])) <= OPEN_BLOCKS + 2
    first, last = np.full(blocks, len(ids)), np.zeros(blocks)
    np.minimum.at(first, in_block, np.arange(len(ids)))
    np.maximum.at(last, in_block, np.arange(len(ids)))
    wraps = last - first > len(ids) / 2  # open at the end of the epoch and at its start
    assert wraps.sum() <= OPEN_BLOCKS
    assert ((last - first)[~wraps] <= (OPEN_BLOCKS + 8) * block).all()


def test_quasi_random_mixes_every_batch_over_many_blocks():
    ids, _ = epoch_order(32_000, seed=0, epoch=0, kind="quasi_random", block=32)
    distinct = [len(np.unique(batch // 32)) for batch in ids.reshape(-1, 64)]
    assert min(distinct) >= 30


def test_quasi_random_with_few_blocks_is_uniform():
    orders = np.stack([epoch_order(20, seed, 0, "quasi_random", block=7)[0] for seed in range(4000)])
    counts = np.bincount(orders[:, 0], minlength=20)
    assert ((counts - 200) ** 2 / 200).sum() < 50


@pytest.mark.parametrize("repeats", [2, 3])
@pytest.mark.parametrize("kind", ["random", "quasi_random"])
def test_repeats_follow_each_other_with_views_of_their_own_and_keep_the_epoch_as_long(kind, repeats):
    ids, views = epoch_order(100, seed=0, epoch=0, kind=kind, block=8, repeats=repeats)
    once, _ = epoch_order(100, seed=0, epoch=0, kind=kind, block=8)
    assert np.array_equal(ids, np.repeat(once, repeats)[:100])
    assert np.array_equal(views, np.arange(100) % repeats)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("total", [24, 29, 36, 37])
def test_a_global_step_is_the_same_set_at_any_world_size(world_size, total):
    global_batch = 12
    seen = []
    for step in range(steps_per_epoch(total, global_batch, drop_last=False)):
        ranks = [batch_positions(step, total, global_batch // world_size, r, world_size) for r in range(world_size)]
        positions = np.sort(np.concatenate(ranks))
        assert np.array_equal(positions, np.arange(step * 12, min(step * 12 + 12, total)))
        assert all(np.all(positions % world_size == rank) for rank, positions in enumerate(ranks))
        seen.append(positions)
    assert np.array_equal(np.concatenate(seen), np.arange(total))


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("accumulated", [1, 2, 3, 4])
def test_accumulation_cuts_the_step_of_a_rank_and_deals_out_neighbours(world_size, accumulated):
    size, total = 24 // accumulated, 24 * world_size * 2
    for step in range(2):
        for rank in range(world_size):
            part = batch_positions(step, total, 24, rank, world_size)
            for batch in range(accumulated):
                number = step * accumulated + batch
                positions = batch_positions(number, total, size, rank, world_size, accumulated)
                assert np.array_equal(positions, part[batch::accumulated])
                assert np.diff(positions).min() == world_size * accumulated


def test_copies_of_a_picture_are_in_different_pieces_of_a_step():
    ids, views = epoch_order(240, seed=0, epoch=0, kind="random", block=8, repeats=3)
    for number in range(240 // 8):
        positions = batch_positions(number, 240, 8, rank=0, world_size=1, batches_per_step=3)
        assert len(np.unique(ids[positions])) == 8
        assert len(np.unique(views[positions])) == 1


def test_an_incomplete_last_batch_is_dropped_or_counts():
    assert steps_per_epoch(25, 12, drop_last=True) == 2
    assert steps_per_epoch(25, 12, drop_last=False) == 3
    assert steps_per_epoch(24, 12, drop_last=True) == steps_per_epoch(24, 12, drop_last=False) == 2
    assert len(batch_positions(2, 25, 3, rank=1, world_size=4)) == 0  # one sample is left, and rank 0 has it
