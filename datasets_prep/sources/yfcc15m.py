"""YFCC15M as it lies on people's disks: img2dataset's tars, or a list with a folder or archive of pictures.

Two lists of ids are called YFCC15M, OpenAI's and DeCLIP's; --subset keeps those that one of them holds.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import click

from datasets_prep.columns import Columns
from datasets_prep.listing import Found
from datasets_prep.records import RecordFormat, caption_options, read_subset
from datasets_prep.sources import Request, Source
from datasets_prep.sources.list import list_options, listed_splits
from datasets_prep.sources.webdataset import IMAGE_MEMBER, webdataset_splits
from datasets_prep.tar_samples import Members


class Yfcc15m(Source):
    summary = "YFCC15M: img2dataset's tars, or a list with pictures"
    example = """\
fastpt prep --noise 0.05 yfcc15m --source yfcc15m_tars
fastpt prep yfcc15m --source photos.zip --list yfcc.tsv --image-pattern '{photoid}.jpg' --caption-column title"""
    options = (
        *list_options(required=False),
        *caption_options(strip_markup=True),
        click.Option(["--subset"], metavar="NAME", help="What the list of --subset-ids is called: openai, declip, ..."),
        click.Option(
            ["--subset-ids"], type=click.Path(path_type=Path), metavar="FILE", help="Keep the ids that this file lists."
        ),
        click.Option(["--id-column"], help="Column with the id (default: the picture's name)."),
        IMAGE_MEMBER,
    )
    default_name = "yfcc15m"
    usual_places = ("$FASTPT_SOURCES/yfcc15m", "$YFCC15M_DIR", "$DATASETS/yfcc15m", "yfcc15m", "data/raw/yfcc15m")
    how_to_get = "Get a list of YFCC15M and let img2dataset load its pictures into tars."

    def list_splits(
        self,
        request: Request,
        lists: Sequence[tuple[str | None, str]],
        path_column: str | None,
        image_pattern: str | None,
        list_quotes: Literal["csv", "plain"] | None,
        subset: str | None,
        subset_ids: Path | None,
        id_column: str | None,
        image_member: str | None,
        **captions: Any,
    ) -> Found:
        if bool(lists) != bool(path_column or image_pattern):
            raise click.UsageError("--list goes with --path-column or --image-pattern")
        if bool(subset) != bool(subset_ids) or (id_column and not subset):
            raise click.UsageError("--subset NAME and --subset-ids FILE go together; --id-column goes with them")
        ids = read_subset(subset, subset_ids) if subset and subset_ids else None
        record_format = RecordFormat(**captions, subset=ids, id_column=id_column)
        if lists and image_member:
            raise click.UsageError("--image-member is for tars of samples; it does not go with --list")
        if lists:
            columns = Columns(record_format, path_column, image_pattern, list_quotes=list_quotes)
            return listed_splits(request, lists, columns)
        return webdataset_splits(request, Members(record_format, image_member=image_member))


SOURCE = Yfcc15m()
