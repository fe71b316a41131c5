"""What was learned: tuning and reports."""

import json
import os
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from fastpt.cli.shared import JSON, OUTPUT, RECORDED, FiniteRange, claim
from fastpt.errors import FastptError
from fastpt.loading.decoders import DECODERS
from fastpt.printable import printable
from fastpt.runs.folder import newest_finished
from fastpt.tuning.methods import FINETUNING, HEADS, METHODS, Method
from fastpt.tuning.methods.numbers import Numbers


class _Tune(click.Command):
    """Has a flag for each method with a summary, its own options, the decoders that read, the methods' options."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        known, _ = _methods()
        flags = [
            click.Option([f"--{name}", "methods"], flag_value=name, multiple=True, help=method.summary)
            for name, method in known.items()
            if method.summary
        ]
        own = super().get_params(ctx)
        return [*flags, *own[:-1], _decoder(), *_options(known).values(), own[-1]]  # the last is --help


def _decoder() -> click.Option:
    decoders = [name for name in DECODERS.names() if DECODERS.get(name).reads]
    return click.Option(["--decoder"], type=click.Choice(decoders), default="cpu", show_default=True)


def _methods() -> tuple[dict[str, Method], dict[str, FastptError]]:
    """Every method, and what is wrong with those of packages that are broken: told when the method is asked for."""
    found, broken = {}, {}
    own: dict[str, object] = {}
    claim(own, "fastpt tune", [*tune.params, _decoder(), click.Option(["-h", "--help"])])
    taken = {f"--{name}": name for name in METHODS.names()} | own
    for name in METHODS.names():
        try:
            if f"--{name}" in own:
                raise FastptError(f"tuning method {name!r} is called as an option of `fastpt tune` is. Rename it.")
            method = METHODS.get(name)
            claim(taken, f"tuning method {name!r}", method.options)
            found[name] = method
        except FastptError as error:
            broken[name] = error
    return found, broken


def _options(methods: dict[str, Method]) -> dict[str, click.Option]:
    return {str(option.name): option for method in methods.values() for option in method.options}


@click.command(cls=_Tune)
@click.option("--method", "methods", metavar="NAME", multiple=True, help="A method by its name; may be given again.")
@click.option(
    "--finetune",
    type=click.Choice(FINETUNING),
    help="Train the encoder with each head, too: by low-rank adapters, or all of it.",
)
@click.option("--run", type=RECORDED, help="The run whose encoder is tuned (default: the newest finished one).")
@click.option(
    "--encoder",
    metavar="KIND:NAME[:WEIGHTS]",
    help="Any frozen encoder: timm:resnet50, open_clip:RN50:FILE, onnx:FILE, or a YAML file.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    show_default=True,
    help="Of the encoder; its features are kept as fp32.",
)
@click.option(
    "--cka-with",
    metavar="RUN|ENCODER",
    help="Another encoder, such as that of a run on other noise: CKA of the tests' features.",
)
@click.option(
    "--suite",
    help="A suite file, the name of one in recipes/suites, or a folder with train and test (default: the recipe's).",
)
@click.option("--prepare", is_flag=True, help="First make the suite's sets that are not there, after asking once.")
@click.option("--yes", is_flag=True, help="With --prepare: do not ask.")
@click.option("--num-seeds", type=click.IntRange(1, 1000), default=1, show_default=True, help="Heads trained a method.")
@click.option(
    "--fractions",
    type=Numbers(),
    default="1",
    show_default=True,
    help="Shares of each class to train on, such as 0.1,0.25,1.",
)
@click.option(
    "--label-noise", type=FiniteRange(0, 1, max_open=True), default=0.0, help="Share of training labels to flip."
)
@click.option("--threads", type=click.IntRange(1, 1024), help="Decoding threads (default: all cores).")
@click.option(
    "--out",
    type=OUTPUT,
    help="Results file (default: <run>/tune/<suite>.json, where results of other settings are not replaced).",
)
@JSON
@click.pass_context
def tune(
    ctx: click.Context,
    /,
    methods: tuple[str, ...],
    finetune: str | None,
    prepare: bool,
    yes: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train light heads on frozen features, in and out of domain.

    \b
    fastpt tune                                     the newest run, its suite: linear probe, MLP tuning, NMTune
    fastpt tune --nmtune                            NMTune beside the linear probe alone
    fastpt tune --encoder timm:resnet50 --suite mini
    fastpt tune --suite paper_id --prepare          its sets from the net first, where they are not there
    """
    if yes and not prepare:
        raise click.UsageError("--yes goes with --prepare")
    if settings["run"] and settings["encoder"]:
        raise click.UsageError("--run and --encoder name two encoders; give one")
    chosen = list(methods or HEADS)
    if finetune:
        tuned = [f"{head}+{finetune}" for head in chosen if head in HEADS]
        if not tuned:
            heads = " or ".join(f"--{head}" for head in HEADS)
            raise click.UsageError(f"--finetune trains the encoder with a head; add {heads}")
        chosen += tuned
    known, broken = _methods()
    for name in chosen:
        if name in broken:
            raise broken[name]
    from fastpt.tuning.command import suite_of, tune_command

    if prepare:
        run, encoder = settings["run"], settings["encoder"]
        _prepare(settings["suite"] or suite_of(run if run or encoder else newest_finished()), yes)
    from fastpt.tuning.ranks import joined
    from fastpt.tuning.tables import text_table

    defaults = [name for name in _options(known) if ctx.get_parameter_source(name) is ParameterSource.DEFAULT]
    asked = {"methods": chosen, **{name: value for name, value in settings.items() if name not in defaults}}
    with joined() as ranks:
        result = tune_command(ranks=ranks, **asked)
    if result is None:  # the first process tells
        return
    click.echo(json.dumps(result.as_dict(), indent=2) if as_json else printable(text_table(result)))
    if result.failed:
        failures = "\n".join(f"set {one.where}: {one.reason}" for one in result.failed)
        raise FastptError(f"{failures}\nWhat could be measured is in the results.")


