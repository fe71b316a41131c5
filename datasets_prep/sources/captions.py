"""Pictures with captions in a list: `list` for rows that have to have a caption."""

import click

from datasets_prep.records import caption_options
from datasets_prep.sources.list import SPLIT_COLUMN, List, list_options


class Captions(List):
    summary = "pictures with captions in a list: CSV, TSV or JSON lines"
    example = "fastpt prep captions --source shop.tar --list captions.csv --image-pattern 'images/{id}.jpg'"
    options = (
        *list_options(required=True),
        *caption_options(strip_markup=False),
        click.Option(["--label-column"], help="Column with class names, for zero-shot evaluation."),
        SPLIT_COLUMN,
    )


SOURCE = Captions()
