"""What `fastpt prep SOURCE` does, once its options are known: list, convert, and say what was made."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datasets_prep.presets import Preset
from datasets_prep.sources import SOURCES, Source
from fastpt.cli.prep_options import CommonOptions
from fastpt.cli.shared import INTERRUPTED
from fastpt.errors import FastptError
from fastpt.printable import printable
from fastpt.storage.names import is_plain

if TYPE_CHECKING:
    from datasets_prep.listing import Found
    from datasets_prep.shard import Options
    from fastpt.progress import Progress


def run_prep(
    source_name: str, source: Source, own: dict[str, Any], asked: CommonOptions, preset: Preset | None
) -> None:
    """List the splits of `source` with its `own` options, convert them unless in a dry run, and say what was made."""
    from datasets_prep.places import check_places, usual_place
    from fastpt.progress import Progress

    _check(asked)
    name = _name(source_name, source, own, asked)
    out = asked.out or Path("data") / name
    if not asked.places and source.usual_places:
        path, said = usual_place(source_name, source)
        click.echo(printable(said), err=True)
        asked = replace(asked, places=((None, path),))
    check_places(source_name, source, asked.places, out)
    try:
        found = _found(source_name, source, own, asked, preset, out)
        if found.layout and not asked.as_json:
            click.echo(printable(f"layout: {found.layout}"), err=True)
        for warning in () if asked.as_json else found.warnings:
            click.echo(printable(f"warning: {warning}"), err=True)
        with Progress(f"{'read' if asked.dry_run else 'prep'} {name}", "pictures") as progress:
            if asked.dry_run:
                document, text = _listed(found, asked, out, progress)
            else:
                document, text = _converted(source_name, found, asked, name, out, progress)
    except KeyboardInterrupt:
        click.echo("\nStopped." + " The same command goes on where it stopped." * (not asked.dry_run), err=True)
        sys.exit(INTERRUPTED)
    if asked.as_json:
        what = {
            "source": source_name,
            "places": [str(path) for _, path in asked.places],
            "name": name,
            "out": str(out),
            "format": asked.store,
            "dry_run": asked.dry_run,
            "read": asked.read or not asked.dry_run,
        }
        click.echo(json.dumps(what | document, indent=2))
        return
    click.echo(printable(text))
    if asked.dry_run:
        more = "" if asked.read else " --dry-run --read reads every picture and says which cannot be used."
        click.echo(f"Nothing was written.{more}")


def _check(asked: CommonOptions) -> None:
    """Raise click.UsageError for options that do not go together."""
    if asked.read and not asked.dry_run:
        raise click.UsageError("--read goes with --dry-run; a preparation reads every picture anyway")
    if asked.dry_run and asked.ray:
        raise click.UsageError("--dry-run works on this machine; leave --ray out")
    if asked.name and not is_plain(asked.name):
        raise click.BadParameter(
            f"a plain name, without folders; found {asked.name!r}. --out takes a path", param_hint="--name"
        )


def _name(source_name: str, source: Source, own: dict[str, Any], asked: CommonOptions) -> str:
    """What the dataset is called: as is asked, as the source has it, or after the first place."""
    name = asked.name
    if name is None and source.default_name:
        with SOURCES.blaming(source_name):
            name = source.default_name.format(**own)
    return name or (_called(asked.places[0][1]) if asked.places else source_name)


def _called(place: Path) -> str:
    """The name of a place without its suffixes. Raises click.UsageError if it has none."""
    own = place.resolve().name if place.name in ("", "..") else place.name  # `.` is a way there
    if not is_plain(name := own.lstrip(".").split(".")[0]):
        raise click.UsageError(f"--source {str(place)!r} gives no name for what is prepared. Add --name NAME")
    return name


def _found(
    source_name: str, source: Source, own: dict[str, Any], asked: CommonOptions, preset: Preset | None, out: Path
) -> "Found":
    """What the source finds, with val held out if that is asked for. Raises FastptError if noise goes nowhere."""
    from datasets_prep.classes import class_warnings
    from datasets_prep.places import hold_out, list_splits

    with SOURCES.blaming(source_name):
        unpack_dir = _folder_above(out) if asked.dry_run else out
        found = list_splits(
            source, asked.places, own, unpack_dir, asked.seed, asked.workers, asked.ignore_damage, asked.dry_run
        )
    names = ", ".join(split.name for split in found.splits)
    if preset:
        found = replace(found, warnings=(*found.warnings, *preset.differences(found)))
    if asked.holdout is not None:
        if len(found.splits) > 1:
            raise click.UsageError(f"--holdout is for sources with one split; found {names}")
        held = hold_out(found.splits[0], asked.holdout, asked.seed)
        told = [warning for warning in class_warnings(held) if warning not in found.warnings]
        found = replace(found, splits=held, warnings=(*found.warnings, *told))
    if asked.rates and not any(split.is_train for split in found.splits):
        raise FastptError(f"--noise goes to a split named train; found {names}. Leave --noise out.")
    return found


def _listed(found: "Found", asked: CommonOptions, out: Path, progress: "Progress") -> tuple[dict[str, Any], str]:
    """What a preparation would write, as a document and as text; with --read, which pictures cannot be used."""
    from datasets_prep.convert import read_all
    from fastpt.cli.prep_report import listing_document, listing_text

    rejected = read_all(found, _options(asked), asked.workers, progress) if asked.read else None
    document = listing_document(found, rejected, out, _noisy_rates(asked), asked.max_rejects)
    return document, listing_text(document)


def _converted(
    source_name: str, found: "Found", asked: CommonOptions, name: str, out: Path, progress: "Progress"
) -> tuple[dict[str, Any], str]:
    """Write the splits; what was written, as a document and as text."""
    from datasets_prep.convert import prepare
    from fastpt.cli.prep_report import prepared_document, prepared_text

    origin = SOURCES.origin(source_name)
    origins = [origin] if origin else []
    rates, workers = _noisy_rates(asked), asked.workers
    done = list(
        prepare(found, out, name, _options(asked), rates, workers, asked.max_rejects, progress, asked.ray, origins)
    )
    document = prepared_document(found, done)
    return document, prepared_text(document, done)


def _options(asked: CommonOptions) -> "Options":
    from datasets_prep.images.policy import ImagePolicy
    from datasets_prep.shard import Options

    policy = ImagePolicy(asked.max_side, asked.quality, asked.subsampling, asked.entry_points)
    return Options(asked.store, policy, asked.shard_samples, asked.order, asked.seed)


def _noisy_rates(asked: CommonOptions) -> list[float]:
    return sorted({rate for rate in asked.rates if rate > 0})


def _folder_above(path: Path) -> Path:
    """The nearest folder that is there, where unpacked files without a name may lie."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
