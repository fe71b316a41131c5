"""The native threads: what comes of each picture, and that they end, whatever happens."""

import ctypes
import gc
import io
import os
import subprocess
import sys
import tarfile
import threading
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fastpt import Dataset, Loader
from fastpt.data import pictures
from fastpt.data.pictures import Pictures, Result, cut
from fastpt.errors import FastptError
from fastpt.loading import pool as pools
from fastpt.loading.pool import MOST, Pool
from tests.conftest import picture
from tests.loading.conftest import SAMPLES, damage, own_threads


def read_by_a_pool(dataset, threads=3):
    """The JPEGs of all samples, and what came of each."""
    stored, ids = Pictures(dataset.samples), np.arange(len(dataset))
    memory, starts = stored.places(ids)
    with Pool(stored, dataset.shard, threads) as pool:
        job = pool.submit(ids, np.zeros((len(ids), 4), np.int32), np.zeros(len(ids), bool), memory, starts)
        job.wait()
    return [jpeg.tobytes() for jpeg in cut(memory, starts)], job.results


def test_pictures_are_read_as_they_were_stored(split):
    jpegs, results = read_by_a_pool(split)
    assert jpegs == [split.jpeg(i).tobytes() for i in range(SAMPLES)]
    assert (results == Result.GOOD).all()


def test_it_is_told_of_each_picture_what_came_of_it(copied):
    samples = copied.samples
    damage(copied, 3)
    damage(copied, 21)
    last = copied.path / "images" / copied.manifest["shards"][2]["name"]
    for index in range(3):
        copied.shard(index)  # its length is looked at when it is opened
    os.truncate(last, int(samples.offset[33]))
    copied._shards.descriptors[1] = os.open(os.devnull, os.O_WRONLY)
    _, results = read_by_a_pool(copied)
    expected = np.full(SAMPLES, Result.GOOD)
    expected[3] = Result.DAMAGED
    expected[samples.shard == 1] = Result.UNREADABLE
    expected[(samples.shard == 2) & (samples.offset >= samples.offset[33])] = Result.SHORT
    assert results.tolist() == expected.tolist()
    assert set(expected) == {Result.GOOD, Result.DAMAGED, Result.UNREADABLE, Result.SHORT}


def test_a_picture_of_another_size_than_the_table_is_damaged_though_its_sum_is_right(split):
    other, width = Dataset(split.path), split.samples.width.copy()
    width[5] += 1
    other.samples = replace(split.samples, width=width)
    _, results = read_by_a_pool(other)
    assert np.flatnonzero(results).tolist() == [5]
    assert results[5] == Result.DAMAGED


