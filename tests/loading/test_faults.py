import errno
import gc
import itertools
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from fastpt import Dataset, Loader
from fastpt.errors import FastptError
from tests.loading.conftest import SAMPLES, damage, own_threads

DECODERS = ("cpu", "dali")


def epoch_of(dataset, decoder, **settings):
    """Ids and images of an epoch on all ranks, by place in the global order; and the bad samples met."""
    world_size = settings.get("world_size", 1)
    places, bad = {}, {}
    for rank in range(world_size):
        with Loader(dataset, 12 // world_size, 24, seed=0, decoder=decoder, rank=rank, **settings) as loader:
            for step, batch in enumerate(loader):
                for row, sample_id in enumerate(batch.sample_ids.tolist()):
                    places[step * 12 + row * world_size + rank] = sample_id, batch.images[row]
            bad.update(loader.bad_samples)
    return [places[place] for place in sorted(places)], bad


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("world_size", [1, 3])
def test_a_damaged_picture_is_replaced_by_the_next_of_the_order_counted_and_named(copied, decoder, world_size, caplog):
    whole, _ = epoch_of(copied, decoder)
    order = [sample_id for sample_id, _ in whole]
    damage(copied, order[5])
    damage(copied, order[6])
    damage(copied, order[20])
    with caplog.at_level(logging.WARNING):
        found, bad = epoch_of(copied, decoder, world_size=world_size)
    expected = [*order[:5], order[7], order[7], *order[7:20], order[21], *order[21:]]
    assert [sample_id for sample_id, _ in found] == expected
    assert bad == {order[5]: 1, order[6]: 1, order[20]: 1}
    named = [record.message for record in caplog.records]
    assert len(named) == 3
    assert sum(f"sample {order[20]} (train-0000" in message for message in named) == 1
    for place in set(range(36)) - {5, 6, 20}:
        assert torch.equal(found[place][1], whole[place][1])
    assert torch.equal(found[5][1], whole[7][1])


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_damaged_picture_is_named_once_however_often_it_is_met(copied, decoder, caplog):
    damage(copied, 3)
    with Loader(copied, 12, 16, seed=0, decoder=decoder, order="sequential") as loader:
        for _ in range(3):
            list(loader)
        assert loader.bad_samples == {3: 3}
    assert len(caplog.records) == 1


@pytest.mark.parametrize("decoder", DECODERS)
def test_evaluation_leaves_a_damaged_picture_out_and_counts_no_other_twice(copied, decoder):
    damage(copied, 4)
    damage(copied, SAMPLES - 1)
    with Loader(copied, 12, 16, seed=0, crop="center", order="sequential", decoder=decoder, drop_last=False) as loader:
        batches = list(loader)
        assert loader.bad_samples == {4: 1, SAMPLES - 1: 1}
    assert torch.cat([batch.sample_ids for batch in batches]).tolist() == [
        i for i in range(SAMPLES) if i not in (4, SAMPLES - 1)
    ]
    assert [len(batch.images) for batch in batches] == [11, 12, 12, 1]


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_batch_of_which_nothing_is_left_is_empty(copied, decoder):
    for sample_id in (12, 13, 14):
        damage(copied, sample_id)
    with Loader(copied, 3, 16, seed=0, order="sequential", decoder=decoder, drop_last=False) as loader:
        sizes = [len(batch.images) for batch in loader]
    assert sizes == [3, 3, 3, 3, 0, 3, 3, 3, 3, 3, 3, 3, 2]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("drop_last", [True, False])
def test_a_shard_replaced_by_another_of_its_length_ends_the_run_with_advice(copied, decoder, drop_last):
    for shard in copied.manifest["shards"]:
        (copied.path / "images" / shard["name"]).write_bytes(b"x" * shard["bytes"])
    loader = Loader(Dataset(copied.path), 12, 16, seed=0, decoder=decoder, drop_last=drop_last)
    with loader, pytest.raises(FastptError, match=r"100 pictures in a row are damaged.*fastpt verify"):
        list(loader)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_missing_shard_is_a_clear_error(copied, decoder):
    (copied.path / "images" / copied.manifest["shards"][1]["name"]).unlink()
    loader = Loader(copied, 12, 16, seed=0, decoder=decoder)
    with loader, pytest.raises(FastptError, match=r"train-00001.beton is missing. `fastpt verify"):
        list(loader)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_truncated_shard_is_a_clear_error(copied, decoder):
    shard = copied.manifest["shards"][2]
    with (copied.path / "images" / shard["name"]).open("r+b") as file:
        file.truncate(1000)
    loader = Loader(copied, 12, 16, seed=0, decoder=decoder)
    with loader, pytest.raises(FastptError, match=f"has 1000 bytes instead of {shard['bytes']}"):
        list(loader)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_shard_cut_short_while_it_is_read_is_a_clear_error(copied, decoder):
    """A mapped file would kill the process here."""
    shard = copied.manifest["shards"][0]
    with Loader(copied, 4, 16, seed=0, decoder=decoder) as loader:
        list(loader)
        with (copied.path / "images" / shard["name"]).open("r+b") as file:
            file.truncate(1000)
        with pytest.raises(FastptError, match=rf"{shard['name']} has 1000 bytes instead of {shard['bytes']}"):
            list(loader)
    assert not own_threads()


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_shard_replaced_under_an_open_loader_is_read_on_as_it_was(copied, decoder):
    """Copying tools write aside and rename: the open file stays."""
    shard = copied.path / "images" / copied.manifest["shards"][0]["name"]
    with Loader(copied, 4, 16, seed=0, decoder=decoder) as loader:
        list(loader)
        (copied.path / "other").write_bytes(b"x" * shard.stat().st_size)
        (copied.path / "other").rename(shard)
        assert len(list(loader)) == len(loader)
        assert not loader.bad_samples


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_failing_disk_is_a_clear_error(copied, decoder, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    unreadable = os.open(os.devnull, os.O_WRONLY)
    monkeypatch.setattr(type(copied), "shard", lambda *_: unreadable)  # for C
    monkeypatch.setattr("os.pread", fail)
    loader = Loader(copied, 4, 16, seed=0, decoder=decoder)
    with loader, pytest.raises(FastptError, match=r"beton cannot be read: Input/output error"):
        list(loader)
    os.close(unreadable)


@pytest.fixture
def still_arrow():
    """Arrow's pools of threads, which are the process's and grow where cores are busy, are of one thread each."""
    before = pa.cpu_count(), pa.io_thread_count()
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    yield
    pa.set_cpu_count(before[0])
    pa.set_io_thread_count(before[1])


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.usefixtures("still_arrow")
def test_a_hundred_epochs_of_open_iterate_and_close_stay_flat(split, decoder):
    """Threads and file descriptors to the number; memory to 4 MiB, over the last 80 epochs."""

    def count(kind: str) -> int:
        return len(list(Path("/proc/self", kind).iterdir()))

    def threads() -> Iterator[int]:
        for _ in range(50):  # one that has ended is listed until the kernel has had the time to take it away
            yield count("task")
            time.sleep(0.02)

    def used() -> tuple[int, int, int]:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return min(threads()), count("fd"), pages * 4096

    def epochs(count: int) -> tuple[int, int, int]:
        for epoch in range(count):  # every other one is stopped before its end
            with Loader(Dataset(split.path), 8, 64, seed=0, decoder=decoder, threads=2) as loader:
                list(itertools.islice(loader, None if epoch % 2 else 2))
        return used()

    *numbers, memory = epochs(20)
    *numbers_after, memory_after = epochs(80)
    assert numbers_after == numbers
    assert memory_after - memory < 4 << 20


@pytest.mark.parametrize("decoder", DECODERS)
def test_an_interrupt_in_the_consumer_ends_the_threads(split, decoder):
    def consume() -> None:
        with Loader(split, 4, 16, seed=0, decoder=decoder) as loader:
            for _ in loader:
                assert own_threads()
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    assert not own_threads()


def test_more_shards_than_the_soft_limit_of_open_files(split):
    code = (
        "import os, resource, sys; from fastpt import Dataset\n"
        "dataset = Dataset(sys.argv[1]); dataset.samples\n"
        "_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir('/proc/self/fd')), hard))\n"
        "assert all(len(dataset.jpeg(i)) for i in range(len(dataset)))"
    )
    subprocess.run([sys.executable, "-c", code, split.path], check=True)
