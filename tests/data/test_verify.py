import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from fastpt import Dataset
from fastpt.data.columns import column_sum
from fastpt.data.verify import verify, verify_deep
from fastpt.files import write_sealed_json
from tests.conftest import made_up, prepared


@pytest.fixture(params=["ffcv", "wds"])
def split(request, tmp_path):
    return prepared(tmp_path / "data", made_up(12, captions=True), [0.5], shard_samples=5, format=request.param).path


def test_an_untouched_split_and_its_copy_verify(split, tmp_path):
    assert verify(split) == []
    assert verify(shutil.copytree(split, tmp_path / "copy")) == []


def test_a_flipped_bit_in_any_file_is_found_and_the_file_named(split):
    files = [file for file in split.rglob("*") if file.is_file() and file.stat().st_size]
    assert {file.suffix for file in files} >= {".json", ".npy", ".parquet"}
    for file in files:
        content = file.read_bytes()
        damaged = bytearray(content)
        damaged[len(content) // 2] ^= 4
        file.write_bytes(damaged)
        problems = verify(split)
        assert len(problems) == 1, file
        assert file.name in problems[0]
        file.write_bytes(content)
    assert verify(split) == []


def test_the_damaged_pictures_of_a_shard_are_named(split):
    samples, keys = Dataset(split).samples, Dataset(split).keys
    shard = Dataset(split).shard_path(int(samples.shard[7]))
    content = bytearray(shard.read_bytes())
    content[int(samples.offset[7]) + int(samples.size[7]) // 2] ^= 1
    shard.write_bytes(content)
    (problem,) = verify(split)
    assert problem.endswith(f"Damaged samples: 7 ({keys[7]}).")
    content[int(samples.offset[7]) + int(samples.size[7]) // 2] ^= 1
    content[-1] ^= 1  # after the last picture
    shard.write_bytes(content)
    (problem,) = verify(split)
    assert problem.endswith("All its pictures are as they were stored.")


def test_truncated_missing_and_foreign_files_are_named(split):
    shard = sorted((split / "images").iterdir())[0]
    shard.write_bytes(shard.read_bytes()[:-10])
    (split / "samples.parquet").unlink()
    (split / "stranger").write_text("")
    named = " ".join(verify(split))
    assert shard.name in named
    assert "samples.parquet is missing" in named
    assert "stranger does not belong" in named


def deep(path):
    return verify_deep(path, lambda done, total: None)


def resealed(path, **changes):
    """Write a sealed JSON anew, with changes: what a faulty writer would have left, checksums and all."""
    document = {**json.loads(path.read_text()), **changes}
    document.pop("self_sha256")
    write_sealed_json(path, document)


def test_a_sound_split_passes_the_deep_check(split):
    assert deep(split) == []


def test_a_picture_that_was_stored_damaged_or_with_a_wrong_size_is_named(split):
    table = Dataset(split).table()
    columns = {name: table[name].to_numpy(zero_copy_only=False).copy() for name in ("width", "size", "xxh3")}
    columns["width"][3] += 1
    columns["size"][7] -= 200  # a JPEG without its end, checksum and all
    columns["xxh3"][7] = xxhash.xxh3_64_intdigest(Dataset(split).jpeg(7)[:-200].tobytes())
    columns["xxh3"][9] ^= np.uint64(1)
    for name, column in columns.items():
        index = table.column_names.index(name)
        table = table.set_column(index, name, pa.array(column, table[name].type))
    pq.write_table(table, split / "samples.parquet")
    resealed(split / "dataset.json", columns={name: column_sum(table[name]) for name in table.column_names})
    problems = deep(split)
    assert [line.split(": ")[1].split(" ")[:2] for line in problems[1:]] == [
        ["sample", "3"],
        ["sample", "7"],
        ["sample", "9"],
    ]
    assert "counts bytes" in problems[0]
    assert "stated as JPEG of 81 x 64" in problems[1]
    assert "does not decode" in problems[2]
    assert "checksum" in problems[3]


def test_entry_points_that_lead_elsewhere_are_named(split):
    dataset = Dataset(split)
    wrong = {}
    for row, place in ((4, 15), (6, 18)):  # bytes of the segment's changes, behind JFIF's 20
        jpeg = bytearray(dataset.jpeg(row).tobytes())
        assert jpeg[20:22] == b"\xff\xe9"
        jpeg[20 + place] ^= 1
        wrong[row] = bytes(jpeg)
    stored = dataset.samples
    for row, jpeg in wrong.items():
        path = dataset.shard_path(int(stored.shard[row]))
        content, at = bytearray(path.read_bytes()), int(stored.offset[row])
        content[at : at + len(jpeg)] = jpeg
        path.write_bytes(content)
    table = dataset.table()
    sums = table["xxh3"].to_numpy().copy()
    sums[list(wrong)] = [xxhash.xxh3_64_intdigest(jpeg) for jpeg in wrong.values()]
    table = table.set_column(table.column_names.index("xxh3"), "xxh3", pa.array(sums))
    pq.write_table(table, split / "samples.parquet")
    resealed(split / "dataset.json", columns={name: column_sum(table[name]) for name in table.column_names})
    assert [line.split(": ")[1] for line in deep(split)] == [
        f"sample {row} has entry points that are not those of its data." for row in wrong
    ]


def test_counts_and_ids_that_do_not_agree_are_named(split):
    counts = Dataset(split).manifest["counts"]
    resealed(split / "dataset.json", counts={**counts, "rejected": 2, "per_class": [1, 2, 3, 6]})
    named = " ".join(deep(split))
    assert "counts rejected as 2, found 0" in named
    assert "counts per_class as [1, 2, 3, 6], found [3, 3, 3, 3]" in named
