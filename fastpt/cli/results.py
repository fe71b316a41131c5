"""What was learned: tuning and reports."""

import json
from pathlib import Path

import click

from fastpt.cli.shared import FOLDER, JSON, printable


@click.command()
@click.option("--lp", is_flag=True, help="Linear probe. Always added, as the baseline.")
@click.option("--mlp", is_flag=True, help="MLP tuning: a two-layer MLP and a linear head.")
@click.option("--nmtune", is_flag=True, help="NMTune: MLP tuning with the paper's regularisers.")
@click.option("--run", type=FOLDER, help="The run whose encoder is tuned (default: the newest finished one).")
@click.option(
    "--encoder", metavar="KIND:NAME[:WEIGHTS]", help="Any frozen encoder: timm:resnet50, open_clip:RN50:FILE."
)
@click.option("--suite", help="A suite file, or the name of one in recipes/suites (default: as the run's recipe says).")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Heads trained a method.")
@click.option("--epochs", type=click.IntRange(1), help="Epochs of tuning (default: the paper's 30).")
@click.option("--decoder", type=click.Choice(["ffcv", "dali"]), default="ffcv", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="Decoding threads (default: all cores).")
@click.option("--out", type=FOLDER, help="Results file (default: <run>/tune/<suite>.json).")
@JSON
def tune(lp, mlp, nmtune, run, encoder, suite, seeds, epochs, decoder, threads, out, as_json) -> None:
    """Train light heads on the features of a frozen encoder, in and out of domain.

    \b
    fastpt tune --nmtune                            the newest run, its suite, NMTune beside the linear probe
    fastpt tune --encoder timm:resnet50 --suite mini
    """
    if run and encoder:
        raise click.UsageError("--run and --encoder name two encoders; give one")
    from fastpt.tuning.run import tune_command
    from fastpt.tuning.table import text_table

    chosen = [name for name, wanted in (("lp", lp), ("mlp", mlp), ("nmtune", nmtune)) if wanted]
    result = tune_command(
        run=run, encoder=encoder, suite=suite, methods=chosen or ["lp", "mlp", "nmtune"], seeds=seeds, out=out,
        epochs=epochs, threads=threads, decoder=decoder,
    )  # fmt: skip
    click.echo(json.dumps(result, indent=2) if as_json else printable(text_table(result)))


@click.command()
@click.argument("runs", type=FOLDER, nargs=-1, required=True)
@click.option("--out", type=FOLDER, default=Path("report.html"), show_default=True, help="The page to write.")
@click.option("--files", is_flag=True, help="Also write figures as SVG, numbers as CSV and tables as LaTeX.")
def report(runs: tuple[Path, ...], out: Path, files: bool) -> None:
    """Write one HTML page that compares RUNS: accuracies, spectra, curves, what the noise did."""
    from fastpt.report import write_report

    click.echo(f"report: {write_report(list(runs), out, files)}")
