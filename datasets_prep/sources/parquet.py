"""Parquet files as Hugging Face's datasets are stored: a column of pictures, and a label or a caption.

    train-00000-of-00294.parquet, validation-00000-of-00014.parquet      the split is in the name,
    train/0000.parquet                                                   or the folder is

Pictures are `struct<bytes, path>` or plain bytes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from datasets_prep.listing import Found
from datasets_prep.places import with_same_classes
from datasets_prep.records import RecordFormat, caption_options
from datasets_prep.sources import Request, Source


class Parquet(Source):
    summary = "Hugging Face's files: pictures with a label or a caption"
    example = "fastpt prep parquet --source dataset/data"
    options = (
        *caption_options(strip_markup=False),
        click.Option(["--label-column"], default="label", show_default=True, help="Column with classes."),
    )

    def list_splits(self, request: Request, label_column: str, **captions: Any) -> Found:
        return parquet_splits(request.places, RecordFormat(**captions), label_column)


def parquet_splits(roots: Sequence[Path], record_format: RecordFormat, label_column: str = "label") -> Found:
    """The splits of parquet files with a caption in the columns of `record_format`, or a label, or both.

    The key of a row is its picture's `path`, or `<file>/<row>` where these are no keys. Labels are integers or names.
    """
    from datasets_prep.tables import listing, open_tables

    tables = open_tables(roots, [*record_format.caption_columns, label_column])
    splits = [listing(table, record_format, label_column) for table in tables]
    return Found.only(with_same_classes(splits))


SOURCE = Parquet()
