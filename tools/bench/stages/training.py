"""Training steps: fastpt's loop on DeepSpeed, with its record, against the loop that everybody writes.

Both have the same model, weights in channels_last, precision, AdamW, loss, batch, loader and threads.
"""

import itertools
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.bench.contest import Contest, Entry
from tools.bench.options import Options

if TYPE_CHECKING:
    from fastpt.recipe import Recipe

LOGGED = 10  # steps of a logged stretch
WARM_UP = 2  # stretches that do not count


def contests(options: Options, scratch: Path) -> Iterator[Contest]:
    """ResNets on the demo set, with pictures at no cost and with decoded ones."""
    from datasets_prep.convert import prepare
    from datasets_prep.listing import Found
    from datasets_prep.shard import Options as Prep
    from datasets_prep.sources.demo.scenes import demo_splits

    splits = [split for split in demo_splits(0) if split.name == "train"]
    next(prepare(Found.only(splits), scratch, "demo", Prep(), [], 2, 0.0, lambda *_: None))
    steps = options.sized(80, 40)
    models = ["resnet18"] if options.quick else ["resnet18", "resnet50"]
    for model, decoder in itertools.product(models, ("synthetic", "cpu")):
        recipe = {
            "task": "supervised",
            "data": {"train": str(scratch / "train"), "decoder": decoder, "size": 64},
            "model": {"name": model},
            "optim": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05},
            "schedule": {"steps": steps},
            "batch_size": 32,
            "log_every": LOGGED,
        }
        pictures = "grey pictures at no cost" if decoder == "synthetic" else "decoded pictures"
        what = f"{model} at 64 px, batches of 32, {steps} steps, {pictures}; the median of stretches of {LOGGED} steps."
        entries = [
            Entry("fastpt", f"{__name__}:ours", "fastpt", {"recipe": recipe}),
            Entry("plain loop", f"{__name__}:plain", "torch", {"recipe": recipe}),
        ]
        yield Contest("training", f"{model}, {pictures}", what, "pictures/s", entries, measure="value")


def checked(recipe: dict[str, Any]) -> "Recipe":
    from fastpt.config import validate
    from fastpt.recipe import recipe_schema

    return validate(recipe_schema(), {**recipe, recipe["task"]: recipe.get(recipe["task"], {})}, Path("bench.yaml"))


def trained_rate(recipe: "Recipe") -> float:
    """Pictures a second of a training by fastpt, the median of its logged stretches."""
    from fastpt.runs import read_run
    from fastpt.training.loop import train

    folder = Path(tempfile.mkdtemp())
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            lines = read_run(train(recipe, "bench", folder / "run")).train
        return statistics.median(line["images_per_second"] for line in lines[WARM_UP:])
    finally:
        shutil.rmtree(folder)


def ours(recipe: dict[str, Any]) -> Callable[[], float]:
    chosen = checked(recipe)
    return lambda: trained_rate(chosen)


def plain(recipe: dict[str, Any]) -> Callable[[], float]:
    """What one writes without a framework."""
    import timm
    import torch
    import torch.nn.functional as F

    from fastpt import Dataset, Loader
    from fastpt.augment.transforms import normalize
    from fastpt.training import launch
    from fastpt.training.optim import build_optimizer, timm_decays
    from fastpt.training.tasks.supervised.task import MEAN, STD

    chosen = checked(recipe)
    dist_info = launch.start()
    device = dist_info.device
    dataset = Dataset(recipe["data"]["train"])
    labels, data = torch.from_numpy(dataset.targets()), chosen.data
    cast = launch.precision(chosen, device) == "bf16"

    def batches(loader: Loader):
        for epoch in itertools.count():
            loader.set_epoch(epoch)
            yield from loader

    def run() -> float:
        model = timm.create_model(chosen.model.name, num_classes=len(dataset.classes)).to(device)
        model = model.to(memory_format=torch.channels_last)
        optimizer, rates = build_optimizer(model, chosen.optim, timm_decays(model)), []
        options = {"seed": 0, "decoder": data.decoder, "device": device}
        with Loader(dataset, chosen.batch_size, data.size, **options) as loader:
            source, steps = batches(loader), recipe["schedule"]["steps"]
            for _ in range(steps // LOGGED):
                began = time.perf_counter()
                for _ in range(LOGGED):
                    batch = next(source)
                    with torch.autocast(device.type, torch.bfloat16, enabled=cast):
                        logits = model(normalize(batch.images, MEAN, STD))
                        loss = F.cross_entropy(logits, labels[batch.sample_ids.cpu()].to(device))
                    loss.backward()
                    optimizer.step()
                    optimizer.zero_grad()
                loss.item()
                rates.append(LOGGED * chosen.batch_size / (time.perf_counter() - began))
        return statistics.median(rates[WARM_UP:])

    return run
