"""Splits for the loader's tests: small pictures of several sizes, some grey, in shards with small blocks."""

import shutil
import threading

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
    """Python threads of the loaders that are open."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fastpt")]
