import shutil

import pytest

from fastpt.data.verify import verify
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


def test_truncated_missing_and_foreign_files_are_named(split):
    shard = sorted((split / "images").iterdir())[0]
    shard.write_bytes(shard.read_bytes()[:-10])
    (split / "samples.parquet").unlink()
    (split / "stranger").write_text("")
    named = " ".join(verify(split))
    assert shard.name in named
    assert "samples.parquet is missing" in named
    assert "stranger does not belong" in named
