"""`fastpt noise`: make a plan, take one over, say what one does."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

import fastpt
from fastpt.cli.shared import FOLDER, JSON, OUTPUT, SEED, Rate, describe_classes, describe_plan
from fastpt.errors import FastptError
from fastpt.printable import one_line, printable

if TYPE_CHECKING:
    from fastpt.data.plan import Changed, NoisePlan
    from fastpt.noise.confusion import Confusion
    from fastpt.noise.kinds import NoiseKind

MOST_CLASSES = 8  # in a table
MOST_OTHERS = 2  # in a row
NAME = 18  # columns


class _NoiseCommand(click.Command):
    """`fastpt noise` with what the kinds of noise bring, which are looked for when the command is used."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*_kind_options(), *super().get_params(ctx)]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Kinds"):
            formatter.write_dl([(name, kind.summary) for name, kind in _kinds().items()])


@cache
def _kinds() -> "dict[str, NoiseKind]":
    """All kinds of noise. Those of a package that is broken are left out, with a warning."""
    from fastpt.noise.kinds import KINDS

    found = {}
    for name in KINDS.names():
        try:
            kind = KINDS.get(name)
            if taken := {"kind", *(one.name for one in noise.params)} & kind.files.keys():
                raise FastptError(
                    f"kind of noise {name!r} has an option {min(taken)}, which is taken. Rename it there."
                )
            found[name] = kind
        except FastptError as error:
            click.echo(printable(f"warning: {error}"), err=True)
    return found


@cache
def _kind_options() -> list[click.Option]:
    """--kind, and the options of all kinds that name files."""
    from fastpt.noise.kinds import DEFAULTS

    files: dict[str, list[str]] = {}
    for name, kind in _kinds().items():
        for option, text in kind.files.items():
            files.setdefault(option, []).append(f"{name}: {text}")
    default = ", ".join(f"{kind} for {of}" for of, kind in DEFAULTS.items())
    kind = click.Option(["--kind"], type=click.Choice(list(_kinds())), help=f"Default: {default}.")
    return [kind] + [
        click.Option([f"--{option.replace('_', '-')}"], type=FOLDER, metavar="FILE", help="; ".join(texts) + ".")
        for option, texts in files.items()
    ]


@click.command(cls=_NoiseCommand)
@click.argument("folder", type=FOLDER)
@click.option("--rate", type=Rate(), help="Share of samples shown a wrong target.")
@click.option("--of", type=click.Choice(["labels", "captions", "pictures"]), help="Which, where there are several.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--plan", "name", help="Make none: tell of the plan of this name.")
@click.option("--import", "imported", type=FOLDER, metavar="FILE", help="Take over the plan that another exported.")
@click.option("--export", type=OUTPUT, metavar="FILE", help="Write the plan for others, as one .parquet by key.")
@click.option("--csv", type=OUTPUT, metavar="FILE", help="Write what every sample is shown to this CSV too.")
@click.option("--picture", type=OUTPUT, metavar="FILE", help="Draw which class is shown as which: a .png or .svg.")
@JSON
def noise(
    folder: Path,
    kind: str | None,
    rate: float | None,
    of: "Changed | None",
    seed: int,
    name: str | None,
    imported: Path | None,
    export: Path | None,
    csv: Path | None,
    picture: Path | None,
    as_json: bool,
    **files: Path | None,
) -> None:
    """Add a noise plan to the split FOLDER, or tell of its plans. Touches no picture.

    \b
    fastpt noise data/imagenet/train --rate 0.05
    fastpt noise data/imagenet/train --kind asymmetric --rate 0.1 --hierarchy wordnet.is_a.txt
    fastpt noise data/yfcc15m/train --kind pairswap --rate 0.05
    fastpt noise data/imagenet/train --kind external --file annotators.csv
    fastpt noise data/imagenet/train --kind open-set --rate 0.2 --from data/places/train
    fastpt noise data/imagenet/train --rate 0.05 --export plan.parquet   for another laboratory, which says
    fastpt noise data/imagenet/train --import plan.parquet
    fastpt noise data/imagenet/train                                     tell of the plans that are there
    """
    from fastpt.noise.kinds.open_set import FROM

    given = {option: path for option, path in files.items() if path}
    written = _Written(export, csv, picture)
    written.check()
    lent = given.pop(FROM, None) if imported else None
    makes = kind is not None or rate is not None or bool(given)
    if makes + bool(name) + bool(imported) > 1:
        raise click.UsageError("a plan is made (--kind, --rate), named (--plan) or taken over (--import); give one")
    if rate == 0:
        raise click.BadParameter("0 is clean and needs no plan", param_hint="--rate")
    if makes and (rate is not None) != (kind is None or _kinds()[kind].takes_rate):
        only = " and ".join(name for name, one in _kinds().items() if not one.takes_rate)
        raise click.UsageError(f"every kind of noise needs a --rate, but {only}, which has the rate of its file")
    dataset = fastpt.Dataset(folder)
    if imported:
        plans = [_import(dataset, imported, fastpt.Dataset(lent) if lent else None)]
    elif makes:
        from fastpt.noise import add_noise

        plans = [add_noise(dataset, rate, seed, of, kind, given)]
    else:
        there = [dataset.noise_plan(one) for one in ([name] if name else dataset.noise_plans())]
        plans = [plan for plan in there if of in (None, plan.of)]
    if any(written) and len(plans) != 1:
        raise FastptError(f"{folder} has {len(plans)} noise plans{_named(plans)}. Say --plan NAME, or --rate.")
    for plan in plans:
        written.write(dataset, plan)
    if as_json:
        documents = [_document(dataset, plan) for plan in plans]
        click.echo(json.dumps(documents if len(documents) != 1 else documents[0], indent=2))
        return
    if not plans:
        which = f" of {of}" if of else ""
        click.echo(printable(f"{folder} has no noise plan{which}; `fastpt noise {folder} --rate 0.05` makes one"))
    for plan in plans:
        click.echo(printable(_text(dataset, plan, with_classes=not makes)))


