"""The rate at which this machine trains the recipes' models, with each decoder, for a few steps of each.

    python -m tools.bench.recipes PHOTOS.tar [--count 4096] [--steps 60]
        [--only resnet50_in1k_a2:synthetic] [--set engine.compile=true]

PHOTOS are prepared once (500 px, quality 90) and repeated to `count` samples of 1,000 classes with a caption each. A
recipe keeps its model, pictures, augmentation, optimiser and precision; the batch is one GPU's share. The table gives
the median pictures a second of the logged stretches of 10 steps, without the first two, the share of the time spent
waiting for pictures, and the most memory of the GPU.
"""

import contextlib
import io
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import torch

from tools.bench import machine
from tools.bench.pictures import prepared

if TYPE_CHECKING:
    from fastpt.recipe import Recipe

RECIPES = Path(__file__).parents[2] / "recipes"
LOGGED = 10  # steps
# Recipe: what one GPU takes at a time.
ROWS = {
    "resnet50_in1k_a2": ["batch_size=256"],
    "resnet50_in1k_a3": ["batch_size=256"],
    "resnet50_in1k_16epochs": ["batch_size=512"],
    "clip_yfcc": ["batch_size=1024"],
    "clip_vitb16_yfcc_cc12m": ["batch_size=1024", "engine.gradient_accumulation_steps=4"],
}
DECODERS = ("synthetic", "dali", "cpu")


@dataclass(frozen=True)
class Summary:
    """Of a training's logged stretches but the first two."""

    rate: float  # pictures a second, the median
    least: float
    most: float
    waiting: float  # share of the time spent waiting for pictures, the median
    memory: float | None  # GiB of the GPU, at most

    def __str__(self) -> str:
        memory = "" if self.memory is None else f", {self.memory:5.1f} GiB"
        spread = f"({self.least:,.0f} to {self.most:,.0f})"
        return f"{self.rate:8,.0f} pictures/s {spread}, waiting {self.waiting:4.0%}{memory}"


def trained(recipe: "Recipe", run: Path) -> list[dict]:
    """The logged lines of a training, made into the folder `run`."""
    from fastpt.runs import read_run
    from fastpt.training.run import train

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return read_run(train(recipe, run.name, run)).train


def summary(lines: list[dict]) -> Summary:
    rates, waits, memory = (
        [line[key] for line in lines[2:]] for key in ("images_per_second", "data_wait", "memory_gib")
    )
    known = [one for one in memory if one is not None]
    return Summary(
        statistics.median(rates), min(rates), max(rates), statistics.median(waits), max(known) if known else None
    )


def of_pictures(name: str, split: Path, decoder: str, *changes: str) -> "Recipe":
    """A recipe of this repository on a split with labels and captions: without noise, and measured on nothing."""
    from fastpt.recipe import load_recipe

    there = [f"data.train={split}", "data.val=null", "data.noise=0", f"data.decoder={decoder}"]
    if name.startswith("clip"):
        there.append("clip.zero_shot=null")
    return load_recipe(RECIPES / f"{name}.yaml", [*there, *changes])


def measure(name: str, split: Path, decoder: str, steps: int, changes: list[str], folder: Path) -> Summary:
    """A training of `steps` steps of a recipe."""
    fixed = [f"schedule={{steps: {steps}}}", f"log_every={LOGGED}", *ROWS[name]]
    return summary(trained(of_pictures(name, split, decoder, *fixed, *changes), folder / f"{name}-{decoder}"))


@click.command(help=__doc__)
@click.argument("photos", type=click.Path(path_type=Path))
@click.option("--count", default=4096)
@click.option("--steps", default=60)
@click.option("--only", multiple=True, help="RECIPE:DECODER")
@click.option("--set", "changes", multiple=True)
@machine.told()
def main(photos: Path, count: int, steps: int, only: tuple[str, ...], changes: tuple[str, ...]):
    pairs = [tuple(pair.split(":")) for pair in only] or [(name, decoder) for name in ROWS for decoder in DECODERS]
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"{card}, torch {torch.__version__}, {steps} steps {' '.join(changes)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        split = prepared(photos, folder, count, classes=1000, captions=True).path
        for recipe, decoder in pairs:
            torch.cuda.reset_peak_memory_stats() if torch.cuda.is_available() else None
            try:
                found = measure(recipe, split, decoder, steps, list(changes), folder)
            except Exception as error:  # the others go on
                print(f"{recipe:24} {decoder:10} {type(error).__name__}: {error}", flush=True)
                continue
            print(f"{recipe:24} {decoder:10} {found}", flush=True)


if __name__ == "__main__":
    main()
