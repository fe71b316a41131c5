import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from fastpt.data.columns import TextColumn, take
from fastpt.data.hashes import xxh3_64, xxh3_128

TEXTS = [f"text {i} ü" if i % 3 else "" for i in range(1000)]


def test_hashes_are_xxh3_of_each_text_however_the_texts_come(tmp_path, monkeypatch):
    for module in ("columns", "hashes"):
        monkeypatch.setattr(f"fastpt.data.{module}.BATCH", 300)
    pq.write_table(pa.table({"key": TEXTS}), tmp_path / "t.parquet", row_group_size=370)  # batches end at row groups
    stored = TextColumn(tmp_path / "t.parquet", "key")
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
