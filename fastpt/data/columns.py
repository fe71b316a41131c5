"""Columns of texts in parquet files, read a batch at a time: millions of rows never become Python objects at once."""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from fastpt.data.hashes import BATCH
from fastpt.errors import DamagedData

MEND = "Restore it or prepare the split anew."


@contextlib.contextmanager
def arrow_errors(path: Path, mend: str = MEND) -> Iterator[None]:
    """Raise DamagedData for what Arrow says of a table that cannot be read; `mend` says what to do."""
    try:
        yield
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:  # the last of damaged names of columns
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DamagedData(f"{path} cannot be read ({why}). {mend}") from None


class ColumnSum:
    """xxh3-64 of what a column holds, in whatever pieces it comes: of the values, and of the lengths of texts."""

    def __init__(self):
        self._values, self._lengths = xxhash.xxh3_64(), xxhash.xxh3_64()

    def update(self, array: pa.Array) -> None:
        """Add the next values: numbers, or texts in UTF-8."""
        if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
            self._values.update(np.ascontiguousarray(array.to_numpy(zero_copy_only=False)).data)
        elif len(array):
            offsets = _offsets(array)
            self._lengths.update(np.diff(offsets).astype("<i8").data)
            self._values.update(memoryview(array.buffers()[2])[int(offsets[0]) : int(offsets[-1])])

    def hexdigest(self) -> str:
        """32 digits."""
        return self._values.hexdigest() + self._lengths.hexdigest()


def column_sum(column: pa.ChunkedArray) -> str:
    """The `ColumnSum` of a whole column."""
    total = ColumnSum()
    for chunk in column.chunks:
        total.update(chunk)
    return total.hexdigest()


def check_column(path: Path, column: str, found: str, stated: str | None, mend: str = MEND) -> None:
    """Raise DamagedData if what a column holds has not the sum that is stated of it; `mend` says what to do."""
    if found != stated:
        raise DamagedData(f"{path} is damaged: its column {column} is not the one that was written. {mend}")


class TextColumn:
    """A column of texts in a parquet file, read a batch at a time. All raise DamagedData if it cannot be read.

    `stated` is its `ColumnSum`, which is compared before the last texts are given.
    """

    def __init__(self, path: Path, column: str, stated: str | None, mend: str = MEND):
        self._path, self._column, self._stated, self._mend = path, column, stated, mend
        with arrow_errors(path, mend):
            self._file = pq.ParquetFile(path, memory_map=True)

    def __len__(self) -> int:
        return self._file.metadata.num_rows

    def __iter__(self) -> Iterator[str]:
        """All texts in their order."""
        total, left = ColumnSum(), len(self)
        with arrow_errors(self._path, self._mend):
            for batch in self._file.iter_batches(BATCH, columns=[self._column]):
                total.update(batch.column(0))
                left -= len(batch)
                if left == 0:  # before the last are given: who counts what it takes never asks for more
                    check_column(self._path, self._column, total.hexdigest(), self._stated, self._mend)
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
