"""What holds for everything that a loader can read: a split, several as one, and some samples of either."""

import os
import shutil

import numpy as np
import pytest

from fastpt import DamagedData, Dataset
from fastpt.data.concat import ConcatDataset
from fastpt.data.pictures import Pictures, Result
from fastpt.data.samples import ImageDataset
from fastpt.data.subset import Subset
from tests.conftest import stored

MAKE = {
    "Dataset": lambda one, other: one,
    "ConcatDataset": lambda one, other: ConcatDataset([one.path, other.path], [2, 1]),
    "Subset": lambda one, other: Subset(one, np.array([5, 0, 39, 5])),
    "Subset of a ConcatDataset": lambda one, other: Subset(
        ConcatDataset([other.path, one.path], [1, 2]), np.arange(79)
    ),
}


@pytest.fixture(params=MAKE)
def made(request, labelled, captioned, tmp_path) -> ImageDataset:
    """Each of them, over splits whose sample 5 is damaged."""
    one, other = (
        Dataset(shutil.copytree(split.path, tmp_path / name))
        for name, split in (("one", labelled), ("other", captioned))
    )
    for split in (one, other):
        path = split.shard_path(int(split.samples.shard[5]))
        content = bytearray(path.read_bytes())
        content[int(split.samples.offset[5]) + int(split.samples.size[5]) // 2] ^= 1
        path.write_bytes(content)
    return MAKE[request.param](one, other)


def test_pictures_are_those_that_were_stored_but_for_the_damaged(made):
    ids = np.arange(len(made))[::-1]
    jpegs = made.jpegs(ids)
    written = {stored(i) for i in range(40)}
    assert [jpeg.tobytes() in written for jpeg in jpegs] == made.samples.intact(ids, jpegs).tolist()
    assert 1 <= np.sum(~made.samples.intact(ids, jpegs)) <= 3


def test_read_by_c_pictures_are_judged_as_by_python(made):
    ids = np.arange(len(made))
    jpegs, results = Pictures(made.samples).read(ids, made.shard)
    assert [jpeg.tobytes() for jpeg in jpegs] == [jpeg.tobytes() for jpeg in made.jpegs(ids)]
    assert (results == Result.GOOD).tolist() == made.samples.intact(ids, jpegs).tolist()
    assert set(results.tolist()) == {Result.GOOD, Result.DAMAGED}


def test_a_damaged_picture_is_damaged_data_where_checked_ones_are_asked_for(made):
    ids = np.arange(len(made))
    intact = made.samples.intact(ids, made.jpegs(ids))
    assert len(made.jpegs(ids[intact], checked=True)) == intact.sum()
    with pytest.raises(DamagedData, match=r"sample 5 of .* is damaged"):
        made.jpegs(ids, checked=True)


def test_the_samples_say_where_in_which_shard_a_picture_lies(made):
    samples = made.samples
    for sample_id, jpeg in enumerate(made.jpegs(np.arange(len(made)))):
        index = int(samples.shard[sample_id])
        assert made.shard_name(index).startswith("train-")
        read = os.pread(made.shard(index), int(samples.size[sample_id]), int(samples.offset[sample_id]))
        assert read == jpeg.tobytes()


def test_no_pictures_are_no_jpegs(made):
    assert made.jpegs(np.array([], np.int64), checked=True) == []


def test_what_it_is_can_be_told(made):
    assert made.split == "train"
    assert made.name in ("made-up", "made-up+made-up")
    assert "one" in str(made.path)
    assert len(made.samples_id) == 64
    assert made.block >= 1
