"""What is done with prepared splits."""

import json
import sys
from pathlib import Path

import click

from fastpt.cli.shared import FOLDER, JSON, SEED, Rate, describe, describe_plan, printable


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--kind", type=click.Choice(["symmetric", "asymmetric", "swap", "pairswap", "external"]),
              help="Default: symmetric for labels, swap for captions.")  # fmt: skip
@click.option("--rate", type=Rate(), help="Share of samples shown a wrong target; pairswap: swaps a sample.")
@click.option("--of", type=click.Choice(["labels", "captions"]), help="Which targets, where the split has both.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--matrix", type=FOLDER, metavar="FILE", help="asymmetric: confusion matrix, .npy or CSV [K, K].")
@click.option(
    "--hierarchy", type=FOLDER, metavar="FILE", help="asymmetric, between nearest classes: `parent child` lines."
)
@click.option("--file", type=FOLDER, metavar="FILE", help="external: CSV `key,label` or `key,caption_of`, or .npy.")
@click.option("--csv", type=FOLDER, metavar="FILE", help="Write what every sample is shown to this CSV too.")
def noise(folder, kind, rate, of, seed, matrix, hierarchy, file, csv) -> None:
    """Add a noise plan to the prepared split FOLDER, or name the one that is there. Touches no picture.

    \b
    fastpt noise data/imagenet/train --rate 0.05
    fastpt noise data/imagenet/train --kind asymmetric --rate 0.1 --hierarchy wordnet.is_a.txt
    fastpt noise data/yfcc15m/train --kind pairswap --rate 0.05
    fastpt noise data/imagenet/train --kind external --file annotators.csv
    """
    from fastpt.data.dataset import Dataset
    from fastpt.data.noise_files import write_csv
    from fastpt.data.plans import NoiseFiles

    if rate == 0:
        raise click.BadParameter("0 is clean and needs no plan", param_hint="--rate")
    if (rate is None) != (kind == "external"):
        raise click.UsageError("every kind of noise needs a --rate, but external, which has the rate of its file")
    dataset = Dataset(folder)
    plan = dataset.add_noise(rate, seed, of, kind, NoiseFiles(matrix, hierarchy, file))
    click.echo(describe_plan(plan, len(dataset)).strip())
    if csv:
        write_csv(csv, plan.of, dataset.stored_keys.load(), plan.array, dataset.classes)


@click.command()
@click.argument("folder", type=FOLDER)
@JSON
def info(folder: Path, as_json: bool) -> None:
    """Say what the prepared splits at FOLDER hold."""
    from fastpt.data.dataset import Dataset
    from fastpt.data.plans import load_plan
    from fastpt.data.verify import split_folders

    found = []
    for path in split_folders(folder):
        dataset = Dataset(path)
        plans = [load_plan(path / "noise" / f"{name}.json", dataset.samples_id) for name in dataset.noise_plans()]
        found.append((dataset, plans))
    if as_json:
        documents = [{**dataset.manifest, "noise": [plan.provenance() for plan in plans]} for dataset, plans in found]
        click.echo(json.dumps(documents if len(documents) > 1 else documents[0], indent=2))
        return
    for dataset, plans in found:
        click.echo(printable(describe(dataset)))
        for plan in plans:
            click.echo(printable(describe_plan(plan, len(dataset))))


@click.command()
@click.argument("folder", type=FOLDER)
@JSON
def verify(folder: Path, as_json: bool) -> None:
    """Check every file of the prepared splits at FOLDER against its checksum; name each that changed."""
    from fastpt.data.verify import split_folders
    from fastpt.data.verify import verify as verify_split

    problems = {str(path): verify_split(path) for path in split_folders(folder)}
    if as_json:
        click.echo(json.dumps(problems, indent=2))
    else:
        for path, lines in problems.items():
            click.echo("\n".join(printable(line) for line in lines) or f"{path}: every file is as it was written")
    sys.exit(1 if any(problems.values()) else 0)


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--model-rate", type=click.FloatRange(0, min_open=True), help="Pictures a second that the model takes.")
@click.option("--size", type=click.IntRange(1), default=224, show_default=True, help="Of the crops, pixels.")
@click.option("--batch-size", type=click.IntRange(1), default=256, show_default=True)
@click.option("--threads", type=click.IntRange(1), help="That decode (default: this process's cores).")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=5.0, show_default=True, help="A measure.")
@JSON
def bench(
    folder: Path, model_rate: float | None, size: int, batch_size: int, threads: int | None, seconds: float,
    as_json: bool,
) -> None:  # fmt: skip
    """Measure how fast the prepared split FOLDER loads on this machine, and say whether a model would wait for it.

    The rate of your model is in the log of a training whose recipe has data.decoder: synthetic.
    """
    from fastpt.data.dataset import Dataset
    from fastpt.loading.bench import describe, judge, measure

    report = measure(Dataset(folder), size, batch_size, threads, seconds)
    advice = judge(report, model_rate) if model_rate else []
    if as_json:
        click.echo(json.dumps({**report, "model_rate": model_rate, "advice": advice}, indent=2))
    else:
        click.echo(printable("\n".join(describe(report) + advice)))
