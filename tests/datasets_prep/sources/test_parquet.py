import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datasets_prep.convert import _order
from datasets_prep.shard import Options
from datasets_prep.sources import Request
from datasets_prep.sources.parquet import SOURCE
from fastpt.errors import FastptError
from tests.conftest import picture, prepared


def parquet_splits(*roots, label=None, captions=(), image=None, **request):
    return SOURCE.list_splits(Request(roots, None, roots[0], 0, 1, **request), label, image, captions, False)


def write(path, rows, names=None, group=3, **columns):
    """A file as Hugging Face's datasets are stored; `rows` are picture numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = pa.array([{"bytes": picture(i), "path": f"{i}.jpg"} for i in rows])
    features = {"image": {"_type": "Image"}} | ({"label": {"names": names, "_type": "ClassLabel"}} if names else {})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.table({"image": images, **columns}).replace_schema_metadata(metadata), path, row_group_size=group)


def test_splits_and_class_names_are_found(tmp_path):
    write(tmp_path / "data/train-00000-of-00002.parquet", range(5), ["cat", "dog"], label=[0, 1, 0, 1, 1])
    write(tmp_path / "data/train-00001-of-00002.parquet", range(5, 9), ["cat", "dog"], label=[0, 0, 1, 1])
    write(tmp_path / "validation/0000.parquet", range(9, 11), ["cat", "dog"], label=[1, 0])
    train, val = parquet_splits(tmp_path).splits
    assert (train.name, val.name) == ("train", "val")
    assert train.classes == val.classes == ["cat", "dog"]
    assert train.labels.tolist() == [0, 1, 0, 1, 1, 0, 0, 1, 1]
    assert train.keys == [f"{i}.jpg" for i in range(9)]
    assert [train.read(i) for i in (8, 0, 4, 5)] == [picture(i) for i in (8, 0, 4, 5)]
    assert val.read(1) == picture(10)
    assert pickle.loads(pickle.dumps(train)).take(np.array([6, 1]), "a", True).read(0) == picture(6)


def test_captions_plain_bytes_and_rows_that_lack_something(tmp_path):
    pictures = pa.array([picture(i) for i in range(4)])
    table = pa.table({"jpg": pictures, "caption": ["one", None, " ", "four"]})
    pq.write_table(table, tmp_path / "00000.parquet")
    (split,) = parquet_splits(tmp_path / "00000.parquet").splits
    assert (split.name, split.keys) == ("train", ["00000/0", "00000/3"])
    assert split.captions == ["one", "four"]
    assert dict(split.rejected) == {"00000/1": "no caption", "00000/2": "no caption"}
    assert split.read(1) == picture(3)


def test_labels_that_are_text_or_unknown(tmp_path):
    write(tmp_path / "train.parquet", range(3), kind=["dog", None, "cat"])
    (split,) = parquet_splits(tmp_path, label="kind").splits
    assert (split.classes, split.labels.tolist()) == (["cat", "dog"], [1, 0])
    assert dict(split.rejected) == {"1.jpg": "no label"}


def test_random_order_reads_each_row_group_at_once(tmp_path):
    write(tmp_path / "train.parquet", range(20), label=[0] * 20, group=4)
    (split,) = parquet_splits(tmp_path).splits
    order = _order(split, Options())
    assert sorted(order) == list(range(20))
    groups = split.groups[order]
    assert np.count_nonzero(np.diff(groups)) == 4
    assert groups.tolist() != sorted(groups)
    assert any(np.diff(order[groups == group]).min() < 0 for group in range(5))
    dataset = prepared(tmp_path / "out", split, shard_samples=7)
    assert dataset.jpeg(0).tobytes() == picture(int(dataset.keys[0].partition(".")[0]))


@pytest.mark.parametrize(
    ("columns", "said"),
    [({"text": ["x", "y"]}, "no column 'label' and none 'caption'"), ({"label": [0, 7]}, "2 classes are named")],
)
def test_other_columns_are_one_clear_error(tmp_path, columns, said):
    write(tmp_path / "train.parquet", range(2), ["cat", "dog"], **columns)
    with pytest.raises(FastptError, match=said):
        parquet_splits(tmp_path)


def test_what_is_no_parquet_is_told(tmp_path):
    with pytest.raises(FastptError, match=r"holds no \.parquet"):
        parquet_splits(tmp_path)
    (tmp_path / "a.parquet").write_bytes(b"rubbish")
    with pytest.raises(FastptError, match=r"a\.parquet cannot be read"):
        parquet_splits(tmp_path)
    pq.write_table(pa.table({"label": [1]}), tmp_path / "a.parquet")
    with pytest.raises(FastptError, match="no column of pictures"):
        parquet_splits(tmp_path)