def _named(plans: "Sequence[NoisePlan]") -> str:
    return f": {', '.join(plan.name for plan in plans)}" if plans else ""


def _import(dataset: "fastpt.Dataset", path: Path, lent: "fastpt.Dataset | None") -> "NoisePlan":
    from fastpt.noise.exchange import import_plan

    taken = import_plan(dataset, path, lent)
    click.echo(printable(f"took over {path}: plan {taken.plan_sha256}"), err=True)
    return taken.plan


class _Written(NamedTuple):
    """The files that are asked for of a plan."""

    export: Path | None
    csv: Path | None
    picture: Path | None

    def check(self) -> None:
        """Raise what a name of another kind of file raises."""
        for path, suffix, what in ((self.csv, ".csv", "CSV"), (self.export, ".parquet", "parquet file")):
            if path and path.suffix != suffix:
                raise click.BadParameter(f"{path} is a {what}: let its name end in {suffix}")
        if self.picture:
            from fastpt.report.confusion import check_suffix

            check_suffix(self.picture)

    def write(self, dataset: "fastpt.Dataset", plan: "NoisePlan") -> None:
        if self.export:
            from fastpt.noise.exchange import export_plan

            click.echo(printable(f"wrote {self.export}: plan {export_plan(dataset, plan, self.export)}"), err=True)
        if self.csv:
            from fastpt.noise.formats import write_csv

            if plan.of == "pictures":
                raise FastptError(f"{plan.name} replaces pictures, of which no CSV is read. Write it by --export.")
            write_csv(self.csv, plan.of, dataset.table(["key"])["key"], plan.array, dataset.classes)
        if self.picture:
            from fastpt.noise.confusion import confusion
            from fastpt.report.confusion import write_confusion

            found = confusion(dataset, plan)
            if found is None:
                why = f"{plan.name} replaces pictures" if plan.of == "pictures" else f"{dataset.path} has no labels"
                raise FastptError(f"{why}, so there are no classes to draw. Leave --picture out.")
            title = f"{dataset.name}/{dataset.split}, {plan.name}"
            write_confusion(self.picture, title, dataset.class_names, found)


def _document(dataset: "fastpt.Dataset", plan: "NoisePlan") -> dict[str, Any]:
    """All that is known of a plan; `confusion` are [clean class, class shown, samples] of every pair that there is."""
    from fastpt.noise.confusion import confusion

    found = confusion(dataset, plan)
    pairs = None if found is None else zip(found.clean, found.shown, found.count, strict=True)
    return {
        **plan.as_dict(),
        "samples": len(dataset),
        "classes": dataset.classes,
        "confusion": None if pairs is None else [[int(one) for one in pair] for pair in pairs],
    }


def _text(dataset: "fastpt.Dataset", plan: "NoisePlan", with_classes: bool) -> str:
    from fastpt.noise.confusion import confusion

    told = [describe_plan(plan, len(dataset)).strip()]
    if with_classes:
        told[0] += describe_classes(dataset, plan)
        told += _describe_confusion(dataset, confusion(dataset, plan))
    return "\n".join(told)


def _describe_confusion(dataset: "fastpt.Dataset", confusion: "Confusion | None") -> list[str]:
    """Two tables: what the samples of a class are shown as, and where those come from that are shown as a class."""
    if confusion is None:
        return []
    rows = [
        (confusion.samples(), confusion.wrong.samples(), confusion.of, ("class", "samples", "wrong", "shown as")),
        (confusion.showing(), confusion.wrong.showing(), confusion.origins, ("shown as", "samples", "wrong", "from")),
    ]
    return [line for row in rows for line in _table(dataset, *row)]


def _table(dataset: "fastpt.Dataset", counts: Any, wrong: Any, others: Any, head: tuple[str, ...]) -> list[str]:
    """A row a class, int [K] `counts` samples of which `wrong`; those with the greatest share come first."""
    import numpy as np

    shares = wrong / np.maximum(counts, 1)
    order = np.lexsort((np.arange(len(shares)), -shares))
    order = order[wrong[order] > 0]
    names = [one_line(name, NAME) for name in dataset.class_names]
    lines = [f"    {head[0]:<{NAME}} {head[1]:>8} {head[2]:>8}          {head[3]}"]
    for label in order[:MOST_CLASSES].tolist():
        some = others(label)
        parts = [f"{names[other]} {_share(count / counts[label])}" for other, count in some[:MOST_OTHERS]]
        more = f", {len(some) - MOST_OTHERS} more" if len(some) > MOST_OTHERS else ""
        numbers = f"{counts[label]:>8,} {wrong[label]:>8,} {f'({_share(shares[label])})':<9}"
        lines.append(f"    {names[label]:<{NAME}} {numbers}{', '.join(parts)}{more}")
    if len(order) > MOST_CLASSES:
        lines.append(f"    and {len(order) - MOST_CLASSES:,} classes more: --json has all, --picture draws them")
    return lines if len(order) else []


def _share(share: float) -> str:
    return f"{100 * share:.3g} %"
