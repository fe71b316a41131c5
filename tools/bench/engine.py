"""A training step through fastpt's engine against a plain PyTorch loop of the same model, loader, optimiser and loss.

    python tools/bench/engine.py [--rounds 5] [--steps 12] [--batch-size 32]

Both train in turn, `rounds` times, in one process on one set of pictures; each training's first steps are left out.
The table gives the median time of a step and the median over rounds of the ratio of engine to plain loop.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
import yaml

from datasets_prep.convert import Options, prepare
from datasets_prep.sources.demo import demo_splits
from fastpt import Dataset, Loader
from fastpt.loading.batch_transforms import to_floats
from fastpt.recipe import Recipe, load_recipe
from fastpt.training import launch
from fastpt.training.engine import train
from fastpt.training.optimizer import build_optimizer
from fastpt.training.supervised import MEAN, STD

WARM_UP = 4  # steps left out


def recipe_of(folder: Path, split: Path, model: str, decoder: str, steps: int, batch: int) -> Recipe:
    values = {
        "task": "supervised", "data": {"train": str(split), "decoder": decoder, "size": 64}, "model": {"name": model},
        "optim": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05}, "schedule": {"steps": steps + WARM_UP},
        "batch_size": batch, "log_every": WARM_UP,
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return load_recipe(path)


def engine_step(recipe: Recipe, run: Path) -> float:
    """Seconds a step, through the engine."""
    train(recipe, "bench", run)
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rates = [event["images_per_second"] for event in events if event["event"] == "train" and event["step"] > WARM_UP]
    return recipe.batch_size / statistics.harmonic_mean(rates)


def plain_step(recipe: Recipe) -> float:
    """Seconds a step of the loop that everybody writes."""
    process = launch.start()
    dataset, data = Dataset(recipe.data.train), recipe.data
    labels = torch.from_numpy(dataset.targets(None, of="labels"))
    model = timm.create_model(recipe.model.name, num_classes=len(dataset.classes)).to(process.device)
    model = model.to(memory_format=torch.channels_last)
    optimizer = build_optimizer(model, recipe.optim)
    cast = launch.precision(recipe, process.device) == "bf16"
    with Loader(dataset, recipe.batch_size, data.size, seed=0, decoder=data.decoder, device=process.device) as loader:
        done = 0
        while done < recipe.schedule.steps:
            for batch in loader:
                if done == WARM_UP:
                    began = time.perf_counter()
                images = to_floats(batch.images, MEAN, STD)
                with torch.autocast(process.device.type, torch.bfloat16, enabled=cast):
                    loss = F.cross_entropy(model(images), labels[batch.sample_ids].to(process.device))
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                done += 1
                if done % WARM_UP == 0:
                    loss.item()  # logged as often as in the engine
                if done == recipe.schedule.steps:
                    return (time.perf_counter() - began) / (done - WARM_UP)
    raise AssertionError("the loop above returns")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=32)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        splits = [split for split in demo_splits(0) if split.name == "train"]
        next(prepare(splits, folder, "demo", Options(), [], 2, 0.0, lambda *_: None))
        rows = []
        for model in ("resnet18", "resnet50"):
            for decoder in ("synthetic", "ffcv"):
                recipe = recipe_of(folder, folder / "train", model, decoder, chosen.steps, chosen.batch_size)
                times = []
                for number in range(chosen.rounds):
                    run = folder / f"{model}-{decoder}-{number}"
                    times.append((engine_step(recipe, run), plain_step(recipe)))
                engine, plain = (statistics.median(column) for column in zip(*times, strict=True))
                ratios = sorted(one / other for one, other in times)
                rows.append((model, decoder, engine, plain, statistics.median(ratios), ratios[0], ratios[-1]))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, n = {chosen.rounds} rounds, 64 px, ", end="")
    print(f"batch {chosen.batch_size}, {chosen.steps} steps a round")
    print(f"{'model':10} {'decoder':10} {'engine':>10} {'plain':>10} {'ratio':>7}   range")
    for model, decoder, engine, plain, ratio, low, high in rows:
        print(
            f"{model:10} {decoder:10} {engine * 1e3:7.1f} ms {plain * 1e3:7.1f} ms {ratio:7.3f}   {low:.3f}-{high:.3f}"
        )


if __name__ == "__main__":
    main()
