"""Splits for the loader's tests: small pictures of several sizes, some grey, in shards with small blocks."""

import ctypes
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpt import Dataset
from fastpt.data import manifest
from fastpt.files import write_sealed_json
from tests.conftest import made_up, picture, prepared

SAMPLES = 38


@pytest.fixture(scope="session")
def split(tmp_path_factory) -> Dataset:
    """38 pictures of five sizes, every seventh grey, in three shards; quasi_random has blocks of 4."""
    special = {
        i: picture(i, size=(40 + 11 * (i % 5), 44 + 7 * (i % 3)), mode="L" if i % 7 == 0 else "RGB")
        for i in range(SAMPLES)
    }
    dataset = prepared(tmp_path_factory.mktemp("split"), made_up(SAMPLES, special=special), shard_samples=15)
    return with_manifest(dataset, read_block=4)


def with_manifest(dataset: Dataset, **changes) -> Dataset:
    """The split with other entries in its manifest."""
    write_sealed_json(dataset.path / "dataset.json", {**manifest.read(dataset.path), **changes})
    return Dataset(dataset.path)


@pytest.fixture
def copied(split, tmp_path) -> Dataset:
    """A copy of `split` to be damaged."""
    return Dataset(shutil.copytree(split.path, tmp_path / "copy"))


def damage(dataset: Dataset, sample_id: int) -> None:
    """Flip one bit in the middle of a stored picture."""
    samples = dataset.samples
    shard = dataset.path / "images" / dataset.manifest["shards"][int(samples.shard[sample_id])]["name"]
    with shard.open("r+b") as file:
        file.seek(int(samples.offset[sample_id]) + int(samples.size[sample_id]) // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))


def own_threads() -> list[str]:
    """Threads of the loaders that are open: Python's by their names there, C's by those that the system knows."""
    names = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]
    return [name for name in (*names, *(thread.name for thread in threading.enumerate())) if name.startswith("fastpt")]


@pytest.fixture
def slow_reading(monkeypatch) -> Callable[[float], None]:
    """Makes each picture of the loaders that are made from now on take so many seconds to be read."""

    def make_slow(seconds: float) -> None:
        native = ctypes.CFUNCTYPE(None, ctypes.c_int, *3 * [ctypes.c_void_p])(lambda *_: time.sleep(seconds))
        made.append(native)
        address = ctypes.cast(native, ctypes.c_void_p).value
        monkeypatch.setattr("fastpt.data.pictures.frames.function", lambda: address)

    made = []
    return make_slow
