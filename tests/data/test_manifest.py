import hashlib
import json

import numpy as np
import pyarrow as pa
import pytest

from fastpt import DamagedData, Dataset, FastptError
from fastpt.data import manifest
from fastpt.data.manifest import samples_id
from fastpt.files import write_sealed_json
from fastpt.registry import Origin

TEXTS = [f"text {i} ü" if i % 3 else "" for i in range(1000)]


def write(folder, packages=()) -> Dataset:
    """A split of three samples in shards of two, none and one, which are named and not there."""
    columns = {name: [1, 2, 3] for name in ("offset", "size", "width", "height", "xxh3")}
    table = pa.table({"key": ["a", "b", "c"], "clean_label": [1, 0, 1], "shard": [0, 0, 2], **columns})
    shards = [{"name": name, "bytes": 9, "sha256": None} for name in ("x", "y", "z")]
    description = manifest.Description(
        name="made-up",
        split="train",
        note="",
        settings={},
        classes=["0", "1"],
        class_names=["cat", "dog"],
        packages=packages,
    )
    manifest.write(folder, table, [manifest.Rejected("d", "none")], shards, description)
    return Dataset(folder)


def test_what_is_counted_is_in_the_manifest(tmp_path):
    written = write(tmp_path).manifest
    assert written["counts"] == {"samples": 3, "rejected": 1, "bytes": 6, "per_class": [1, 2]}
    assert [shard["first_id"] for shard in written["shards"]] == [0, 2, 2]
    assert written["has_labels"]
    assert not written["has_captions"]


def test_packages_are_named_only_if_some_took_part(tmp_path):
    assert "packages" not in write(tmp_path).manifest
    (entry,) = write(tmp_path, [Origin("cifar", "theirs", "1.5")]).manifest["packages"]
    assert entry == {"name": "cifar", "distribution": "theirs", "version": "1.5"}


def test_samples_id_is_its_definition_whatever_the_chunks():
    encoded = [text.encode() for text in TEXTS]
    column = np.array([len(text) for text in encoded], "<i8").tobytes() + b"".join(encoded)
    labels = np.arange(1000, dtype=np.int32)
    told = b"key:1000\n" + column + b"clean_label:1000\n" + labels.astype("<i8").tobytes() + b"caption:1000\n" + column
    for cut in (0, 400):
        chunked = pa.chunked_array([pa.array(TEXTS).slice(0, cut), pa.array(TEXTS).slice(cut)], pa.string())
        table = pa.table({"caption": chunked, "key": chunked, "clean_label": pa.array(labels), "size": labels})
        assert samples_id(table) == hashlib.sha256(told).hexdigest()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"format": "2.0"}'])
def test_a_manifest_that_does_not_parse_is_one_clear_error(tmp_path, content):
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(DamagedData, match=r"dataset\.json is damaged"):
        Dataset(tmp_path)


def test_a_changed_manifest_is_refused(tmp_path):
    path = write(tmp_path).path / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "name": "other"}))
    with pytest.raises(DamagedData, match="self_sha256"):
        Dataset(tmp_path)


@pytest.mark.parametrize("version", [1, "2.99"])
def test_another_format_is_refused_with_what_to_do(tmp_path, version):
    write_sealed_json(tmp_path / "dataset.json", {"format": version})
    with pytest.raises(FastptError, match=f"format version {version!r}.* make it anew"):
        Dataset(tmp_path)
