"""Parquet files of pictures, opened: what stands beside the pictures, how to read them, and the listing of a split.

A parquet file can only be read a row group at a time, so random order shuffles the row groups and, within each, the
rows.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets_prep.listing import SplitListing
from datasets_prep.records import RecordFormat
from fastpt.errors import DamagedData, FastptError

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


def open_tables(roots: Sequence[Path], columns: Sequence[str]) -> list[Table]:
    """The splits of parquet files, and of all of them below folders, with those of `columns` that are there."""
    files = [file for root in roots for file in (sorted(root.rglob("*.parquet")) if root.is_dir() else [root])]
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
    tables, sizes, places = [], [], []
    classes: list[str] | None = None
    image = ""
    for number, file in enumerate(files):
        try:
            with pq.ParquetFile(file) as parquet:
                schema = parquet.schema_arrow
                image = _image_column(file, schema)
                found = [name for name in columns if name in schema.names]
                path = [f"{image}.path"] if pa.types.is_struct(schema.field(image).type) else []
                table = parquet.read([*found, *path])
                meta = parquet.metadata
        except (OSError, pa.ArrowException) as error:
            raise DamagedData(f"--source {file} cannot be read as parquet ({error}). Fetch it anew.") from None
        names = table.column(image).combine_chunks().field("path") if path else pa.nulls(len(table), pa.string())
        tables.append(table.select(found).append_column("path", names).replace_schema_metadata(None))
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


def listing(table: Table, record_format: RecordFormat, label_column: str) -> SplitListing:
    """The rows that have what the others of the split have: a caption, or a label, or both."""
    columns = table.columns
    labels = columns.column(label_column) if label_column in columns.column_names else None
    has_captions = any(name in columns.column_names for name in record_format.caption_columns)
    if labels is None and not has_captions:
        wanted = ", ".join([label_column, *record_format.caption_columns])
        raise FastptError(f"the parquet files of split {table.split} have none of the columns {wanted}.")
    keys, captions, rejected = _keys(table), [], []
    usable = np.ones(len(keys), bool) if labels is None else _has_label(labels)
    records = columns.select([name for name in columns.column_names if name not in (label_column, "path")])
    for i, record in enumerate(_records(records)):
        caption = record_format.caption(record) if has_captions else None
        captions.append(caption)
        if has_captions and not caption:
            usable[i] = False
            rejected.append((keys[i], "no caption"))
        elif not usable[i]:
            rejected.append((keys[i], "no label"))
    rows = np.flatnonzero(usable)
    classes, numbers = ([], None) if labels is None else _numbered(labels, rows, table.classes)
    return record_format.annotate(
        SplitListing(
            name=table.split,
            keys=[keys[i] for i in rows],
            labels=numbers,
            captions=[captions[i] for i in rows] if has_captions else None,
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


def _has_label(labels: pa.ChunkedArray) -> np.ndarray:
    """Which rows of a column have a class: bool [N]."""
    found = labels.is_valid().to_numpy()
    if pa.types.is_integer(labels.type):
        found &= labels.fill_null(0).to_numpy() >= 0  # -1 is "unknown" in datasets
    return found


def _numbered(labels: pa.ChunkedArray, rows: np.ndarray, names: list[str] | None) -> tuple[list[str], np.ndarray]:
    """The classes of a column, called by `names` where it holds numbers, and the class of each row: int64 [rows]."""
    values = labels.take(pa.array(rows)).to_pylist()
    if not pa.types.is_integer(labels.type):
        classes = sorted(set(map(str, values)))
        number = {name: i for i, name in enumerate(classes)}
        return classes, np.array([number[str(value)] for value in values], np.int64)
    most = max(values, default=-1)
    if names is not None and most >= len(names):
        raise FastptError(f"a label is {most}, but the metadata of the parquet files names {len(names)} classes.")
    return names or [str(i) for i in range(most + 1)], np.array(values, np.int64)
