import os

import numpy as np
import pytest

from fastpt import Loader
from fastpt.data.concat import ConcatDataset
from fastpt.data.subset import Subset
from fastpt.loading import readahead
from fastpt.loading.order import OPEN_BLOCKS, epoch_order
from fastpt.loading.readahead import ask_for, openings, read_ahead


@pytest.mark.parametrize("start", [0, 7000, 17_000])
def test_blocks_open_with_their_first_sample(start):
    block, blocks = 32, 600
    ids = epoch_order(block * blocks, 0, 0, "quasi_random", block)[0]
    opened, positions = openings(ids, block, start)
    assert (np.diff(positions) >= 0).all()
    assert np.array_equal(ids[positions] // block, opened)
    seen = {block: position for block, position in zip(opened[::-1], positions[::-1], strict=True)}
    for position in range(start, len(ids), 13):
        assert start <= seen[ids[position] // block] <= position
    assert len(opened) <= blocks + 3 * OPEN_BLOCKS  # twice: those open at the turn of the epoch and in its middle


def test_every_block_is_asked_for_before_its_samples_are_read_and_not_much_sooner(split, monkeypatch):
    events = []
    monkeypatch.setattr(readahead, "ask_for", lambda dataset, block, own: events.append(block))
    ids = epoch_order(400, 0, 0, "quasi_random", 4)[0]  # 100 blocks of 4, as in the split
    steps = [np.arange(at, at + 10) for at in range(0, 400, 10)]
    asked_when_read = [len(events) for _ in read_ahead(split, ids, steps, 0)]
    opened, positions = openings(ids, 4)
    assert events == opened.tolist()
    for step, asked in zip(steps, asked_when_read, strict=True):
        assert positions[asked - 1] <= step[-1] + 2 * 4
        assert asked == len(positions) or positions[asked] > step[-1]


def hints_of(split, monkeypatch, **settings) -> dict[tuple[int, int], int]:
    """How often each piece of a file was asked for in an epoch."""
    hints = {}

    def note(file, start, size, advice):
        assert advice == os.POSIX_FADV_WILLNEED
        hints[file, start] = hints.get((file, start), 0) + 1

    monkeypatch.setattr(os, "posix_fadvise", note)
    with Loader(split, 4, 16, seed=0, drop_last=False, **settings) as loader:
        list(loader)
    return hints


@pytest.mark.parametrize("decoder", ["cpu", "dali"])
def test_only_quasi_random_order_reads_ahead(split, monkeypatch, decoder):
    assert not hints_of(split, monkeypatch, order="random", decoder=decoder)
    hints = hints_of(split, monkeypatch, order="quasi_random", decoder=decoder)
    first_of_blocks = {int(split.samples.offset[i]) for i in range(0, len(split), split.block)}
    assert first_of_blocks <= {start for _, start in hints}


def test_a_machine_asks_for_what_its_ranks_draw(split, monkeypatch):
    """Four ranks on two machines: each picture is asked for by the machines that draw it, and by no other."""
    monkeypatch.setattr(readahead, "PIECE", 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    settings = {"order": "quasi_random", "decoder": "cpu", "world_size": 4}
    starts = split.samples.offset.astype(np.int64)
    asked, drawn = [], []
    for machine in range(2):
        mine = set()
        for local in range(2):
            rank = 2 * machine + local
            monkeypatch.setenv("LOCAL_RANK", str(local))
            with Loader(split, 4, 16, seed=0, rank=rank, drop_last=False, **settings) as loader:
                mine |= {int(i) for batch in loader for i in batch.sample_ids}
        drawn.append(mine)
        hints = hints_of(split, monkeypatch, rank=2 * machine + 1, **settings)
        files = {split.shard(index): index for index in range(len(split.manifest["shards"]))}
        there = {(files[file], start) for file, start in hints if file in files}
        places = zip(split.samples.shard.tolist(), starts.tolist(), strict=True)
        asked.append({i for i, place in enumerate(places) if place in there})
    assert asked == drawn


def test_a_file_system_that_takes_no_hints_is_read_all_the_same(split, monkeypatch):
    def refuse(*_):
        raise OSError("not here")

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    with Loader(split, 4, 16, seed=0, order="quasi_random") as loader:
        assert len(list(loader)) == len(loader)


DATASETS = {
    "dataset": lambda split, _: split,
    "concat": lambda split, labelled: ConcatDataset([split.path, labelled.path], [2, 1]),
    "subset": lambda split, _: Subset(split, np.arange(len(split))[::-3]),
    "subset of a concat": lambda split, labelled: Subset(
        ConcatDataset([labelled.path, split.path], [1, 1]), np.arange(7, 71)
    ),
}


@pytest.mark.parametrize("kind", DATASETS)
@pytest.mark.parametrize("decoder", ["cpu", "dali"])
@pytest.mark.parametrize("order", ["sequential", "random", "quasi_random"])
def test_every_kind_of_dataset_gives_its_pictures_in_every_order(split, labelled, kind, decoder, order):
    dataset = DATASETS[kind](split, labelled)
    settings = {"seed": 0, "crop": "center", "decoder": decoder, "threads": 1, "drop_last": False}
    with Loader(dataset, len(dataset), 16, order="sequential", **settings) as loader:
        (whole,) = loader
    with Loader(dataset, 7, 16, order=order, **settings) as loader:
        batches = list(loader)
    ids = np.concatenate([batch.sample_ids for batch in batches])
    assert sorted(ids) == list(range(len(dataset)))
    assert np.array_equal(np.concatenate([batch.images for batch in batches]), whole.images[ids])


def test_a_shard_of_several_splits_is_the_file_that_its_manifest_names(split, labelled):
    concat = ConcatDataset([split.path, labelled.path], [2, 1])
    shards = [shard for part in concat.parts for shard in part.manifest["shards"]]
    for index, shard in enumerate(shards):
        assert os.fstat(concat.shard(index)).st_size == shard["bytes"]
        assert os.fstat(Subset(concat, np.arange(3)).shard(index)).st_size == shard["bytes"]


def test_what_lies_between_the_pictures_of_a_block_is_not_asked_for(split, monkeypatch):
    asked = []
    monkeypatch.setattr(readahead, "PIECE", 64)
    monkeypatch.setattr(os, "posix_fadvise", lambda file, start, size, advice: asked.append((start, start + size)))
    ends = Subset(split, np.array([0, 14]))  # of the first shard
    ask_for(ends, 0)
    samples = ends.samples
    wanted = [(int(start), int(start) + int(size)) for start, size in zip(samples.offset, samples.size, strict=True)]
    for start, end in asked:
        assert any(low <= start and end <= high for low, high in wanted)
    assert sum(end - start for start, end in asked) == sum(high - low for low, high in wanted)
