"""Pictures with captions in a list: `list` for rows that have to have a caption."""

from collections.abc import Sequence
from typing import Any

import click

from datasets_prep.listing import Found
from datasets_prep.records import RecordFormat, caption_options
from datasets_prep.sources import Request, Source
from datasets_prep.sources.list import SPLIT_COLUMN, Columns, list_options, listed_splits


class Captions(Source):
    summary = "pictures with captions in a list: CSV, TSV or JSON lines"
    example = "fastpt prep captions --source shop.tar --list captions.csv --image-pattern 'images/{id}.jpg'"
    options = (
        *list_options(required=True),
        *caption_options(strip_markup=False),
        click.Option(["--label-column"], help="Column with class names, for zero-shot evaluation."),
        SPLIT_COLUMN,
    )

    def list_splits(
        self,
        request: Request,
        lists: Sequence[tuple[str | None, str]],
        caption_columns: tuple[str, ...],
        strip_markup: bool,
        **columns: Any,
    ) -> Found:
        return listed_splits(request, lists, Columns(RecordFormat(caption_columns, strip_markup), **columns))


SOURCE = Captions()
