"""Parquet files as Hugging Face's datasets are stored: a column of pictures, and a label or a caption.

    train-00000-of-00294.parquet, validation-00000-of-00014.parquet      the split is in the name,
    train/0000.parquet                                                   or the folder is

Pictures are `struct<bytes, path>` or plain bytes. A parquet file can only be read a row group at a time, so random
order shuffles the row groups and, within each, the rows.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datasets_prep.listing import SplitListing
from datasets_prep.records import RecordFormat
from fastpt.errors import FastptError

SPLITS = {"train": "train", "training": "train", "validation": "val", "valid": "val", "val": "val", "test": "test"}


@dataclass(frozen=True)
class Table:
    """The files of one split, opened: what is there beside the pictures, and where the pictures are."""

    split: str
    files: list[Path]
    image: str  # the column of pictures
    columns: pa.Table  # the columns that were asked for, and `path`, the name of each picture (or null)
    classes: list[str] | None  # of the column `label`, if the file's metadata names them
    groups: np.ndarray  # int64 [N], the row group of each row, counted over all files
    starts: np.ndarray  # int64 [groups], the first row of each
    places: list[tuple[int, int]]  # file and row group of each

    def reader(self) -> "_Reader":
        rows = np.arange(len(self.groups))
        return _Reader(self.files, self.image, self.places, self.groups, rows - self.starts[self.groups])


@dataclass
class _Reader:
    files: list[Path]
    image: str
    places: list[tuple[int, int]]
    groups: np.ndarray  # of each row
    inside: np.ndarray  # row inside its group
    _last: tuple[int, pa.Array] | None = field(default=None, repr=False)  # the row group that was read last

    def __call__(self, i: int) -> bytes:
        group = int(self.groups[i])
        if self._last is None or self._last[0] != group:
            self._last = (group, self._read(*self.places[group]))
        value = self._last[1][int(self.inside[i])].as_py()
        return value or b""

    def _read(self, file: int, group: int) -> pa.Array:
        try:
            with pq.ParquetFile(self.files[file]) as parquet:
                column = parquet.read_row_group(group, [self.image]).column(self.image).combine_chunks()
        except pa.ArrowException as error:
            raise OSError(f"{self.files[file].name} is damaged ({error})") from None
        return column.field("bytes") if pa.types.is_struct(column.type) else column

    def take(self, rows: Iterable[int]) -> "_Reader":
        rows = np.asarray(rows)
        return _Reader(self.files, self.image, self.places, self.groups[rows], self.inside[rows])

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_last": None}


def parquet_files(root: Path) -> list[Path]:
    """All parquet files below a folder, sorted; or the file."""
    return sorted(root.rglob("*.parquet")) if root.is_dir() else [root]


def open_tables(roots: Sequence[Path], columns: Sequence[str]) -> list[Table]:
    """The splits of the parquet files below `roots`, with those of `columns` that are there."""
    files = [file for root in roots for file in parquet_files(root)]
    if not files:
        raise FastptError(f"--source {', '.join(map(str, roots))} holds no .parquet files.")
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(_split_of(file), []).append(file)
    return [_open(split, files, columns) for split, files in sorted(splits.items())]


def _split_of(file: Path) -> str:
    for name in (file.name.partition("-")[0].partition(".")[0], file.parent.name):
        if name in SPLITS:
            return SPLITS[name]
    return "train"


def _open(split: str, files: list[Path], columns: Sequence[str]) -> Table:
    tables, sizes, places, classes, image = [], [], [], None, None
    for number, file in enumerate(files):
        try:
            with pq.ParquetFile(file) as parquet:
                schema = parquet.schema_arrow
                image = _image_column(file, schema)
                here = [name for name in columns if name in schema.names]
                path = [f"{image}.path"] if pa.types.is_struct(schema.field(image).type) else []
                table = parquet.read([*here, *path])
                meta = parquet.metadata
        except (OSError, pa.ArrowException) as error:
            raise FastptError(f"--source {file} cannot be read as parquet ({error}). Fetch it anew.") from None
        names = table.column(image).combine_chunks().field("path") if path else pa.nulls(len(table), pa.string())
        tables.append(table.select(here).append_column("path", names).replace_schema_metadata(None))
        sizes += [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
        places += [(number, group) for group in range(meta.num_row_groups)]
        classes = classes or _class_names(schema)
    try:
        whole = pa.concat_tables(tables)
    except pa.ArrowInvalid as error:
        raise FastptError(f"the parquet files of split {split} have different columns ({error}).") from None
    starts = np.cumsum([0, *sizes[:-1]])
    return Table(split, files, image, whole, classes, np.repeat(np.arange(len(sizes)), sizes), starts, places)


def _image_column(file: Path, schema: pa.Schema) -> str:
    for name in ("image", "jpg", "img"):
        if name in schema.names:
            kind = schema.field(name).type
            if pa.types.is_binary(kind) or (pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0):
                return name
    raise FastptError(f"--source {file} has no column of pictures called image, img or jpg: {', '.join(schema.names)}.")


def _class_names(schema: pa.Schema) -> list[str] | None:
    """The names of the column `label`, from the features that Hugging Face's datasets keep in the metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return list(features["label"]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def parquet_splits(roots: Sequence[Path], reading: RecordFormat, label_column: str | None = None) -> list[SplitListing]:
    """The splits of parquet files with a caption in the columns of `reading`, or a label, or both.

    The key of a row is its picture's `path`, or `<file>/<row>` where these are no keys. Labels are integers or names.
    """
    label_column = label_column or "label"
    tables = open_tables(roots, [*reading.caption_columns, *filter(None, (label_column, reading.id_column))])
    return [_split(table, reading, label_column) for table in tables]


