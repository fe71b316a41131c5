"""`fastpt prep`: sources in, prepared splits out. A group of commands, one for each source."""

import contextlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import click
from click.core import ParameterSource

from datasets_prep.sources import SOURCES, Source
from fastpt.cli.shared import FOLDER, INTERRUPTED, SEED, Rate, claim
from fastpt.errors import FastptError
from fastpt.printable import one_line, printable
from fastpt.processes import cores
from fastpt.storage.address import ADDRESS, RemotePath
from fastpt.storage.names import is_plain


class Place(click.ParamType):
    """PATH or SPLIT=PATH: (split or None, path)."""

    name = "place"

    def convert(self, value, param, ctx):
        split, equals, path = value.partition("=")
        if not equals or Path(value).exists() or not split.replace("-", "").replace("_", "").isalnum():
            return None, _at_home(value)
        if not path:
            self.fail(f"SPLIT=PATH; found {value!r}, without a path (a shell variable that is not set?)", param, ctx)
        return split, _at_home(path)


def _at_home(path: str) -> Path:
    """A path or an address; a `~` that the shell left as it is, as it does behind `train=`, is the home."""
    if ADDRESS.match(path):
        return RemotePath.parse(path)
    return Path(path if os.path.lexists(path) else os.path.expanduser(path))  # noqa: PTH111 - Path's raises


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
    click.Option(["--out"], type=FOLDER, help="Folder for the splits (default: data/NAME)."),
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


class Prep(click.Group):
    """The sources as commands. Only the one that is named, or all for the help, are imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return SOURCES.names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        try:
            return SourceCommand(cmd_name, SOURCES.get(cmd_name))
        except FastptError as error:
            if cmd_name in SOURCES.names():  # a package that is broken
                raise
            raise click.UsageError(str(error), ctx) from None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise _of_a_source(error, "and stands behind that name") from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Sources"):
            formatter.write_dl([(name, one_line(_summary(name))) for name in SOURCES.names()])


class SourceCommand(click.Command):
    """`fastpt prep SOURCE`: its own options, and the common ones, which may stand before its name too."""

    def __init__(self, name: str, source: Source):
        claim({}, f"source {name!r}", [*COMMON, *source.options])
        super().__init__(
            name,
            params=[*source.options, *COMMON],
            help=f"Prepare {source.summary}.\n\n\b\n{source.example}" + _usual_places(source),
            callback=self.run,
        )
        self.source = source

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise _of_a_source(error, f"not with {self.name}") from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = [option for option in self.get_params(ctx) if option not in COMMON]
        for title, options in ((f"Options of {self.name}", own), ("Options of all sources", COMMON)):
            with formatter.section(title):
                formatter.write_dl([record for option in options if (record := option.get_help_record(ctx))])

    def run(self, **given: Any) -> None:
        ctx = click.get_current_context()
        own = {str(option.name): given[str(option.name)] for option in self.source.options}
        _prepare(str(self.name), self.source, own, **_common(ctx))


prep = Prep(
    "prep",
    params=list(COMMON),
    subcommand_metavar="SOURCE [OPTIONS]",
    help="""Convert a SOURCE into prepared splits, with noise plans.

    \b
    fastpt prep --noise 0.05 demo
    fastpt prep --noise 0.05 imagenet --source ILSVRC2012
    fastpt prep imagefolder --source pets.tar --name pets --noise 0.05
    fastpt prep imagefolder --help

    Pictures are stored once; a noise rate costs one small array. A stopped job goes on when run again. These options
    go before or behind the source's name; a source's own, which its --help shows, behind it.
    """,
)


def _summary(name: str) -> str:
    try:
        return SOURCES.get(name).summary
    except FastptError as error:
        return f"({error})"


def _usual_places(source: Source) -> str:
    return f"\n\nWithout --source it is looked for in {', '.join(source.usual_places)}." * bool(source.usual_places)


def _of_a_source(error: click.NoSuchOption, advice: str) -> click.UsageError:
    """The error of an option that is unknown where it stands, told by the sources that have it."""
    owners = []
    for name in SOURCES.names():
        with contextlib.suppress(FastptError):  # a package that is broken
            flags = [flag for option in SOURCES.get(name).options for flag in (*option.opts, *option.secondary_opts)]
            owners += [name] * (error.option_name in flags)
    if not owners:
        return error
    return click.UsageError(f"{error.option_name} goes with {' and '.join(owners)}, {advice}", error.ctx)


def _common(ctx: click.Context) -> dict[str, Any]:
    """The common options by name, given before or behind the source's name: repeatable ones add up."""
    values = {}
    for option in COMMON:
        name = str(option.name)
        found = [
            place.params[name]
            for place in (ctx.parent, ctx)
            if place and place.get_parameter_source(name) is not ParameterSource.DEFAULT
        ]
        if option.multiple:
            values[name] = sum(found, ())
        elif len(found) > 1 and found[0] != found[1]:
            raise click.UsageError(
                f"{option.opts[0]} is given before and behind the source's name, once {found[0]}, once {found[1]}", ctx
            )
        else:
            values[name] = found[0] if found else ctx.params[name]
    return values


