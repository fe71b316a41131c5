"""What was learned: tuning and reports."""

import json
from pathlib import Path

import click

from fastpt.cli.shared import FOLDER, JSON
from fastpt.printable import printable


class _Numbers(click.ParamType):
    name = "NUMBER,..."

    def convert(self, value, param, ctx) -> list[float]:
        try:
            return value if isinstance(value, list) else [float(part) for part in value.split(",") if part]
        except ValueError:
            self.fail(f"{value!r} is no list of numbers, such as 0.1,1", param, ctx)


NUMBERS = _Numbers()


@click.command()
@click.option("--lp", is_flag=True, help="Linear probe. Always added, as the baseline.")
@click.option("--mlp", is_flag=True, help="MLP tuning: a two-layer MLP and a linear head.")
@click.option("--nmtune", is_flag=True, help="NMTune: MLP tuning with the paper's regularisers.")
@click.option("--ridge", is_flag=True, help="The best linear baseline: ridge classification, its strength validated.")
@click.option(
    "--finetune",
    type=click.Choice(["lora", "full"]),
    help="Train the encoder with each head, too: by low-rank adapters, or all of it.",
)
@click.option("--run", type=FOLDER, help="The run whose encoder is tuned (default: the newest finished one).")
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
    help="In which the encoder computes features; they are kept as fp32.",
)
@click.option(
    "--head-precision",
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    show_default=True,
    help="Of the matrix products that train the heads.",
)
@click.option("--suite", help="A suite file, or the name of one in recipes/suites (default: as the run's recipe says).")
@click.option(
    "--num-seeds", "seeds", type=click.IntRange(1), default=1, show_default=True, help="Heads trained a method."
)
@click.option(
    "--fractions",
    type=NUMBERS,
    default="1",
    show_default=True,
    help="Shares of each class to train on, such as 0.1,0.25,1.",
)
@click.option("--lrs", type=NUMBERS, default="", help="Learning rates to choose from on a part of the training data.")
@click.option("--reg-weights", type=NUMBERS, default="", help="NMTune's lambdas to choose from, likewise.")
@click.option(
    "--label-noise", type=click.FloatRange(0, 1, max_open=True), default=0.0, help="Share of training labels to flip."
)
@click.option(
    "--variant",
    type=click.Choice(["paper", "reference-code"]),
    default="paper",
    show_default=True,
    help="Of MLP tuning and NMTune: as in the paper or in its authors' code.",
)
@click.option(
    "--ablate",
    "without",
    type=click.Choice(["consistency", "covariance", "dominance"]),
    multiple=True,
    help="A term to leave out of NMTune's regulariser (ablation); may be given again.",
)
@click.option("--epochs", type=click.IntRange(1), help="Epochs of tuning (default: the paper's 30).")
@click.option("--decoder", type=click.Choice(["cpu", "dali"]), default="cpu", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="Decoding threads (default: all cores).")
@click.option("--out", type=FOLDER, help="Results file (default: <run>/tune/<suite>.json).")
@JSON
def tune(
    lp,
    mlp,
    nmtune,
    ridge,
    finetune,
    run,
    encoder,
    precision,
    head_precision,
    suite,
    seeds,
    fractions,
    lrs,
    reg_weights,
    label_noise,
    variant,
    without,
    epochs,
    decoder,
    threads,
    out,
    as_json,
) -> None:
    """Train light heads on the features of a frozen encoder, in and out of domain.

    \b
    fastpt tune --nmtune                            the newest run, its suite, NMTune beside the linear probe
    fastpt tune --encoder timm:resnet50 --suite mini
    """
    if run and encoder:
        raise click.UsageError("--run and --encoder name two encoders; give one")
    from fastpt.tuning.results import text_table
    from fastpt.tuning.run import tune_command

    chosen = [name for name, wanted in (("lp", lp), ("ridge", ridge), ("mlp", mlp), ("nmtune", nmtune)) if wanted]
    chosen = chosen or ["lp", "mlp", "nmtune"]
    if finetune and chosen == ["ridge"]:
        raise click.UsageError("--finetune trains no --ridge; add --lp, --mlp or --nmtune")
    if finetune:
        chosen += [f"{head}+{finetune}" for head in chosen if head != "ridge"]
    result = tune_command(
        run=run,
        encoder=encoder,
        suite=suite,
        methods=chosen,
        seeds=seeds,
        out=out,
        epochs=epochs,
        threads=threads,
        decoder=decoder,
        precision=precision,
        head_precision=head_precision,
        fractions=fractions,
        lrs=lrs,
        reg_weights=reg_weights,
        label_noise=label_noise,
        variant=variant,
        terms=[term for term in ("consistency", "covariance", "dominance") if term not in without],
    )
    click.echo(json.dumps(result, indent=2) if as_json else printable(text_table(result)))


@click.command()
@click.argument("runs", type=FOLDER, nargs=-1, required=True)
@click.option("--out", type=FOLDER, default=Path("report.html"), show_default=True, help="The page to write.")
@click.option("--files", is_flag=True, help="Also write figures as SVG, numbers as CSV and tables as LaTeX.")
def report(runs: tuple[Path, ...], out: Path, files: bool) -> None:
    """Write one HTML page that compares RUNS: accuracies, spectra, curves, what the noise did."""
    from fastpt.report import write_report
    from fastpt.runs import read_runs

    page = write_report(list(runs), out, files)
    for run in read_runs(list(runs)):
        for problem in run.problems:
            click.echo(f"report: {printable(str(run.path))}: {problem}", err=True)
    click.echo(f"report: {page}")
