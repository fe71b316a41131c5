"""Pre-training runs."""

import sys
from pathlib import Path

import click

from fastpt.cli.shared import FOLDER


@click.command()
@click.argument("recipe", type=FOLDER)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a recipe key: data.noise=0.3.")
@click.option("--run-dir", type=FOLDER, help="Run folder (default: runs/<recipe>-<noise>-s<seed>).")
@click.option("--resume", is_flag=True, help="Go on from the newest whole checkpoint of the run.")
def train(recipe: Path, overrides: tuple[str, ...], run_dir: Path | None, resume: bool) -> None:
    """Pre-train as RECIPE says. One process; several under torchrun, deepspeed or SLURM."""
    from fastpt.recipe import load_recipe

    loaded = load_recipe(recipe, list(overrides))
    from fastpt.training.engine import train as run_training

    command = " ".join(["fastpt", *sys.argv[1:]])
    run_training(loaded, recipe.stem, run_dir, resume, command)


@click.command()
@click.argument("run", type=FOLDER)
def export(run: Path) -> None:
    """Write the weights of RUN as a timm or open_clip folder, with a model card."""
    from fastpt.training.export import export_run

    click.echo(f"exported to {export_run(run)}")
