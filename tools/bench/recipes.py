"""The rate at which this machine trains the recipes' models, with each decoder, for a few steps of each.

    python -m tools.bench.recipes PHOTOS.tar [--count 4096] [--steps 60] [--cudnn-benchmark]
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
from pathlib import Path

import click
import torch

from tools.bench import machine
from tools.bench.pictures import prepared

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


def measure(name: str, split: Path, decoder: str, steps: int, changes: list[str], folder: Path) -> list[dict]:
    """The logged lines of a training of `steps` steps."""
    from fastpt.recipe import load_recipe
    from fastpt.runs import read_run
    from fastpt.training.loop import train

    overrides = [
        f"data.train={split}",
        "data.val=null",
        "data.noise=0",
        f"data.decoder={decoder}",
        f"schedule={{steps: {steps}}}",
        f"log_every={LOGGED}",
        *ROWS[name],
        *changes,
    ]
    if name.startswith("clip"):
        overrides.append("clip.zero_shot=null")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        run = train(load_recipe(RECIPES / f"{name}.yaml", overrides), name, folder / f"{name}-{decoder}")
    return read_run(run).train


@click.command(help=__doc__)
@click.argument("photos", type=click.Path(path_type=Path))
@click.option("--count", default=4096)
@click.option("--steps", default=60)
@click.option("--cudnn-benchmark", is_flag=True)
@click.option("--only", multiple=True, help="RECIPE:DECODER")
@click.option("--set", "changes", multiple=True)
@machine.told()
def main(photos: Path, count: int, steps: int, cudnn_benchmark: bool, only: tuple[str, ...], changes: tuple[str, ...]):
    torch.backends.cudnn.benchmark = cudnn_benchmark
    pairs = [tuple(pair.split(":")) for pair in only] or [(name, decoder) for name in ROWS for decoder in DECODERS]
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"{card}, torch {torch.__version__}, {steps} steps, cudnn.benchmark {cudnn_benchmark} {' '.join(changes)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        split = prepared(photos, folder, count, classes=1000, captions=True).path
        for recipe, decoder in pairs:
            torch.cuda.reset_peak_memory_stats() if torch.cuda.is_available() else None
            try:
                lines = measure(recipe, split, decoder, steps, list(changes), folder)[2:]
            except Exception as error:  # the others go on
                print(f"{recipe:24} {decoder:10} {type(error).__name__}: {error}", flush=True)
                continue
            rate, waited, memory = (
                [line[key] for line in lines] for key in ("images_per_second", "data_wait", "memory_gib")
            )
            print(
                f"{recipe:24} {decoder:10} {statistics.median(rate):8,.0f} pictures/s ({min(rate):,.0f} to "
                f"{max(rate):,.0f}), waiting {statistics.median(waited):4.0%}, {max(memory):5.1f} GiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
