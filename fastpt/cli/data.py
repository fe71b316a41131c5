"""What is done with prepared splits."""

import json
import sys
from pathlib import Path

import click

from fastpt.cli.shared import FOLDER, JSON, SEED, Rate, describe, describe_plan, printable


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--rate", type=Rate(), required=True, help="Share of samples shown a wrong target.")
@click.option("--of", type=click.Choice(["labels", "captions"]), help="Which targets, where the split has both.")
@click.option("--seed", type=SEED, default=0, show_default=True)
def noise(folder: Path, rate: float, of: str | None, seed: int) -> None:
    """Add a noise plan to the prepared split FOLDER. Touches no picture."""
    from fastpt.data.dataset import Dataset

    if rate == 0:
        raise click.BadParameter("0 is clean and needs no plan", param_hint="--rate")
    dataset = Dataset(folder)
    click.echo(describe_plan(dataset.add_noise(rate, seed, of), len(dataset)).strip())


@click.command()
@click.argument("folder", type=FOLDER)
@JSON
def info(folder: Path, as_json: bool) -> None:
    """Say what the prepared splits at FOLDER hold."""
    from fastpt.data.dataset import Dataset, load_plan
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
