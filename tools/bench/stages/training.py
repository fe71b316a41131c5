"""Training steps: fastpt's loop on DeepSpeed, with its record, against timm's and the loop that everybody writes.

All have the same model, weights in channels_last, precision, AdamW, loss, batch and threads. The plain loop has our
loader; timm has its own, with Pillow, on the stored JPEGs as files, and as many workers as fastpt has decoding threads.
timm's script is no part of its package: its data set, loader, task and optimiser are, and the steps are the script's.
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

from fastpt.processes import cores
from tools.bench.contest import Contest, Entry
from tools.bench.machine import threads
from tools.bench.options import Options

if TYPE_CHECKING:
    from fastpt.recipe import Recipe

LOGGED = 5  # steps of a logged stretch
WARM_UP = 2  # stretches that do not count
RECORD = "it keeps no record: DeepSpeed's gradient norm, the metrics and the state of the loader are in fastpt's time"


def contests(options: Options, scratch: Path) -> Iterator[Contest]:
    """ResNets on the demo set, with pictures at no cost and with decoded ones."""
    from datasets_prep.convert import prepare
    from datasets_prep.listing import Found
    from datasets_prep.shard import Options as Prep
    from datasets_prep.sources.demo.scenes import demo_splits

    splits = [split for split in demo_splits(0) if split.name == "train"]
    ((dataset, _),) = prepare(Found.only(splits), scratch, "demo", Prep(), [], 2, 0.0, lambda *_: None)
    files = str(scratch / "files")
    store_files(dataset, Path(files))
    decoded, grey = ("decoded pictures", "cpu"), ("grey pictures at no cost", "synthetic")
    rows = [("resnet18", 30, *decoded), ("resnet50", 20, *grey)]
    for model, steps, pictures, decoder in rows[:1] if options.quick else rows:
        recipe = {
            "task": "supervised",
            "data": {"train": str(dataset.path), "decoder": decoder, "size": 64, "threads": cores()},
            "model": {"name": model},
            "optim": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05},
            "schedule": {"steps": steps},
            "batch_size": 32,
            "log_every": LOGGED,
        }
        what = (
            f"{model} at 64 px, batches of 32, {steps} steps, {pictures}, {threads()} threads that compute, {cores()} "
            f"threads or workers that decode; the median of stretches of {LOGGED} steps, without the first {WARM_UP}."
        )
        entries = [
            Entry("fastpt", f"{__name__}:ours", "fastpt", {"recipe": recipe}),
            Entry("plain loop", f"{__name__}:plain", "torch", {"recipe": recipe}, RECORD),
            Entry("timm", f"{__name__}:of_timm", "timm", {"recipe": recipe, "files": files}, RECORD),
        ]
        yield Contest("training", f"{model}, {pictures}", what, "pictures/s", entries, measure="value")


def store_files(dataset, folder: Path) -> None:
    """The stored JPEGs as files in a folder of each class."""
    for i, label in enumerate(dataset.targets()):
        file = folder / dataset.classes[label] / f"{i:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(dataset.jpeg(i).tobytes())


def checked(recipe: dict[str, Any]) -> "Recipe":
    from fastpt.config import validate
    from fastpt.recipe import recipe_schema

    return validate(recipe_schema(), {**recipe, recipe["task"]: recipe.get(recipe["task"], {})}, Path("bench.yaml"))


def trained_rate(recipe: "Recipe") -> float:
    """Pictures a second of a training by fastpt, the median of its logged stretches."""
    from fastpt.runs import read_run
    from fastpt.training.run import train

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
        options = {"seed": 0, "decoder": data.decoder, "device": device, "threads": data.threads}
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


def of_timm(recipe: dict[str, Any], files: str) -> Callable[[], float]:
    """The steps of timm's train.py without the options that fastpt's recipe does not have."""
    import timm
    import torch
    from timm.data import ImageDataset, create_loader
    from timm.optim import create_optimizer_v2
    from timm.task import ClassificationTask
    from timm.utils import AverageMeter

    from fastpt.training import launch

    chosen = checked(recipe)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cast, size = launch.precision(chosen, device) == "bf16", chosen.data.size
    dataset = ImageDataset(files)
    labels = torch.zeros(chosen.batch_size, dtype=torch.int64, device=device)
    grey = torch.zeros(chosen.batch_size, 3, size, size, device=device)

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        if chosen.data.decoder == "synthetic":
            yield from itertools.repeat((grey, labels))
        loader = create_loader(
            dataset,
            (3, size, size),
            chosen.batch_size,
            is_training=True,
            color_jitter=0.0,
            num_workers=chosen.data.threads or cores(),
            device=device,
        )
        while True:
            yield from loader

    def run() -> float:
        model = timm.create_model(chosen.model.name, num_classes=len(dataset.reader.class_to_idx)).to(device)
        model = model.to(memory_format=torch.channels_last)
        optim = chosen.optim
        optimizer = create_optimizer_v2(model, optim.name, lr=optim.lr, weight_decay=optim.weight_decay)
        task = ClassificationTask(model, torch.nn.CrossEntropyLoss(), device=device, verbose=False)
        source, losses, rates = batches(), AverageMeter(), []
        for _ in range(recipe["schedule"]["steps"] // LOGGED):
            began = time.perf_counter()
            for _ in range(LOGGED):
                images, targets = next(source)
                images = images.contiguous(memory_format=torch.channels_last)
                with torch.autocast(device.type, torch.bfloat16, enabled=cast):
                    loss = task(images, targets)["loss"]
                loss.backward()
                optimizer.step()
                losses.update(loss.item(), len(images))
                optimizer.zero_grad()
            rates.append(LOGGED * chosen.batch_size / (time.perf_counter() - began))
        source.close()
        return statistics.median(rates[WARM_UP:])

    return run
