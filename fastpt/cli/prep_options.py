"""The options that all sources of `fastpt prep` have, and the types of their values."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from fastpt.cli.shared import OUTPUT, SEED, Rate
from fastpt.processes import cores
from fastpt.storage.address import ADDRESS, RemotePath


class Place(click.ParamType):
    """PATH or SPLIT=PATH: (split or None, path)."""

    name = "place"

    def convert(self, value, param, ctx):
        from datasets_prep.splits import named

        try:
            split, path = named(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return split, RemotePath.parse(path) if ADDRESS.match(path) else Path(path)


class Share(click.ParamType):
    """A number between 0 and 1, with `ends` or one of these."""

    name = "share"

    def __init__(self, ends: bool = False):
        self.ends = ends

    def convert(self, value, param, ctx):
        try:
            share = float(value)
        except ValueError:
            share = float("nan")
        if not (0 < share < 1 or (self.ends and share in (0, 1))):
            what = "0 to 1" if self.ends else "above 0 and below 1, such as 0.1"
            self.fail(f"a share of {what}; found {value!r}", param, ctx)
        return share


class Side(click.ParamType):
    """A number of pixels, or none: int or None."""

    name = "pixels"

    def convert(self, value, param, ctx):
        text = str(value)
        if text == "none":
            return None
        if not text.isdecimal() or int(text) == 0:
            self.fail(f"a number of pixels or none; found {value!r}", param, ctx)
        return int(text)


COMMON = (
    click.Option(
        ["--source", "places"],
        type=Place(),
        multiple=True,
        metavar="[SPLIT=]PATH",
        help="Folder, .tar, .tar.gz or .zip to read, in place, here or at an hf://, s3://, gs:// or https:// address; "
        "repeatable.",
    ),
    click.Option(["--name"], help="Name of the dataset (default: the source's own, or the file name of --source)."),
    click.Option(["--out"], type=OUTPUT, help="Folder for the splits (default: data/NAME)."),
    click.Option(
        ["--noise", "rates"], type=Rate(), multiple=True, help="Noise rate, such as 0.05; repeatable. Train only."
    ),
    click.Option(["--seed"], type=SEED, default=0, show_default=True, help="Seed of noise, order and holdout."),
    click.Option(
        ["--format", "store"],
        type=click.Choice(["ffcv", "wds"]),
        default="ffcv",
        show_default=True,
        help="FFCV files, or WebDataset tars with DALI indexes.",
    ),
    click.Option(
        ["--max-side"],
        type=Side(),
        default="500",
        show_default=True,
        help="Larger pictures are reduced to this side; or none.",
    ),
    click.Option(
        ["--quality"], type=click.IntRange(1, 100), default=90, show_default=True, help="JPEG quality if re-encoded."
    ),
    click.Option(
        ["--subsampling"],
        type=click.Choice(["420", "444", "auto"]),
        default="auto",
        show_default=True,
        help="Colour of re-encoded JPEGs: halved, whole, or whole where halving would spoil it.",
    ),
    click.Option(
        ["--entry-points"],
        type=click.Choice(["auto", "none"]),
        default="auto",
        show_default=True,
        help="Keep in JPEGs where decoding may begin, for fast crops; or leave their bytes alone.",
    ),
    click.Option(
        ["--order"],
        type=click.Choice(["random", "source"]),
        default="random",
        show_default=True,
        help="Order of the samples in the shards.",
    ),
    click.Option(
        ["--shard-samples"], type=click.IntRange(1), default=20_000, show_default=True, help="Samples a shard."
    ),
    click.Option(
        ["--holdout"], type=Share(), metavar="SHARE", help="Split off a seeded share as val, if there is one split."
    ),
    click.Option(
        ["--max-rejects"],
        type=Share(ends=True),
        metavar="SHARE",
        default=0.001,
        show_default=True,
        help="Share of unusable pictures that is still accepted.",
    ),
    click.Option(
        ["--ignore-damage"],
        is_flag=True,
        help="Go on with what can be read of a damaged archive, and say what is lost.",
    ),
    click.Option(["--workers"], type=click.IntRange(1), default=cores, show_default="all cores", help="Processes."),
    click.Option(["--dry-run"], is_flag=True, help="Say what is found and would be written; open no picture."),
    click.Option(["--read"], is_flag=True, help="With --dry-run: read every picture, and say which cannot be used."),
    click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document instead of text."),
    click.Option(["--ray"], metavar="ADDRESS", help="Work on a Ray cluster; local starts one here."),
)


@dataclass(frozen=True)
class CommonOptions:
    """The values of COMMON, by their names there."""

    places: tuple[tuple[str | None, Path], ...]
    name: str | None
    out: Path | None
    rates: tuple[float, ...]
    seed: int
    store: str
    max_side: int | None
    quality: int
    subsampling: Literal["420", "444", "auto"]
    entry_points: Literal["auto", "none"]
    order: str
    shard_samples: int
    holdout: float | None
    max_rejects: float
    ignore_damage: bool
    workers: int
    dry_run: bool
    read: bool
    as_json: bool
    ray: str | None
