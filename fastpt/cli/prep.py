"""`fastpt prep`: sources in, prepared splits out."""

import sys
from pathlib import Path

import click
from click.core import ParameterSource

from fastpt.cli.shared import FOLDER, SEED, Rate, Share, describe, describe_plan
from fastpt.errors import FastptError
from fastpt.printable import printable
from fastpt.processes import cores

LISTS, RECORDS = ("captions", "yfcc15m"), ("captions", "yfcc15m", "webdataset", "parquet")
GOES_WITH = {  # options that not every source has
    "split_level": ("imagefolder",),
    "list_file": LISTS,
    "image_pattern": LISTS,
    "caption_columns": RECORDS,
    "strip_markup": RECORDS,
    "label_column": ("captions", "parquet"),
    "subset": ("yfcc15m",),
    "subset_ids": ("yfcc15m",),
    "id_column": ("yfcc15m",),
}
SOURCES = ["demo", "imagenet", "yfcc15m", "imagefolder", "captions", "webdataset", "parquet", "torchvision"]


class Place(click.ParamType):
    """PATH or SPLIT=PATH: (split or None, path)."""

    name = "place"

    def convert(self, value, param, ctx):
        split, equals, path = value.partition("=")
        if not equals or Path(value).exists() or not split.replace("-", "").replace("_", "").isalnum():
            return None, Path(value)
        return split, Path(path)


