"""Columns of texts in parquet files, read a batch at a time: millions of rows never become Python objects at once."""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fastpt.data.hashes import BATCH
from fastpt.errors import DamagedData


@contextlib.contextmanager
def arrow_errors(path: Path) -> Iterator[None]:
    """Raise DamagedData for what Arrow says of a table that cannot be read."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DamagedData(f"{path} cannot be read ({why}). Restore it or prepare the split anew.") from None


class TextColumn:
    """A column of texts in a parquet file, read a batch at a time. All raise DamagedData if it cannot be read."""

    def __init__(self, path: Path, column: str):
        self._path, self._column = path, column
        with arrow_errors(path):
            self._file = pq.ParquetFile(path, memory_map=True)

    def __len__(self) -> int:
        return self._file.metadata.num_rows

    def __iter__(self) -> Iterator[str]:
        """All texts in their order."""
        with arrow_errors(self._path):
            for batch in self._file.iter_batches(BATCH, columns=[self._column]):
                yield from batch.column(0).to_pylist()


def update_sha256(digest: "hashlib._Hash", texts: pa.ChunkedArray) -> None:
    """Feed a digest the lengths (UTF-8 bytes, little-endian int64) of all texts, then all texts."""
    for chunk in texts.chunks:
        digest.update(np.diff(_offsets(chunk)).astype("<i8").tobytes())
    for chunk in texts.chunks:
        if len(chunk):
            offsets = _offsets(chunk)
            digest.update(memoryview(chunk.buffers()[2])[int(offsets[0]) : int(offsets[-1])])


def take(texts: pa.ChunkedArray, rows: np.ndarray | Sequence[int]) -> list[str]:
    """The texts of the given rows. (Arrow's own `take` would put all chunks together first, at each call.)"""
    rows = np.asarray(rows, np.int64)
    first = np.cumsum([0, *(len(chunk) for chunk in texts.chunks)])
    holder = np.searchsorted(first, rows, side="right") - 1
    taken = np.empty(len(rows), object)
    for index in np.unique(holder):
        here = holder == index
        taken[here] = texts.chunk(index).take(pa.array(rows[here] - first[index])).to_pylist()
    return taken.tolist()


def _offsets(chunk: pa.Array) -> np.ndarray:
    """Where each text begins in the chunk's bytes, and where the last ends: int [len + 1]."""
    width = np.int64 if pa.types.is_large_string(chunk.type) else np.int32
    return np.frombuffer(chunk.buffers()[1], width)[chunk.offset : chunk.offset + len(chunk) + 1]
