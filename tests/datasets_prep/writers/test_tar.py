"""Our tars against the readers that other people use."""

import tarfile

import numpy as np
import pytest

from datasets_prep.writers.tar import TarWriter
from tests.conftest import made_up, picture, prepared, stored


def test_offsets_name_the_jpeg_bytes(tmp_path):
    dataset = prepared(tmp_path, made_up(12), format="wds", shard_samples=5)
    for i, key in enumerate(dataset.keys):
        assert dataset.jpeg(i).tobytes() == stored(int(key[9:13]))


def test_prepared_tars_hold_no_targets(tmp_path):
    dataset = prepared(tmp_path, made_up(12), format="wds")
    with tarfile.open(dataset.path / "images" / "train-000000.tar") as tar:
        members = tar.getmembers()
    assert {member.name.rpartition(".")[2] for member in members} == {"jpg"}
    assert {member.mtime for member in members} == {0}
    assert [member.name for member in members] == sorted(member.name for member in members)


def test_webdataset_reads_pictures_and_targets(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    with TarWriter.open(tmp_path / "a.tar", 0, "cls") as writer:
        for i in range(5):
            writer.add(picture(i), 80, 64, i % 3)
    samples = list(webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False))
    assert [sample["jpg"] for sample in samples] == [picture(i) for i in range(5)]
    assert [int(sample["cls"]) for sample in samples] == [0, 1, 2, 0, 1]


def test_dali_reads_by_the_index(tmp_path):
    fn = pytest.importorskip("nvidia.dali.fn")
    from nvidia.dali import pipeline_def

    dataset = prepared(tmp_path, made_up(6), format="wds")
    tar = dataset.path / "images" / "train-000000.tar"

    @pipeline_def(batch_size=6, num_threads=1, device_id=None)
    def pipeline():
        return fn.readers.webdataset(paths=[str(tar)], index_paths=[str(tar.with_suffix(".idx"))], ext=["jpg"])

    pipe = pipeline()
    pipe.build()
    (batch,) = pipe.run()
    for i in range(6):
        assert np.array_equal(np.asarray(batch.at(i)), dataset.jpeg(i))
