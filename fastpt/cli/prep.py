"""`fastpt prep`: sources in, prepared splits out."""

import os
from pathlib import Path

import click

from fastpt.cli.shared import FOLDER, SEED, Rate, Share, describe, describe_plan, printable
from fastpt.errors import FastptError


@click.command()
@click.argument("source", type=click.Choice(["demo", "imagenet", "yfcc15m", "imagefolder", "captions", "webdataset"]))
@click.option("--source", "source_path", type=FOLDER, metavar="PATH", help="Folder or tar to read, in place.")
@click.option("--name", help="Name of the dataset (default: demo, imagenet, yfcc15m, or the source's file name).")
@click.option("--out", type=FOLDER, help="Folder for the splits (default: data/NAME).")
@click.option("--noise", "rates", type=Rate(), multiple=True, help="Noise rate, such as 0.05; repeatable. Train only.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of noise, order and holdout.")
@click.option("--format", "store", type=click.Choice(["ffcv", "wds"]), default="ffcv", show_default=True,
              help="FFCV files, or WebDataset tars with DALI indexes.")  # fmt: skip
@click.option("--max-side", default="500", show_default=True, help="Larger pictures are reduced to this side; or none.")
@click.option(
    "--quality", type=click.IntRange(1, 100), default=90, show_default=True, help="JPEG quality if re-encoded."
)
@click.option("--order", type=click.Choice(["random", "source"]), default="random", show_default=True,
              help="Order of the samples in the shards.")  # fmt: skip
@click.option("--shard-samples", type=click.IntRange(1), default=20_000, show_default=True, help="Samples a shard.")
@click.option(
    "--holdout", type=Share(), metavar="SHARE", help="Split off a seeded share as val, if there is one split."
)
@click.option("--max-rejects", type=click.FloatRange(0, 1), default=0.001, show_default=True,
              help="Share of unusable pictures that is still accepted.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), default=os.cpu_count(), show_default="all cores", help="Processes.")
@click.option("--split-level", type=click.IntRange(0, 1), default=0, show_default=True,
              help="imagefolder: 1 if the top folders are splits.")  # fmt: skip
@click.option("--csv", help="captions: the CSV file, on disk or inside the source.")
@click.option("--image-pattern", help="captions: the picture of a row, such as 'images/{id}.jpg'.")
@click.option("--caption-column", default="caption", show_default=True, help="captions: the column with the text.")
@click.option("--label-column", help="captions: a column with class names, for zero-shot evaluation.")
def prep(source, source_path, name, out, rates, seed, store, max_side, quality, order, shard_samples, holdout,
         max_rejects, workers, split_level, csv, image_pattern, caption_column, label_column) -> None:  # fmt: skip
    """Convert SOURCE into prepared splits, with noise plans beside them.

    \b
    fastpt prep --noise 0.05 demo
    fastpt prep --noise 0.05 imagenet --source ILSVRC2012
    fastpt prep --noise 0.05 yfcc15m --source yfcc15m_tars
    fastpt prep --noise 0.05 imagefolder --source pets.tar --name pets
    fastpt prep captions --source shop.tar --csv captions.csv --image-pattern 'images/{id}.jpg'

    Pictures are stored once; a noise rate costs one small array. A stopped job goes on when run again.
    """
    from datasets_prep.convert import Options, prepare
    from datasets_prep.images import Policy
    from datasets_prep.sources import hold_out
    from fastpt.progress import Progress

    if not 0 <= max_rejects <= 1:  # FloatRange lets NaN pass
        raise click.BadParameter("a share of 0 to 1", param_hint="--max-rejects")
    if name and Path(name).name != name:
        raise click.BadParameter(
            f"a plain name, without folders; found {name!r}. --out takes a path", param_hint="--name"
        )
    limit = _max_side(max_side)
    splits = _list_source(source, source_path, seed, split_level, csv, image_pattern, caption_column, label_column)
    if holdout is not None:
        if len(splits) > 1:
            names = ", ".join(split.name for split in splits)
            raise click.UsageError(f"--holdout is for sources with one split; found {names}")
        splits = hold_out(splits[0], holdout, seed)
    if rates and not any(split.trains for split in splits):
        names = ", ".join(split.name for split in splits)
        raise FastptError(f"--noise goes to a split named train; found {names}. Leave --noise out.")
    if name is None:
        known = source in ("demo", "imagenet", "yfcc15m")  # the names by which recipes look for them
        name = source if known else source_path.name.split(".")[0]
    options = Options(store, Policy(limit, quality), shard_samples, order, seed)
    wanted = sorted({rate for rate in rates if rate > 0})
    with Progress(f"prep {name}", "pictures") as progress:
        done = list(prepare(splits, out or Path("data") / name, name, options, wanted, workers, max_rejects, progress))
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


def _list_source(source, path, seed, split_level, csv, image_pattern, caption_column, label_column):
    needs_csv = source == "captions"
    if (path is None) != (source == "demo"):
        raise click.UsageError("demo takes no --source" if source == "demo" else f"{source} needs --source PATH")
    if needs_csv != bool(csv) or needs_csv != bool(image_pattern):
        raise click.UsageError("--csv and --image-pattern go with captions, which needs both")
    if label_column and not needs_csv:
        raise click.UsageError("--label-column goes with captions")
    if split_level and source != "imagefolder":
        raise click.UsageError("--split-level goes with imagefolder")
    if source == "demo":
        from datasets_prep.sources.demo import demo_splits

        return demo_splits(seed)
    if source in ("webdataset", "yfcc15m"):  # YFCC15M comes as img2dataset's tars
        from datasets_prep.sources.webdataset import webdataset_splits

        return webdataset_splits(path)
    if source == "imagenet":
        from datasets_prep.sources.imagenet import imagenet_splits

        return imagenet_splits(path)
    from datasets_prep.sources.files import open_files

    if source == "imagefolder":
        from datasets_prep.sources.imagefolder import imagefolder_splits

        return imagefolder_splits(open_files(path), split_level)
    from datasets_prep.sources.captions import caption_splits

    return caption_splits(open_files(path), csv, image_pattern, caption_column, label_column)