def _split(table: Table, reading: RecordFormat, label_column: str) -> SplitListing:
    columns = table.columns
    has_labels = label_column in columns.column_names
    has_captions = any(name in columns.column_names for name in reading.caption_columns)
    if not has_labels and not has_captions:
        wanted = ", ".join([label_column, *reading.caption_columns])
        raise FastptError(f"the parquet files of split {table.split} have none of the columns {wanted}.")
    keys = _keys(table)
    rows, captions, rejected = [], [], []
    labels = columns.column(label_column) if has_labels else None
    has_label = np.asarray(pc.is_valid(labels)) if has_labels else None
    if has_labels and pa.types.is_integer(labels.type):
        has_label &= np.asarray(pc.greater_equal(labels, 0).fill_null(False))  # -1 is "unknown" in datasets
    records = columns.select([name for name in columns.column_names if name not in (label_column, "path")])
    for i, record in enumerate(_records(records)):
        if not reading.in_subset(record, keys[i]):
            continue
        caption = reading.caption(record) if has_captions else None
        reason = None
        if has_captions and not caption:
            reason = "no caption"
        elif has_labels and not has_label[i]:
            reason = "no label"
        if reason:
            rejected.append((keys[i], reason))
            continue
        rows.append(i)
        captions.append(caption)
    classes, numbers = _classes(labels, np.array(rows, np.int64), table.classes) if has_labels else ([], None)
    rows = np.array(rows, np.int64)
    return reading.annotate(
        SplitListing(
            name=table.split,
            keys=[keys[i] for i in rows],
            labels=numbers,
            captions=captions if has_captions else None,
            classes=classes,
            class_names=classes,
            read=table.reader().take(rows),
            is_train=table.split == "train",
            rejected=tuple(rejected),
            groups=table.groups[rows],
        )
    )


def _records(columns: pa.Table) -> Iterable[dict]:
    """The rows as dictionaries, a batch at a time."""
    if not columns.num_columns:
        yield from ({} for _ in range(len(columns)))
    for batch in columns.to_batches(max_chunksize=10_000):
        if columns.num_columns:
            yield from batch.to_pylist()


def _keys(table: Table) -> list[str]:
    paths = table.columns.column("path").to_pylist()
    if None not in paths and len(set(paths)) == len(paths):
        return paths
    return [f"{table.files[table.places[group][0]].stem}/{row}" for row, group in enumerate(table.groups)]


def _classes(labels: pa.ChunkedArray, rows: np.ndarray, names: list[str] | None) -> tuple[list[str], np.ndarray]:
    """The classes, and the number of each row's: int64 [rows]."""
    values = labels.take(pa.array(rows)).to_pylist()
    if not pa.types.is_integer(labels.type):
        classes = sorted(set(map(str, values)))
        number = {name: i for i, name in enumerate(classes)}
        return classes, np.array([number[str(value)] for value in values], np.int64)
    most = max(values, default=-1)
    if names is not None and most >= len(names):
        raise FastptError(f"a label is {most}, but the metadata of the parquet files names {len(names)} classes.")
    return names or [str(i) for i in range(most + 1)], np.array(values, np.int64)
