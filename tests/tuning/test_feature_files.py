import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from fastpt.errors import DamagedData, FastptError
from fastpt.tuning.feature_files import read_features

VALUES = np.random.default_rng(0).normal(size=(5, 3))
LABELS = np.array([0, 1, 2, 1, 0])


def written(folder, suffix, values=VALUES, labels=LABELS):
    """Arguments of read_features for files of one kind."""
    path = folder / f"set{suffix}"
    if suffix == ".npy":
        np.save(path, values)
        np.save(folder / "labels.npy", labels)
        return path, folder / "labels.npy"
    if suffix == ".safetensors":
        save_file({"features": values, "labels": labels}, path)
    else:
        pq.write_table(pa.table({"features": list(values), "labels": labels, "text": ["a"] * len(labels)}), path)
    return (path,)


@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ".parquet"])
def test_every_kind_gives_the_same(tmp_path, suffix):
    found = read_features(*written(tmp_path, suffix))
    np.testing.assert_array_equal(found.values, VALUES.astype(np.float32))
    assert found.values.dtype == np.float32
    assert found.labels.tolist() == LABELS.tolist()
    assert list(found.classes) == [0, 1, 2]


@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ".parquet"])
def test_wrong_content_is_told(tmp_path, suffix):
    holed = VALUES.copy()
    holed[2, 1] = np.nan
    for arguments, message in (
        ((holed, LABELS), "1 of 5 rows of features hold NaN or infinity, the first is row 2"),
        ((VALUES, LABELS.astype(float)), "should hold 5 labels, integers from 0.*float64"),
        ((VALUES, LABELS - 1), "from -1 to 1"),
    ):
        with pytest.raises(FastptError, match=message):
            read_features(*written(tmp_path, suffix, *arguments))


def test_files_that_cannot_be_read_are_told(tmp_path):
    path, labels = written(tmp_path, ".npy")
    with pytest.raises(FastptError, match="Name the file of their labels"):
        read_features(path)
    with pytest.raises(FastptError, match=r"5 labels.*shape \[2\]"):
        read_features(path, written(tmp_path, ".parquet", VALUES[:2], LABELS[:2])[0])
    np.save(labels, np.array(["a", "b"], object), allow_pickle=True)
    with pytest.raises(FastptError, match=r"labels cannot be read from .*labels\.npy"):
        read_features(path, labels)
    save_file({"embeddings": VALUES}, tmp_path / "other.safetensors")
    with pytest.raises(FastptError, match=r"holds no 'features', only embeddings\."):
        read_features(tmp_path / "other.safetensors")
    with pytest.raises(FastptError, match=r"none of \.npy, \.safetensors, \.parquet"):
        read_features(tmp_path / "set.csv", labels)


@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ".parquet"])
def test_a_file_that_was_cut_short_is_damaged(tmp_path, suffix):
    path, *labels = written(tmp_path, suffix)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DamagedData, match=r"features cannot be read from"):
        read_features(path, *labels)


def test_lists_of_different_lengths_are_told(tmp_path):
    table = pa.table({"features": [[1.0, 2.0], [3.0]], "labels": [0, 1]})
    pq.write_table(table, tmp_path / "ragged.parquet")
    with pytest.raises(FastptError, match="features are object"):
        read_features(tmp_path / "ragged.parquet")


def test_rows_without_features_are_told(tmp_path):
    pq.write_table(pa.table({"features": [[1.0, 2.0], None], "labels": [0, 1]}), tmp_path / "f.parquet")
    with pytest.raises(FastptError, match=r"1 of 2 rows have no features\. Leave these rows out"):
        read_features(tmp_path / "f.parquet")
    pq.write_table(pa.table({"features": [1.0, 2.0], "labels": [0, 1]}), tmp_path / "f.parquet")
    with pytest.raises(FastptError, match="features"):
        read_features(tmp_path / "f.parquet")


@pytest.mark.parametrize("label", [2**31, 10**12, 2**63 + 5])
def test_labels_that_are_no_numbers_of_classes_are_told(tmp_path, label):
    np.save(tmp_path / "x.npy", np.zeros((3, 2), np.float32))
    np.save(tmp_path / "y.npy", np.array([0, 1, label], np.uint64))
    with pytest.raises(FastptError, match=f"from 0 to {label}"):
        read_features(tmp_path / "x.npy", tmp_path / "y.npy")


def test_bfloat16_is_read_as_what_it_is(tmp_path):
    path = tmp_path / "set.safetensors"
    values = torch.from_numpy(VALUES).bfloat16()
    save_tensors({"features": values, "labels": torch.from_numpy(LABELS)}, path)
    np.testing.assert_array_equal(read_features(path).values, values.float().numpy())


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.npy")
    with pytest.raises(FastptError, match=r"x\.npy is no file"):
        read_features(tmp_path / "x.npy", tmp_path / "x.npy")
