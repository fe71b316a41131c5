"""`fastpt prep`: sources in, prepared splits out. A group of commands, one for each source, and for each preset."""

import contextlib
import shlex
from collections.abc import Iterator
from typing import Any

import click
from click.core import ParameterSource

from datasets_prep.presets import PRESETS, Preset
from datasets_prep.sources import SOURCES, Source
from fastpt.cli.prep_options import COMMON, CommonOptions
from fastpt.cli.prep_run import run_prep
from fastpt.cli.shared import claim
from fastpt.errors import FastptError, suggestion
from fastpt.printable import one_line


class Prep(click.Group):
    """The sources as commands. Only the one that is named, or all for the help, are imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return SOURCES.names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        if cmd_name in PRESETS:
            if cmd_name in SOURCES.names():
                click.echo(
                    f"warning: {cmd_name} is a preset, which stays; a package has a source of that name.", err=True
                )
            return PresetCommand(cmd_name, PRESETS[cmd_name])
        try:
            return SourceCommand(cmd_name, SOURCES.get(cmd_name))
        except FastptError:
            if cmd_name in SOURCES.names():  # a package that is broken
                raise
            known = [*SOURCES.names(), *PRESETS]
            raise click.UsageError(f"there is no source {cmd_name!r}; {suggestion(cmd_name, known)}", ctx) from None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise _of_a_source(error, "and stands behind that name") from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Sources"):
            formatter.write_dl([(name, one_line(_summary(name))) for name in SOURCES.names()])
        with formatter.section("Presets, sets of the Hugging Face hub; --presets tells their sizes and licences"):
            formatter.write_dl([(name, preset.summary) for name, preset in PRESETS.items()])


class SourceCommand(click.Command):
    """`fastpt prep SOURCE`: its own options, and the common ones, which may stand before its name too."""

    allow_extra_args = True  # they are told here

    def __init__(self, name: str, source: Source):
        claim({}, f"source {name!r}", [*COMMON, *source.options])
        super().__init__(
            name,
            params=[*source.options, *COMMON],
            help=f"Prepare {source.summary}.\n\n\b\n{source.example}" + _usual_places(source),
            callback=self.run,
        )
        self.source_name, self.source = name, source

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            rest = super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise _of_a_source(error, f"not with {self.name}") from None
        if rest and not ctx.resilient_parsing:
            alone = f"{rest[0]!r} follows no option"
            raise click.UsageError(f"{alone}. Write --source before each place; a folder of files is one place.", ctx)
        return rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = [option for option in self.get_params(ctx) if option not in COMMON]
        for title, options in ((f"Options of {self.name}", own), ("Options of all sources", COMMON)):
            with formatter.section(title):
                formatter.write_dl([record for option in options if (record := option.get_help_record(ctx))])

    def run(self, **given: Any) -> None:
        self.prepare(given, None)

    def prepare(self, given: dict[str, Any], preset: Preset | None) -> None:
        ctx = click.get_current_context()
        own = {str(option.name): given[str(option.name)] for option in self.source.options}
        run_prep(self.source_name, self.source, own, _common(ctx), preset)


class PresetCommand(SourceCommand):
    """`fastpt prep PRESET`: the words that it stands for are the defaults of its source's options."""

    def __init__(self, name: str, preset: Preset):
        source = SOURCES.get(preset.source)
        super().__init__(preset.source, source)
        self.name, self.preset = name, preset
        self.help = f"Prepare {preset.summary}.\n\n\b\n" + "\n".join(_facts(preset))

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> click.Context:
        with click.Context(self) as ctx:
            words = [*shlex.split(self.preset.prep)[1:], "--name", str(self.name)]
            stands_for, _, _ = self.make_parser(ctx).parse_args(words)
        return super().make_context(info_name, args, parent, default_map=stands_for, **extra)

    def run(self, **given: Any) -> None:
        if self.preset.how_to_get and not _common(click.get_current_context()).places:
            raise FastptError(f"{self.name}: {self.preset.how_to_get}")
        self.prepare(given, self.preset)


def _facts(preset: Preset) -> Iterator[str]:
    """What was published of a preset, a line each."""
    yield f"fastpt prep {preset.prep}" + " --source FOLDER" * bool(preset.how_to_get)
    if preset.samples:
        about = "about " * preset.is_rounded
        yield "samples: " + ", ".join(f"{name} {about}{count:,}" for name, count in preset.samples.items())
    yield f"targets: {preset.classes} classes" if preset.classes else "targets: captions"
    yield f"licence: {preset.licence}"
    yield f"as published, not verified here ({preset.homepage}); a preparation tells what differs"


def _list_presets(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        click.echo(
            "\n\n".join("\n    ".join([f"{name}  {one.summary}", *_facts(one)]) for name, one in PRESETS.items())
        )
        ctx.exit()


prep = Prep(
    "prep",
    params=[
        *COMMON,
        click.Option(
            ["--presets"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_list_presets,
            help="List the presets with sizes, licences and pages, and exit.",
        ),
    ],
    subcommand_metavar="SOURCE [OPTIONS]",
    help="""Convert a SOURCE into prepared splits, with noise plans.

    \b
    fastpt prep --noise 0.05 demo
    fastpt prep --noise 0.05 imagenet --source ILSVRC2012
    fastpt prep imagefolder --source pets.tar --name pets --noise 0.05
    fastpt prep imagefolder --help
    fastpt prep cifar10                         a preset: from the Hugging Face hub, by its name

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


def _common(ctx: click.Context) -> CommonOptions:
    """The common options, given before or behind the source's name: repeatable ones add up."""
    values: dict[str, Any] = {}
    for option in COMMON:
        name = str(option.name)
        found = [
            place.params[name]
            for place in (ctx.parent, ctx)
            if place and place.get_parameter_source(name) not in (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)
        ]
        if option.multiple:
            values[name] = sum(found, ()) or ctx.params[name]
        elif len(found) > 1 and found[0] != found[1]:
            raise click.UsageError(
                f"{option.opts[0]} is given before and behind the source's name, once {found[0]}, once {found[1]}", ctx
            )
        else:
            values[name] = found[0] if found else ctx.params[name]
    return CommonOptions(**values)