def _prepare(suite: str, yes: bool) -> None:
    """Make the sets of a suite that are not there."""
    if Path(suite).is_dir():
        raise click.UsageError("--prepare wants a suite's name or file, whose sets say what makes them; found a folder")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise click.UsageError("--prepare is for one process; prepare first, then tune on several")
    from fastpt.tuning.preparing import prepare_missing
    from fastpt.tuning.suite_files import load_suite

    def tell(text: str) -> None:
        click.echo(printable(text), err=True)

    def agreed(text: str) -> bool:
        tell(text)
        return yes or click.confirm("They fetch what is not here. Go on?", err=True)

    prepare_missing(load_suite(suite), agreed, tell)


@click.command()
@click.argument("runs", type=RECORDED, nargs=-1, required=True)
@click.option("--out", type=OUTPUT, default=Path("report.html"), show_default=True, help="The page to write.")
@click.option("--files", is_flag=True, help="Also write figures as SVG, numbers as CSV and tables as LaTeX.")
@click.option("--serve", "served", is_flag=True, help="Show it at a local address, made anew as runs change.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Of --serve; 0: a free one."
)
@click.pass_context
def report(ctx: click.Context, runs: tuple[Path, ...], out: Path, files: bool, served: bool, port: int) -> None:
    """Write one HTML page that compares RUNS. It has accuracies, spectra, curves, what the noise did.

    With --serve a folder of runs is all that are in it, those too that begin later.
    """
    if ctx.get_parameter_source("port") is not ParameterSource.DEFAULT and not served:
        raise click.UsageError("--port goes with --serve")
    if served:
        from fastpt.report.serve import serve

        serve(runs, out, files, port, lambda text: click.echo(printable(text)))
        return
    from fastpt.report.page import write_report
    from fastpt.runs import read_runs

    found = read_runs(runs)
    heeded = write_report(found, out, files)
    for run in found:
        for problem in run.problems:
            click.echo(f"report: {printable(str(run.path))}: {problem}", err=True)
    for line in heeded:
        click.echo(f"report: {printable(line)}", err=True)
    click.echo(f"report: {out}")
