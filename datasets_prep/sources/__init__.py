"""Sources: what people have on their disks. One file each, which finds the splits and brings its own options.

A new source is a file with a `Source` in it and a line in SOURCES; or a package that names its `Source` under the entry
point group `fastpt.sources`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import click

from fastpt.registry import Registry

if TYPE_CHECKING:
    from datasets_prep.listing import Found


@dataclass(frozen=True)
class Request:
    """What a source is asked to list: all places that belong together."""

    places: tuple[Path, ...]  # folders and archives, which are only read; empty for a source that takes none
    split: str | None  # how the user named these places' split (SPLIT=PATH); None if it is to be found
    unpack_dir: Path  # for what cannot be read in place, which leaves nothing behind there
    seed: int
    workers: int  # processes that may list
    ignore_damage: bool = False  # go on with what can be read of damaged archives, and say so
    dry_run: bool = False  # fetch and write nothing


class Source(Protocol):
    """One kind of raw data. Its module imports nothing heavy at the top: help reads `summary`, `example`, `options`."""

    summary: str
    """What is read, in a line."""
    example: str
    """A command that prepares it, or several lines of them."""
    places: Literal["none", "one", "many"] = "many"
    """How many --source PATH it takes. Only `many` may be named (SPLIT=PATH), or stand for one split together."""
    options: tuple[click.Option, ...] = ()
    """Its own options, which stand behind its name."""
    default_name: str | None = None
    """Of the dataset, with its own options in braces; None: the file name of the first place."""
    usual_places: tuple[str, ...] = ()
    """Paths, with $VARIABLES, where the data is looked for without --source, the first one first."""
    how_to_get: str = ""
    """How to get the data, in a sentence; shown where it is in none of the usual places."""

    def list_splits(self, request: Request, *_: Any, **options: Any) -> "Found":
        """The splits that are found, each with unique keys, and all that lies beside them; see `Found`.

        No picture is read, but for the first bytes of files whose name does not tell that they are pictures.

        `options` holds the values of the source's own options. Raises click.UsageError if they do not go together,
        FastptError if a place does not hold what it should.
        """
        ...


SOURCES: Registry[Source] = Registry(
    "source",
    {
        "demo": "datasets_prep.sources.demo:SOURCE",
        "imagenet": "datasets_prep.sources.imagenet:SOURCE",
        "yfcc15m": "datasets_prep.sources.yfcc15m:SOURCE",
        "imagefolder": "datasets_prep.sources.imagefolder:SOURCE",
        "list": "datasets_prep.sources.list:SOURCE",
        "captions": "datasets_prep.sources.captions:SOURCE",
        "webdataset": "datasets_prep.sources.webdataset:SOURCE",
        "parquet": "datasets_prep.sources.parquet:SOURCE",
        "torchvision": "datasets_prep.sources.torchvision:SOURCE",
        "vid-robust": "datasets_prep.sources.vid_robust:SOURCE",
    },
    "fastpt.sources",
    Source,
)