def test_what_the_kernel_leaves_is_shown_all_the_same(tmp_path):
    """Every other picture of a foreign tar is progressive; each comes twice, once of either kind."""
    with tarfile.open(tmp_path / "mixed.tar", "w") as tar:
        for i in range(12):
            content = picture(i // 2, size=(64, 48), quality=95, progressive=i % 2 == 1)
            for name, data in ((f"{i:02d}.jpg", content), (f"{i:02d}.cls", b"0")):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    dataset = Dataset.from_webdataset(tmp_path / "mixed.tar", cache=tmp_path / "cache")
    settings = {"seed": 0, "order": "sequential", "crop": "center", "interpolation": "bilinear", "drop_last": False}
    with Loader(dataset, 5, 32, **settings) as loader:
        images = torch.cat([batch.images for batch in loader]).int()
    assert (images[0::2] - images[1::2]).abs().max() <= 6  # Pillow makes RGB first, and resizes that
    assert (images[0] - images[2]).abs().max() > 30


def test_without_the_library_batches_are_the_same(copied, monkeypatch):
    damage(copied, 7)

    def batches():
        with Loader(copied, 8, 24, seed=0, drop_last=False) as loader:
            return list(loader), loader.bad_samples

    native, bad = batches()
    monkeypatch.setattr(pools, "_library", lambda: None)
    monkeypatch.setattr(pictures, "library", lambda: None)
    others, other_bad = batches()
    assert bad == other_bad == {7: 1}
    for ours, theirs in zip(native, others, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_package_that_hides_its_xxh3_costs_speed_and_no_check(copied, monkeypatch):
    damage(copied, 7)
    for function in (pictures.xxh3, pictures.library, pools._library):
        function.cache_clear()
    monkeypatch.setattr(pictures, "XXH3_NAMES", ("XXH3_of_another_kind",))
    try:
        assert pictures.library() is None
        with Loader(copied, 8, 24, seed=0, drop_last=False) as loader:
            assert sum(len(batch.images) for batch in loader) == SAMPLES - 1
    finally:
        for function in (pictures.xxh3, pictures.library, pools._library):
            function.cache_clear()


def test_a_function_that_gives_other_sums_is_not_taken_for_xxh3():
    other = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_size_t)(lambda data, length: length)
    assert not pictures._is_xxh3(ctypes.cast(other, ctypes.c_void_p).value)
    assert pictures._is_xxh3(pictures.xxh3())


# --- threads --------------------------------------------------------------------------------------------------------


def test_as_many_threads_as_asked_for_run_and_end_with_the_iteration(split):
    with Loader(split, 4, 16, seed=0, threads=5) as loader:
        batches = iter(loader)
        next(batches)
        assert len(own_threads()) == 5
        list(batches)
        assert not own_threads()


def test_they_end_with_an_iterator_that_is_dropped(split):
    loader = Loader(split, 4, 16, seed=0, threads=2)
    batches = iter(loader)
    next(batches)
    assert own_threads()
    del batches, loader
    gc.collect()
    assert not own_threads()


def test_they_end_after_an_error(copied):
    os.truncate(copied.path / "images" / copied.manifest["shards"][0]["name"], 1000)
    with Loader(copied, 4, 16, seed=0, threads=2) as loader:
        batches = iter(loader)
        with pytest.raises(FastptError):
            list(batches)
        assert not own_threads()


def test_signals_are_not_theirs(split):
    with Loader(split, 4, 16, seed=0, threads=2) as loader:
        next(iter(loader))
        for task in Path("/proc/self/task").iterdir():
            if (task / "comm").read_text().startswith("fastpt"):
                blocked = next(x for x in (task / "status").read_text().splitlines() if x.startswith("SigBlk"))
                assert int(blocked.split()[1], 16) >> 1 & 1, "SIGINT would be taken by a thread that cannot act on it"


def test_python_goes_on_while_threads_wait_for_the_disk(split, monkeypatch):
    """`sleep` stands for a read that takes a second: called with a count of 1 in place of the header's parser."""
    sleep = ctypes.cast(ctypes.CDLL(None).sleep, ctypes.c_void_p).value
    monkeypatch.setattr("fastpt.data.pictures.frames.function", lambda: sleep)
    stored = Pictures(split.samples)
    counted, end = [0], threading.Event()

    def count():
        while not end.is_set():
            counted[0] += 1

    with Pool(stored, split.shard, 1) as pool:
        memory, starts = stored.places(np.array([0]))
        job = pool.submit(np.array([0]), np.zeros((1, 4), np.int32), np.zeros(1, bool), memory, starts)
        counting = threading.Thread(target=count)
        counting.start()
        job.wait()
        end.set()
        counting.join()
    assert counted[0] > 10_000


def test_a_process_that_exits_amid_an_iteration_exits_well(split):
    code = (
        "import sys; from fastpt import Dataset, Loader\n"
        "loader = Loader(Dataset(sys.argv[1]), 4, 16, seed=0, threads=4); batches = iter(loader); next(batches)"
    )
    done = subprocess.run([sys.executable, "-c", code, split.path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_process_can_drop_what_it_inherited_and_load_for_itself(split):
    """And is told so if it goes on with an iterator whose threads are not there."""
    code = (
        "import os, sys; from fastpt import Dataset, FastptError, Loader\n"
        "dataset = Dataset(sys.argv[1]); loader = Loader(dataset, 4, 16, seed=0, threads=2)\n"
        "batches = iter(loader); first = next(batches)\n"
        "if child := os.fork():\n"
        "    _, status = os.waitpid(child, 0)\n"
        "    print(os.waitstatus_to_exitcode(status), len(list(batches)))\n"
        "else:\n"
        "    try: next(batches)\n"
        "    except FastptError as error: assert 'before the process was forked' in str(error)\n"
        "    else: raise AssertionError\n"
        "    del batches; loader.close()\n"
        "    assert len(list(Loader(dataset, 4, 16, seed=0, threads=2))) == 9\n"
    )
    done = subprocess.run([sys.executable, "-c", code, split.path], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("0 8\n", "")


def test_more_batches_than_may_be_in_work_are_refused(split, slow_reading):
    slow_reading(0.02)
    stored, ids = Pictures(split.samples), np.array([0, 1])
    memory, starts = stored.places(ids)
    arguments = (ids, np.zeros((2, 4), np.int32), np.zeros(2, bool), memory, starts)
    with Pool(stored, split.shard, 1) as pool:
        jobs = [pool.submit(*arguments) for _ in range(MOST)]
        with pytest.raises(AssertionError, match="in work"):
            pool.submit(*arguments)
        for job in jobs:
            job.wait()
        pool.submit(*arguments).wait()


def test_what_is_done_is_not_held(split):
    stored, ids = Pictures(split.samples), np.array([0, 1])
    memory, starts = stored.places(ids)
    held = weakref.ref(memory)
    with Pool(stored, split.shard, 1) as pool:
        job = pool.submit(ids, np.zeros((2, 4), np.int32), np.zeros(2, bool), memory, starts)
        del memory
        assert held() is not None
        job.wait()
        assert held() is None
