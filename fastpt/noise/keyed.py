"""Parquet files of a row a sample, by rising key, with a seal: any split of the same samples reads them.

The metadata `mark` is a JSON with `format`, `samples`, `classes`, the `ColumnSum` of each column and what else the kind
of file says, and `self_sha256`, the seal. It is the file's identity: equal for equal content, whatever wrote the bytes.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fastpt.data.classes import differing
from fastpt.data.columns import ColumnSum
from fastpt.data.dataset import Dataset
from fastpt.errors import DamagedData, FastptError
from fastpt.files import atomic_write, is_sealed, sealed

_BATCH = 1 << 18  # rows
Column = tuple[pa.DataType, Callable[[pa.Array], pa.Array]]
"""A type, and what gives the values of rows, int64."""


def texts_of(dataset: Dataset, column: str) -> pa.Array:
    """A column of texts in one piece, of more than 2 GB too: large_string [N]."""
    return dataset.table([column])[column].cast(pa.large_string()).combine_chunks()


def texts_by(values: pa.Array, indices: np.ndarray) -> Column:
    """The column that has `values[indices]`; values: large_string [M], indices: int [N]."""
    chosen = pa.array(indices)
    return pa.string(), lambda rows: values.take(chosen.take(rows)).cast(pa.string())


def numbers(values: np.ndarray) -> Column:
    """The column of these numbers, [N]."""
    array = pa.array(values)
    return array.type, array.take


def write_keyed(path: Path, mark: bytes, keys: pa.Array, columns: Mapping[str, Column], stated: dict[str, Any]) -> str:
    """Write such a file. keys: large_string [N], by row. Returns its identity, a sha256."""
    order = pc.call_function("sort_indices", [keys])
    columns = {"key": texts_by(keys, np.arange(len(keys))), **columns}
    sums = {name: ColumnSum() for name in columns}
    schema = pa.schema([(name, dtype) for name, (dtype, _) in columns.items()])
    with (
        atomic_write(path) as file,
        pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True, store_schema=False) as writer,
    ):
        for start in range(0, len(order), _BATCH):
            rows = order.slice(start, _BATCH)
            batch = [values(rows) for _, values in columns.values()]
            for total, values in zip(sums.values(), batch, strict=True):
                total.update(values)
            writer.write_table(pa.table(batch, schema=schema))
        found = {"samples": len(keys), "columns": {name: total.hexdigest() for name, total in sums.items()}}
        document = sealed({**stated, **found})
        writer.add_key_value_metadata({mark: json.dumps(document, ensure_ascii=False)})
    return document["self_sha256"]


class KeyedFile:
    """Such a file, opened.

    Raises FastptError if it is of another kind (`advice` says what to do then) or format, DamagedData if it is not what
    was written, or if `nonsense` says what in its document nobody writes, or raises what Python does where something is
    missing.
    """

    def __init__(
        self, path: Path, mark: bytes, version: str, advice: str, nonsense: Callable[[dict[str, Any]], str | None]
    ):
        self.path = path
        if not path.is_file():
            raise FastptError(f"{path} is no file. Check the path.")
        with self._readable():
            metadata = pq.read_metadata(path)
        text = (metadata.metadata or {}).get(mark)
        if text is None:
            raise FastptError(f"{path} is {advice}")
        try:
            self.stated: dict[str, Any] = json.loads(text)
            if not is_sealed(self.stated):
                raise self.damaged("what it says of itself is not what was written")
            if self.stated["format"] != version:
                raise FastptError(
                    f"{path} has format version {self.stated['format']!r}; this fastpt reads version {version}. Use "
                    "the fastpt that wrote it, or let it be made anew."
                )
            if problem := nonsense(self.stated) or self._nonsense(metadata.num_rows):
                raise self.damaged(problem)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self.damaged(f"what it says of itself does not parse ({error!r})") from None

    def _nonsense(self, rows: int) -> str | None:
        classes, columns = self.stated["classes"], self.stated["columns"]
        if not all(isinstance(name, str) for name in [*(classes or []), *columns]) or "key" not in columns:
            return "its classes or columns are no texts"
        return None if self.stated["samples"] == rows else f"it has {rows} rows instead of {self.stated['samples']}"

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Raise DamagedData for what Arrow says of a file that cannot be read."""
        try:
            yield
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:  # the last of damaged names of columns
            why = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise self.damaged(f"it cannot be read ({why})") from None

    @property
    def identity(self) -> str:
        """A sha256."""
        return self.stated["self_sha256"]

    def column(self, name: str) -> pa.Array:
        """A column in one piece, [N]; texts are large_string. Raises DamagedData if it is not what was written."""
        with self._readable():
            column = pq.read_table(self.path, columns=[name], page_checksum_verification=True)[name]
            values = (column.cast(pa.large_string()) if pa.types.is_string(column.type) else column).combine_chunks()
        total = ColumnSum()
        total.update(values)
        if values.null_count or total.hexdigest() != self.stated["columns"][name]:
            raise self.damaged(f"its column {name} is not the one that was written")
        return values

    def positions(self, name: str, known: pa.Array) -> np.ndarray:
        """Where each text of a column is among `known`, large_string: int64 [N]. Raises DamagedData if one is not."""
        values = self.column(name)
        found = pc.call_function("index_in", [values], pc.SetLookupOptions(known))
        if found.null_count:
            unknown = values.filter(found.is_null())[0].as_py()
            raise self.damaged(f"its column {name} has {unknown!r}, which its samples do not have")
        return found.to_numpy().astype(np.int64)

    def rows(self, dataset: Dataset) -> np.ndarray:
        """The row here of each sample of a split: int64 [N]. Raises FastptError if classes or keys differ."""
        if self.stated["classes"] not in (None, dataset.classes):
            raise self.misfit(
                dataset, differing(self.stated["classes"], dataset.classes, "in the file", "in the split")
            )
        theirs, ours = self.column("key"), texts_of(dataset, "key")
        rows = pc.call_function("index_in", [ours], pc.SetLookupOptions(theirs))
        if len(theirs) == len(ours) and not rows.null_count:
            return rows.to_numpy().astype(np.int64)
        beyond = pc.call_function("invert", [pc.call_function("is_in", [theirs], pc.SetLookupOptions(ours))])
        only = [("only in the file", theirs.filter(beyond)), ("only in the split", ours.filter(rows.is_null()))]
        told = [f"{len(keys):,} are {where}, such as {keys[0].as_py()!r}" for where, keys in only if len(keys)]
        raise self.misfit(dataset, f"keys differ: {' and '.join(told) or 'some come several times'}")

    def check_labels(self, dataset: Dataset, labels: np.ndarray, what: str) -> None:
        """Raise FastptError if these labels, int [N] by the split's rows, are not its own: `what` of so many differ."""
        differ = np.flatnonzero(labels != dataset.clean_labels)
        if len(differ):
            first = int(differ[0])
            theirs, ours = (dataset.classes[one[first]] for one in (labels, dataset.clean_labels))
            raise self.misfit(dataset, self.differing(what, dataset, differ, theirs, ours))

    def differing(self, what: str, dataset: Dataset, differ: np.ndarray, theirs: str, ours: str) -> str:
        """What to say of samples, int [M], whose targets differ, the first of which has these."""
        key = dataset.keys[int(differ[0])]
        return f"{what} of {len(differ):,} samples differ: {key!r} has {theirs!r} in the file and {ours!r} here"

    def misfit(self, dataset: Dataset, differs: str) -> FastptError:
        return FastptError(
            f"{self.path} was made for other samples than {dataset.path} has: {differs}. Nothing was written."
        )

    def damaged(self, problem: str) -> DamagedData:
        return DamagedData(f"{self.path} is damaged: {problem}. Get it anew from where it is from.")