def _prepare(
    source_name: str,
    source: Source,
    own: dict[str, Any],
    *,
    places: tuple[tuple[str | None, Path], ...],
    name: str | None,
    out: Path | None,
    rates: tuple[float, ...],
    seed: int,
    store: str,
    max_side: int | None,
    quality: int,
    subsampling: Literal["420", "444", "auto"],
    entry_points: Literal["auto", "none"],
    order: str,
    shard_samples: int,
    holdout: float | None,
    max_rejects: float,
    ignore_damage: bool,
    workers: int,
    dry_run: bool,
    read: bool,
    as_json: bool,
    ray: str | None,
) -> None:
    """List the splits of `source` with its `own` options, convert them unless in a dry run, and say what was made."""
    from datasets_prep.convert import prepare, read_all
    from datasets_prep.images.policy import ImagePolicy
    from datasets_prep.places import check_places, class_warnings, hold_out, list_splits, usual_place
    from datasets_prep.shard import Options
    from fastpt.cli.prep_report import listing_document, listing_text, prepared_document, prepared_text
    from fastpt.progress import Progress

    if read and not dry_run:
        raise click.UsageError("--read goes with --dry-run; a preparation reads every picture anyway")
    if dry_run and ray:
        raise click.UsageError("--dry-run works on this machine; leave --ray out")
    if name and not is_plain(name):
        raise click.BadParameter(
            f"a plain name, without folders; found {name!r}. --out takes a path", param_hint="--name"
        )
    if name is None and source.default_name:
        with SOURCES.blaming(source_name):
            name = source.default_name.format(**own)
    name = name or (places[0][1].name.split(".")[0] if places else source_name)
    out = out or Path("data") / name
    if not places and source.usual_places:
        path, said = usual_place(source_name, source)
        click.echo(printable(said), err=True)
        places = ((None, path),)
    check_places(source_name, source, places, out)
    try:
        with SOURCES.blaming(source_name):
            unpack_dir = _folder_above(out) if dry_run else out
            found = list_splits(source, places, own, unpack_dir, seed, workers, ignore_damage, dry_run)
        names = ", ".join(split.name for split in found.splits)
        if holdout is not None:
            if len(found.splits) > 1:
                raise click.UsageError(f"--holdout is for sources with one split; found {names}")
            held = hold_out(found.splits[0], holdout, seed)
            told = [warning for warning in class_warnings(held) if warning not in found.warnings]
            found = replace(found, splits=held, warnings=(*found.warnings, *told))
        if rates and not any(split.is_train for split in found.splits):
            raise FastptError(f"--noise goes to a split named train; found {names}. Leave --noise out.")
        if found.layout and not as_json:
            click.echo(printable(f"layout: {found.layout}"), err=True)
        for warning in () if as_json else found.warnings:
            click.echo(printable(f"warning: {warning}"), err=True)
        policy = ImagePolicy(max_side, quality, subsampling, entry_points)
        options = Options(store, policy, shard_samples, order, seed)
        wanted = sorted({rate for rate in rates if rate > 0})
        origin = SOURCES.origin(source_name)
        what: dict[str, Any] = {
            "source": source_name,
            "places": [str(path) for _, path in places],
            "name": name,
            "out": str(out),
            "format": store,
            "dry_run": dry_run,
            "read": read or not dry_run,
        }
        with Progress(f"{'read' if dry_run else 'prep'} {name}", "pictures") as progress:
            if dry_run:
                rejected = read_all(found, options, workers, progress) if read else None
                document = listing_document(found, rejected, out, wanted, max_rejects)
                text = listing_text(document)
            else:
                origins = [origin] if origin else []
                done = list(prepare(found, out, name, options, wanted, workers, max_rejects, progress, ray, origins))
                document = prepared_document(found, done)
                text = prepared_text(document, done)
    except KeyboardInterrupt:
        click.echo("\nStopped." + " The same command goes on where it stopped." * (not dry_run), err=True)
        sys.exit(INTERRUPTED)
    if as_json:
        click.echo(json.dumps(what | document, indent=2))
        return
    click.echo(printable(text))
    if dry_run:
        more = "" if read else " --dry-run --read reads every picture and says which cannot be used."
        click.echo(f"Nothing was written.{more}")


def _folder_above(path: Path) -> Path:
    """The nearest folder that is there, where unpacked files without a name may lie."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
