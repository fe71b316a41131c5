"""Parquet files as Hugging Face's datasets are stored: a column of pictures, and a label or a caption.

    train-00000-of-00294.parquet, validation-00000-of-00014.parquet      the split is in the name,
    train/0000.parquet                                                   or the folder is

Pictures are `struct<bytes, path>` or plain bytes.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from datasets_prep.listing import SplitListing
from datasets_prep.places import with_same_classes
from datasets_prep.records import RecordFormat, caption_options
from datasets_prep.sources import Request, Source
from fastpt.errors import FastptError

if TYPE_CHECKING:
    import pyarrow as pa

    from datasets_prep.tables import Table


class Parquet(Source):
    summary = "Hugging Face's files: pictures with a label or a caption"
    example = "fastpt prep parquet --source dataset/data"
    options = (
        *caption_options(strip_markup=False),
        click.Option(["--label-column"], default="label", show_default=True, help="Column with classes."),
    )

    def list_splits(self, request: Request, label_column: str, **captions: Any) -> list[SplitListing]:
        return with_same_classes(parquet_splits(request.places, RecordFormat(**captions), label_column))


def parquet_splits(
    roots: Sequence[Path], record_format: RecordFormat, label_column: str = "label"
) -> list[SplitListing]:
    """The splits of parquet files with a caption in the columns of `record_format`, or a label, or both.

    The key of a row is its picture's `path`, or `<file>/<row>` where these are no keys. Labels are integers or names.
    """
    from datasets_prep.tables import open_tables

    tables = open_tables(roots, [*record_format.caption_columns, label_column])
    return [_split(table, record_format, label_column) for table in tables]


def _split(table: "Table", record_format: RecordFormat, label_column: str) -> SplitListing:
    from datasets_prep.tables import has_label, numbered

    columns = table.columns
    labels = columns.column(label_column) if label_column in columns.column_names else None
    has_captions = any(name in columns.column_names for name in record_format.caption_columns)
    if labels is None and not has_captions:
        wanted = ", ".join([label_column, *record_format.caption_columns])
        raise FastptError(f"the parquet files of split {table.split} have none of the columns {wanted}.")
    keys, captions, rejected = _keys(table), [], []
    usable = np.ones(len(keys), bool) if labels is None else has_label(labels)
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
    classes, numbers = ([], None) if labels is None else numbered(labels, rows, table.classes)
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


def _records(columns: "pa.Table") -> Iterable[dict]:
    """The rows as dictionaries, a batch at a time."""
    if not columns.num_columns:
        yield from ({} for _ in range(len(columns)))
    for batch in columns.to_batches(max_chunksize=10_000):
        if columns.num_columns:
            yield from batch.to_pylist()


def _keys(table: "Table") -> list[str]:
    paths = table.columns.column("path").to_pylist()
    if None not in paths and len(set(paths)) == len(paths):
        return paths
    return [f"{table.files[table.places[group][0]].stem}/{row}" for row, group in enumerate(table.groups)]


SOURCE = Parquet()
