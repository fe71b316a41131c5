"""Parquet files as Hugging Face's datasets are stored: a column of pictures, and a label or a caption.

    train-00000-of-00294.parquet, validation-00000-of-00014.parquet      the split is in the name,
    train/0000.parquet                                                   or the folder is

Pictures are `struct<bytes, path>` or plain bytes.
"""

from array import array
from collections import Counter
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import click
import numpy as np

from datasets_prep.listing import Found, SplitListing
from datasets_prep.records import RecordFormat, caption_options, caption_warnings
from datasets_prep.sources import Request, Source
from datasets_prep.targets import Labels, read_labels
from datasets_prep.texts import Texts
from fastpt.errors import FastptError

if TYPE_CHECKING:
    from datasets_prep.tables import Table

LABEL, CAPTION = "label", "caption"  # what Hugging Face's datasets call them


class Parquet(Source):
    summary = "Hugging Face's files: pictures with a label or a caption"
    example = "fastpt prep parquet --source dataset/data"
    options = (
        click.Option(["--label-column"], help="Column with classes (default: label, if it is there)."),
        *caption_options(strip_markup=False, columns=()),
        click.Option(["--image-column"], help="Column with pictures (default: image, jpg or img)."),
    )

    def list_splits(
        self,
        request: Request,
        label_column: str | None,
        image_column: str | None,
        caption_columns: tuple[str, ...],
        strip_markup: bool,
    ) -> Found:
        return parquet_splits(request, RecordFormat(caption_columns, strip_markup), label_column, image_column)


def parquet_splits(
    request: Request, record_format: RecordFormat, label_column: str | None = None, image_column: str | None = None
) -> Found:
    """The splits of parquet files with a caption in the columns of `record_format`, or a label, or both.

    Without either, they are the columns `caption` and `label`, if they are there; a column that is asked for has to be
    in all files. The key of a row is its picture's `path`, or `<file>/<row>` where these are no keys. Rows count as
    files.
    """
    from datasets_prep.tables import missing_column, open_tables

    asked = [*filter(None, [label_column]), *record_format.caption_columns]
    opened = open_tables(request.places, asked or [LABEL, CAPTION], image_column, request.split, request.ignore_damage)
    there = {column for table in opened.tables for column in table.values}
    for table, column in product(opened.tables, asked):
        if column not in table.values:
            raise missing_column(table, column)
    if not there:
        raise missing_column(opened.tables[0], LABEL, CAPTION)
    if not asked:
        label_column = LABEL if LABEL in there else None
        record_format = replace(record_format, caption_columns=(CAPTION,) if CAPTION in there else ())
    keys = Texts(key for table in opened.tables for key in table.keys)
    labels = Labels([], np.full(len(keys), -1), {})
    if label_column:
        values = [value for table in opened.tables for value in table.column(label_column)]
        labels = read_labels(values, f"column {label_column!r}", keys, opened.class_names.get(label_column))
    splits, warnings, start = [], [*opened.warnings, *labels.warnings], 0
    beside = opened.beside
    for table in opened.tables:
        split = _split(table, labels, range(start, start + len(table.keys)), record_format)
        start += len(table.keys)
        lacks_both = split.labels is None and split.captions is None
        becomes = "left out" if lacks_both else "prepared without"
        if label_column and split.labels is None and len(table.keys):
            warnings.append(f"none of the {len(table.keys):,} rows of split {table.split} has a label: it is {becomes}")
        elif record_format.caption_columns and split.captions is None and len(table.keys):
            warnings.append(f"split {table.split} has no column {CAPTION!r}: it is {becomes}")
        if lacks_both:
            lacking = "rows without a label" if label_column else "rows without a caption"
            beside.setdefault(lacking, Counter())[table.split] += len(table.keys)
            continue
        warnings += caption_warnings(split.captions or ())
        splits.append(record_format.annotate(split))
    if not splits:
        raise FastptError(f"column {label_column!r} has no label in any of {len(keys):,} rows. Name another column.")
    return Found(splits, len(keys) + opened.others, beside, tuple(warnings))


def _split(table: "Table", labels: Labels, at: range, record_format: RecordFormat) -> SplitListing:
    """The rows of a table that have what the others have: a caption, a label, or both. `at` are those in `labels`."""
    numbers = labels.numbers[at.start : at.stop]
    has_labels = bool((numbers >= 0).any())
    columns = {name: table.values[name] for name in record_format.caption_columns if name in table.values}
    captions, rows, rejected = Texts[str](), array("q"), []
    for i, (key, *values) in enumerate(zip(table.keys, *columns.values(), strict=True)):
        record = dict(zip(columns, values, strict=True))
        caption = record_format.caption(record) or ""
        reason = record_format.problem(record)
        if columns and not caption and not reason:
            reason = "no caption"
        if has_labels and numbers[i] < 0 and not reason:
            reason = labels.missing[at.start + i]
        if reason:
            rejected.append((key, reason))
            continue
        rows.append(i)
        captions.append(caption)
    return SplitListing(
        name=table.split,
        keys=Texts(table.keys[i] for i in rows) if rejected else table.keys,
        labels=numbers[rows] if has_labels else None,
        captions=captions if columns else None,
        classes=labels.classes,
        class_names=labels.classes,
        read=table.reader().take(rows),
        is_train=table.split == "train",
        rejected=tuple(rejected),
        groups=table.groups[rows],
    )


SOURCE = Parquet()