@click.command()
@click.argument("source", type=click.Choice(SOURCES))
@click.option(
    "--source",
    "places",
    type=Place(),
    multiple=True,
    metavar="[SPLIT=]PATH",
    help="Folder, .tar, .tar.gz or .zip to read, in place; repeatable.",
)
@click.option("--name", help="Name of the dataset (default: demo, imagenet, yfcc15m, or the source's file name).")
@click.option("--out", type=FOLDER, help="Folder for the splits (default: data/NAME).")
@click.option("--noise", "rates", type=Rate(), multiple=True, help="Noise rate, such as 0.05; repeatable. Train only.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of noise, order and holdout.")
@click.option(
    "--format",
    "store",
    type=click.Choice(["ffcv", "wds"]),
    default="ffcv",
    show_default=True,
    help="FFCV files, or WebDataset tars with DALI indexes.",
)
@click.option("--max-side", default="500", show_default=True, help="Larger pictures are reduced to this side; or none.")
@click.option(
    "--quality", type=click.IntRange(1, 100), default=90, show_default=True, help="JPEG quality if re-encoded."
)
@click.option(
    "--order",
    type=click.Choice(["random", "source"]),
    default="random",
    show_default=True,
    help="Order of the samples in the shards.",
)
@click.option("--shard-samples", type=click.IntRange(1), default=20_000, show_default=True, help="Samples a shard.")
@click.option(
    "--holdout", type=Share(), metavar="SHARE", help="Split off a seeded share as val, if there is one split."
)
@click.option(
    "--max-rejects",
    type=click.FloatRange(0, 1),
    default=0.001,
    show_default=True,
    help="Share of unusable pictures that is still accepted.",
)
@click.option("--workers", type=click.IntRange(1), default=cores, show_default="all cores", help="Processes.")
@click.option("--ray", metavar="ADDRESS", help="Work on a Ray cluster; local starts one here.")
@click.option(
    "--split-level",
    type=click.IntRange(0, 1),
    default=0,
    show_default=True,
    help="[imagefolder] 1 if the top folders are splits.",
)
@click.option(
    "--list",
    "list_file",
    metavar="FILE",
    help="[captions, yfcc15m] .csv, .tsv or .jsonl, on disk or inside the source.",
)
@click.option("--image-pattern", help="[captions, yfcc15m] The picture of a row of the list: 'images/{id}.jpg'.")
@click.option(
    "--caption-column",
    "caption_columns",
    multiple=True,
    default=["caption"],
    show_default=True,
    help="[captions, yfcc15m, webdataset, parquet] Column with the text; several are joined.",
)
@click.option(
    "--strip-markup/--raw-captions",
    default=None,
    help="[the same] Without URL encoding, HTML and extra spaces (default: yfcc15m only).",
)
@click.option("--label-column", help="[captions, parquet] Column with class names, for zero-shot evaluation.")
@click.option("--subset", metavar="NAME", help="[yfcc15m] What the list of --subset-ids is called: openai, declip, ...")
@click.option("--subset-ids", type=FOLDER, metavar="FILE", help="[yfcc15m] Keep the ids that this file lists.")
@click.option("--id-column", help="[yfcc15m] Column with the id (default: the picture's name).")
@click.pass_context
def prep(
    ctx,
    source,
    places,
    name,
    out,
    rates,
    seed,
    store,
    max_side,
    quality,
    order,
    shard_samples,
    holdout,
    max_rejects,
    workers,
    ray,
    split_level,
    list_file,
    image_pattern,
    caption_columns,
    strip_markup,
    label_column,
    subset,
    subset_ids,
    id_column,
) -> None:
    """Convert SOURCE into prepared splits, with noise plans beside them.

    \b
    fastpt prep --noise 0.05 demo
    fastpt prep --noise 0.05 imagenet --source ILSVRC2012
    fastpt prep --noise 0.05 yfcc15m --source yfcc15m_tars
    fastpt prep --noise 0.05 imagefolder --source pets.tar --name pets
    fastpt prep imagefolder --source train=pets.tar --source val=more_pets.zip --name pets
    fastpt prep torchvision --source torchvision --name cifar10
    fastpt prep captions --source shop.tar --list captions.csv --image-pattern 'images/{id}.jpg'

    Pictures are stored once; a noise rate costs one small array. A stopped job goes on when run again.
    """
    from datasets_prep.convert import Options, prepare
    from datasets_prep.images.policy import ImagePolicy
    from datasets_prep.listing import hold_out
    from datasets_prep.places import list_splits
    from datasets_prep.records import RecordFormat, read_subset
    from datasets_prep.sources.torchvision import torchvision_splits
    from fastpt.progress import Progress

    if not 0 <= max_rejects <= 1:  # FloatRange lets NaN pass
        raise click.BadParameter("a share of 0 to 1", param_hint="--max-rejects")
    if name and (Path(name).name != name or not name.isprintable()):
        raise click.BadParameter(
            f"a plain name, without folders; found {name!r}. --out takes a path", param_hint="--name"
        )
    _check_options(ctx, source)
    limit = _max_side(max_side)
    if name is None:
        known = source in ("demo", "imagenet", "yfcc15m")  # the names by which recipes look for them
        name = source if known else places[0][1].name.split(".")[0]
    out = out or Path("data") / name
    reading = RecordFormat(
        caption_columns,
        source == "yfcc15m" if strip_markup is None else strip_markup,
        read_subset(subset, subset_ids) if subset else None,
        id_column,
    )
    try:
        if source == "torchvision":
            splits = torchvision_splits(places[0][1], name)
        else:
            splits = list_splits(
                source, places, out, seed, workers, split_level, list_file, image_pattern, reading, label_column
            )
        if holdout is not None:
            if len(splits) > 1:
                names = ", ".join(split.name for split in splits)
                raise click.UsageError(f"--holdout is for sources with one split; found {names}")
            splits = hold_out(splits[0], holdout, seed)
        if rates and not any(split.is_train for split in splits):
            names = ", ".join(split.name for split in splits)
            raise FastptError(f"--noise goes to a split named train; found {names}. Leave --noise out.")
        options = Options(store, ImagePolicy(limit, quality), shard_samples, order, seed)
        wanted = sorted({rate for rate in rates if rate > 0})
        with Progress(f"prep {name}", "pictures") as progress:
            done = list(prepare(splits, out, name, options, wanted, workers, max_rejects, progress, ray))
    except KeyboardInterrupt:
        click.echo("\nStopped. The same command goes on where it stopped.", err=True)
        sys.exit(130)  # as a shell says of what SIGINT ended
    for dataset, plans in done:
        click.echo(printable(describe(dataset)))
        for plan in plans:
            click.echo(printable(describe_plan(plan, len(dataset))))


def _max_side(text: str) -> int | None:
    if text == "none":
        return None
    if text.isdigit() and int(text) > 0:
        return int(text)
    raise click.BadParameter(f"a number of pixels or none; found {text!r}", param_hint="--max-side")


def _check_options(ctx: click.Context, source: str) -> None:
    """Refuse options that do not go with the source, or do not go without each other."""
    options = {param.name: param for param in ctx.command.params}
    for name, sources in GOES_WITH.items():
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT and source not in sources:
            raise click.UsageError(f"{options[name].opts[0]} goes with {' and '.join(sources)}, not with {source}")
    given = {name for name in options if ctx.params.get(name)}
    if ("places" in given) != (source != "demo"):
        raise click.UsageError("demo takes no --source" if source == "demo" else f"{source} needs --source PATH")
    if ("list_file" in given) != ("image_pattern" in given) or (source == "captions" and "list_file" not in given):
        raise click.UsageError("--list and --image-pattern go together, and captions needs both")
    if ("subset" in given) != ("subset_ids" in given) or ("id_column" in given and "subset" not in given):
        raise click.UsageError("--subset NAME and --subset-ids FILE go together; --id-column goes with them")
