"""Pre-training runs."""

import json
import os
import re
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

import click

from fastpt.cli.shared import FOLDER, JSON, OUTPUT, let_others_tell
from fastpt.storage.address import without_secrets


class HubModel(click.ParamType[str]):
    """hf://OWNER/NAME, as OWNER/NAME."""

    name = "model"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        found = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)", value, re.ASCII)
        if found is None:
            self.fail(f"{value!r} is no model of the hub. Write hf://OWNER/NAME.", param, ctx)
        return found[1]


@click.command()
@click.argument("recipe", type=FOLDER)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a recipe key: data.noise=0.3.")
@click.option("--run-dir", type=OUTPUT, help="Run folder (default: runs/<recipe>-<noise>-s<seed>).")
@click.option("--resume", is_flag=True, help="Go on from the newest whole checkpoint of the run.")
@click.option("--allow-changes", is_flag=True, help="Resume although the recipe, dataset or noise plan has changed.")
@click.option("--dry-run", is_flag=True, help="Say memory, time and disk after a few steps, and begin no run.")
@click.option("--find-batch", is_flag=True, help="Find by trying how large a piece of a step the GPU holds; no run.")
@JSON
def train(
    recipe: Path,
    overrides: tuple[str, ...],
    run_dir: Path | None,
    resume: bool,
    allow_changes: bool,
    dry_run: bool,
    find_batch: bool,
    as_json: bool,
) -> None:
    """Pre-train as RECIPE says. One process; several under torchrun, deepspeed or SLURM.

    SIGTERM saves the run and ends with exit code 75; --resume goes on from there.
    """
    if allow_changes and not resume:
        raise click.UsageError("--allow-changes is about a run that goes on; add --resume")
    if resume + dry_run + find_batch > 1:
        raise click.UsageError("--resume, --dry-run and --find-batch exclude one another; give one")
    if as_json and not dry_run:
        raise click.UsageError("--json is of --dry-run; add it")
    from fastpt.recipe import load_recipe

    loaded = load_recipe(recipe, list(overrides))
    if dry_run or find_batch:
        from fastpt.training import forecast

        if find_batch:
            forecast.find_batch(loaded, click.echo)
            return
        found = forecast.dry_run(loaded, recipe.stem, run_dir)
        if os.environ.get("RANK", "0") == "0":  # of several processes
            click.echo(json.dumps(asdict(found), indent=2) if as_json else "\n".join(found.lines()))
        return
    from fastpt.training.run import train as run_training

    try:
        command = without_secrets(shlex.join(["fastpt", *sys.argv[1:]]))
        run_training(loaded, recipe.stem, run_dir, resume, command, allow_changes)
    except RuntimeError as error:
        if re.search("closed by peer|reset by peer|Broken pipe", str(error)):  # gloo: another process has failed
            let_others_tell(is_first=False)
        raise


@click.command()
@click.argument("run", type=FOLDER)
@click.option("--best", is_flag=True, help="Of the best evaluation (checkpoint.keep_best) instead of the last step.")
@click.option(
    "--format",
    "store",
    type=click.Choice(["native", "hf"]),
    default="native",
    help="As timm and open_clip load it, or transformers.",
)
@click.option(
    "--push", type=HubModel(), metavar="hf://OWNER/NAME", help="Upload it to this model of the Hugging Face hub, too."
)
def export(run: Path, best: bool, store: str, push: str | None) -> None:
    """Write the weights of RUN as a timm or open_clip folder. It has a model card.

    \b
    fastpt export runs/NAME                                  runs/NAME/export, as timm or open_clip load it
    fastpt export runs/NAME --format hf                      runs/NAME/export-hf, as transformers loads it
    fastpt export runs/NAME --format hf --push hf://me/name  and uploads that; a new model there is private
    """
    from fastpt.training.export import export_run

    folder = export_run(run, best, for_transformers=store == "hf")
    click.echo(f"exported to {folder}")
    if push:
        from fastpt.training.hub import push_folder

        click.echo(f"pushed to {push_folder(folder, push)}")
