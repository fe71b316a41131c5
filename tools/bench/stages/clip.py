"""CLIP's training steps: fastpt's loop against open_clip's own `train_one_epoch`, fp32, one model, split and batch.

open_clip reads through a torch DataLoader with its own preprocessing of the same stored JPEGs (Pillow,
RandomResizedCrop, tokenizer) and as many workers as fastpt has decoding threads.
"""

import io
import logging
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fastpt.processes import cores
from tools.bench.clip_loops import loop_arguments
from tools.bench.contest import Contest, Entry
from tools.bench.machine import threads
from tools.bench.options import Options
from tools.bench.pictures import prepared
from tools.bench.stages.training import WARM_UP, checked, trained_rate

LOGGED = 5  # steps of a logged stretch
TOWER = {
    "embed_dim": 256,
    "vision_cfg": {
        "timm_model_name": "resnet18",
        "timm_model_pretrained": False,
        "timm_pool": "",
        "timm_proj": "linear",
    },
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 256, "heads": 4, "layers": 4},
    "custom_text": True,
}


def contests(options: Options, scratch: Path) -> Iterator[Contest]:
    """A small CLIP on photos with captions."""
    tar, steps = options.tar("photos_fullsize.tar"), options.sized(20, 15)
    dataset = prepared(tar, scratch, 512, captions=True)
    recipe = {
        "task": "clip",
        "data": {"train": str(dataset.path), "size": 64, "threads": cores()},
        "model": {"name": "small", "config": TOWER},
        "optim": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.1},
        "schedule": {"steps": steps},
        "batch_size": 32,
        "engine": {"precision": "fp32"},
        "log_every": LOGGED,
        "clip": {"memorization_samples": 0},
    }
    what = (
        f"ResNet-18 and a text tower of width 256 on photos at 64 px, batches of 32, {steps} steps, {cores()} threads "
        f"or workers that decode, {threads()} that compute, fp32; the median of "
        f"stretches of {LOGGED} steps, without the first {WARM_UP}."
    )
    entries = [
        Entry("fastpt", f"{__name__}:ours", "fastpt", {"recipe": recipe}),
        Entry("open_clip", f"{__name__}:open_clip", "open_clip", {"recipe": recipe}),
    ]
    yield Contest("clip", "small CLIP", what, "pictures/s", entries, measure="value")


def ours(recipe: dict[str, Any]) -> Callable[[], float]:
    chosen = checked(recipe)
    return lambda: trained_rate(chosen)


class Pairs:
    """The split as open_clip's data loading has it: a picture through its preprocessing, and its tokens."""

    def __init__(self, path: str, size: int, context: int):
        import open_clip as library
        from open_clip.transform import AugmentationCfg, image_transform

        from fastpt import Dataset

        self.dataset = Dataset(path)
        self.captions = self.dataset.captions(range(len(self.dataset)))
        self.tokenizer = library.SimpleTokenizer(context_length=context)
        augment = AugmentationCfg(scale=(0.08, 1.0))
        self.preprocess = image_transform(size, is_train=True, aug_cfg=augment)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int):
        from PIL import Image

        picture = Image.open(io.BytesIO(self.dataset.jpeg(row).tobytes()), formats=["JPEG"])
        return self.preprocess(picture), self.tokenizer([self.captions[row]])[0]


class Steps:
    """Batches of a loader, over and over, and when each was asked for."""

    def __init__(self, batches, count: int, size: int):
        self.batches, self.num_batches, self.num_samples, self.asked = batches, count, count * size, []

    def __iter__(self):
        source = iter(self.batches)
        for _ in range(self.num_batches):
            self.asked.append(time.perf_counter())
            try:
                batch = next(source)
            except StopIteration:
                source = iter(self.batches)
                batch = next(source)
            yield batch
        self.asked.append(time.perf_counter())


def open_clip(recipe: dict[str, Any]) -> Callable[[], float]:
    import torch
    from open_clip.loss import ClipLoss
    from open_clip_train.train import train_one_epoch
    from torch.utils.data import DataLoader

    from fastpt.training.optim import build_optimizer, open_clip_decays
    from fastpt.training.tasks.clip.task import build_model, model_config

    logging.disable(logging.INFO)
    chosen = checked(recipe)
    config = model_config(chosen.model, chosen.data.size)
    pairs = Pairs(recipe["data"]["train"], chosen.data.size, config["text_cfg"]["context_length"])
    size, steps = chosen.batch_size, recipe["schedule"]["steps"]
    arguments = loop_arguments(size, LOGGED)

    def run() -> float:
        model = build_model(config)
        loader: Any = DataLoader(
            pairs, size, shuffle=True, num_workers=chosen.data.threads, drop_last=True, persistent_workers=True
        )
        timed = Steps(loader, steps, size)
        data = {"train": SimpleNamespace(dataloader=timed, set_epoch=lambda epoch: None)}
        optimizer = build_optimizer(model, chosen.optim, open_clip_decays)
        train_one_epoch(model, data, ClipLoss(), 0, optimizer, None, None, None, arguments)
        stretches = pairwise(timed.asked[WARM_UP * LOGGED :: LOGGED])
        return statistics.median(LOGGED * size / (after - before) for before, after in stretches)

    torch.manual_seed(0)
    return run
