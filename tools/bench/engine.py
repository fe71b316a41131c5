"""A training step through fastpt's engine against a plain PyTorch loop of the same model, loader, optimiser and loss.

    python tools/bench/engine.py [--rounds 6] [--batch-size 32] [--size 64] [--models resnet18,resnet50]

Both live in one process and take single steps in turn, so that whatever else the machine does falls on both alike. A
round is 10 steps of each, the last of them logged (the engine then also computes the gradient's norm and writes its
record); the first round is left out. The table gives the median over rounds of the time of a step, and of the ratio of
engine to plain loop.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
import yaml

from datasets_prep.convert import prepare
from datasets_prep.listing import Found
from datasets_prep.shard import Options
from datasets_prep.sources.demo.scenes import demo_splits
from fastpt import Loader
from fastpt.augment.transforms import normalize
from fastpt.recipe import Recipe, load_recipe
from fastpt.training import launch, loop
from fastpt.training.launch import DistInfo, Preemption
from fastpt.training.optim import build_optimizer, timm_decays
from fastpt.training.tasks.supervised.task import MEAN, STD, Supervised

STEPS = 10  # of each in a round
Step = Callable[[int], None]  # takes the number of the step, from 0


def recipe_of(folder: Path, split: Path, model: str, decoder: str, batch: int, size: int) -> Recipe:
    values = {
        "task": "supervised",
        "data": {"train": str(split), "decoder": decoder, "size": size},
        "model": {"name": model},
        "optim": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05},
        "schedule": {"steps": 1000},
        "batch_size": batch,
        "log_every": STEPS,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return load_recipe(path)


def is_logged(step: int) -> bool:
    return (step + 1) % STEPS == 0


def engine_step(recipe: Recipe, dist_info: DistInfo, task: Supervised, loader: Loader, run: Path) -> Step:
    """The step of fastpt's own loop. `train` offers no single steps, hence the private names."""
    run.mkdir()
    training = loop._Training(recipe, dist_info, task, loader, run, Preemption(dist_info), settings_sha256="")
    batches, since = endless(loader), loop._Since()

    def step(number: int) -> None:
        loss, norm = training._step(number, batches, since, is_logged(number))
        training.step = number + 1
        if is_logged(number):
            training._log(training._finite(loss), norm, since)

    return step


def plain_step(recipe: Recipe, dist_info: DistInfo, task: Supervised, loader: Loader) -> Step:
    """The step of the loop that everybody writes."""
    model = timm.create_model(recipe.model.name, num_classes=len(task.train_set.classes)).to(dist_info.device)
    model = model.to(memory_format=torch.channels_last)
    optimizer = build_optimizer(model, recipe.optim, timm_decays(model))
    cast = launch.precision(recipe, dist_info.device) == "bf16"
    batches = endless(loader)

    def step(number: int) -> None:
        batch = next(batches)
        images = normalize(batch.images, MEAN, STD)
        with torch.autocast(dist_info.device.type, torch.bfloat16, enabled=cast):
            loss = F.cross_entropy(model(images), task.labels[batch.sample_ids.cpu()].to(dist_info.device))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if is_logged(number):
            loss.item()

    return step


def endless(loader: Loader):
    for epoch in itertools.count():
        loader.set_epoch(epoch)
        yield from loader


def seconds(step: Step, number: int) -> float:
    began = time.perf_counter()
    step(number)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def compare(recipe: Recipe, run: Path, rounds: int) -> list[tuple[float, float]]:
    """Seconds a step of engine and plain loop, of each round."""
    dist_info = launch.start()
    task, data = Supervised(recipe, dist_info), recipe.data
    loaders = [
        Loader(task.train_set, recipe.batch_size, data.size, seed=0, decoder=data.decoder, device=dist_info.device)
        for _ in range(2)
    ]
    with closing(loaders[0]), closing(loaders[1]):
        steps = engine_step(recipe, dist_info, task, loaders[0], run), plain_step(recipe, dist_info, task, loaders[1])
        found = []
        for number in range((rounds + 1) * STEPS):
            turn = (0, 1) if number % 2 else (1, 0)
            times = {which: seconds(steps[which], number) for which in turn}
            found.append((times[0], times[1]))
    cut = [found[first : first + STEPS] for first in range(STEPS, len(found), STEPS)]
    return [tuple(statistics.mean(column) for column in zip(*part, strict=True)) for part in cut]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--models", default="resnet18,resnet50")
    chosen = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        splits = [split for split in demo_splits(0) if split.name == "train"]
        next(prepare(Found.only(splits), folder, "demo", Options(), [], 2, 0.0, lambda *_: None))
        for model, decoder in itertools.product(chosen.models.split(","), ("synthetic", "cpu")):
            recipe = recipe_of(folder, folder / "train", model, decoder, chosen.batch_size, chosen.size)
            times = compare(recipe, folder / f"{model}-{decoder}", chosen.rounds)
            ratios = sorted(one / other for one, other in times)
            medians = [statistics.median(column) * 1e3 for column in zip(*times, strict=True)]
            rows.append((model, decoder, *medians, statistics.median(ratios), ratios[0], ratios[-1]))
    print(
        f"{torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'}, torch {torch.__version__}, "
        f"deepspeed {version('deepspeed')}, {torch.get_num_threads()} threads, {chosen.size} px, ",
        end="",
    )
    print(f"batch {chosen.batch_size}, n = {chosen.rounds} rounds of {STEPS} steps")
    print(f"{'model':10} {'decoder':10} {'engine':>10} {'plain':>10} {'ratio':>7}   range")
    for model, decoder, engine_ms, plain_ms, ratio, low, high in rows:
        print(f"{model:10} {decoder:10} {engine_ms:7.1f} ms {plain_ms:7.1f} ms {ratio:7.3f}   {low:.3f}-{high:.3f}")


if __name__ == "__main__":
    main()
