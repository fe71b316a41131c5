import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from fastpt.data.columns import TextColumn, column_sum, take
from fastpt.data.hashes import xxh3_64, xxh3_128
from fastpt.errors import DamagedData

TEXTS = [f"text {i} ü" if i % 3 else "" for i in range(1000)]


def test_hashes_are_xxh3_of_each_text_however_the_texts_come(tmp_path, monkeypatch):
    for module in ("columns", "hashes"):
        monkeypatch.setattr(f"fastpt.data.{module}.BATCH", 300)
    pq.write_table(pa.table({"key": TEXTS}), tmp_path / "t.parquet", row_group_size=370)  # batches end at row groups
    stored = TextColumn(tmp_path / "t.parquet", "key", column_sum(pa.chunked_array([TEXTS])))
    for texts in (TEXTS, stored):
        assert xxh3_64(texts).tolist() == [xxhash.xxh3_64_intdigest(text.encode()) for text in TEXTS]
        high, low = xxh3_128(texts, seed=5)
        both = [xxhash.xxh3_128_intdigest(text.encode(), seed=5) for text in TEXTS]
        assert [(int(a) << 64) + int(b) for a, b in zip(high, low, strict=True)] == both
    assert len(stored) == 1000


def test_take_finds_rows_in_all_chunks():
    chunks = pa.chunked_array([TEXTS[:10], [], TEXTS[10:600], TEXTS[600:]])
    rows = np.random.default_rng(0).integers(0, 1000, 500)
    assert take(chunks, rows) == [TEXTS[i] for i in rows]
    assert take(chunks, []) == []


def test_the_sum_of_a_column_does_not_depend_on_its_pieces():
    whole, parts = pa.chunked_array([TEXTS]), pa.chunked_array([TEXTS[:10], [], TEXTS[10:600], TEXTS[600:]])
    assert column_sum(whole) == column_sum(parts) == column_sum(pa.chunked_array([pa.array(["x", *TEXTS])[1:]]))
    numbers = np.arange(100, dtype=np.uint16)
    assert column_sum(pa.chunked_array([numbers])) == column_sum(pa.chunked_array([numbers[:7], numbers[7:]]))


@pytest.mark.parametrize("other", [["ab", "c"], ["a", "bc", ""], ["b", "ca"], ["a", "bd"]])
def test_other_texts_have_another_sum(other):
    assert column_sum(pa.chunked_array([other])) != column_sum(pa.chunked_array([["a", "bc"]]))


def test_texts_that_are_not_those_stated_are_damage_when_all_are_read(tmp_path):
    pq.write_table(pa.table({"key": TEXTS}), tmp_path / "t.parquet")
    texts = TextColumn(tmp_path / "t.parquet", "key", column_sum(pa.chunked_array([TEXTS[::-1]])))
    with pytest.raises(DamagedData, match=r"t\.parquet is damaged: its column key is not the one that was written"):
        list(texts)
