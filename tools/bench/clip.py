"""Step time of a CLIP training against open_clip's own loop: one model, batch, data and number of threads.

    python tools/bench/clip.py recipes/fashion20k_clip.yaml --steps 40

Both train the recipe's model on the recipe's split in fp32, in turn, in rounds. open_clip runs its `train_one_epoch`
over a torch DataLoader with its own preprocessing of the stored JPEGs (Pillow, RandomResizedCrop, tokenizer) and as
many workers as fastpt has decoding threads; its optimiser is AdamW as its training script makes it. With --fed both
get batches that lie in memory, so that the difference is the loop's alone. Prints JSON: the seconds a step of each
round, their ratio, and each one's share of the time spent waiting for data.
"""

import argparse
import io
import json
import logging
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import open_clip
import torch
from open_clip.loss import ClipLoss
from open_clip.transform import AugmentationCfg, image_transform
from open_clip_train.train import train_one_epoch
from PIL import Image

from fastpt import Dataset, Loader
from fastpt.recipe import Recipe, load_recipe
from fastpt.training import launch, loop
from fastpt.training.launch import Preemption
from fastpt.training.optim import build_optimizer, open_clip_decays
from fastpt.training.tasks.clip.task import MEAN, STD, Clip, build_model, model_config

WARM_UP = 5  # steps before the clock runs


class Pairs(torch.utils.data.Dataset):
    """The split as open_clip's data loading has it: a picture through its preprocessing, and its tokens."""

    def __init__(self, dataset: Dataset, recipe: Recipe, context: int):
        self.dataset, self.size = dataset, recipe.data.size
        self.captions = dataset.captions(range(len(dataset)))
        self.tokenizer = open_clip.SimpleTokenizer(context_length=context)
        self.preprocess = image_transform(
            recipe.data.size, is_train=True, mean=MEAN, std=STD, aug_cfg=AugmentationCfg(scale=recipe.data.scale)
        )

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        picture = Image.open(io.BytesIO(self.dataset.jpeg(row).tobytes()), formats=["JPEG"])
        return self.preprocess(picture), self.tokenizer([self.captions[row]])[0]


class Repeated:
    """The same batch again and again, at no cost."""

    def __init__(self, batch: object, steps: int):
        self.batch, self.steps = batch, steps

    def __iter__(self):
        return iter([self.batch] * self.steps)


class Steps:
    """When each step began: wraps what yields the batches."""

    def __init__(self, batches: object, steps: int, batch_size: int):
        self.batches, self.num_batches, self.num_samples = batches, steps, steps * batch_size
        self.waited, self.began = [], []

    def __iter__(self):
        source = iter(self.batches)
        for _ in range(self.num_batches):
            asked = time.perf_counter()
            batch = next(source)
            self.began.append(asked)
            self.waited.append(time.perf_counter() - asked)
            yield batch
        self.began.append(time.perf_counter())

    def measured(self) -> dict[str, float]:
        """Seconds a step after the warm-up, and the share of them spent waiting."""
        seconds = self.began[-1] - self.began[WARM_UP]
        return {"step": seconds / (self.num_batches - WARM_UP), "data_wait": sum(self.waited[WARM_UP:]) / seconds}


def of_open_clip(recipe: Recipe, steps: int, fed: bool, threads: int) -> dict[str, float]:
    """open_clip's loop."""
    torch.manual_seed(0)
    config = model_config(recipe.model, recipe.data.size)
    model, dataset = build_model(config), Dataset(recipe.data.train)
    pairs = Pairs(dataset, recipe, config["text_cfg"].get("context_length", 77))
    if fed:
        batches = Repeated(
            [torch.stack(part) for part in zip(*map(pairs.__getitem__, range(recipe.batch_size)), strict=True)], steps
        )
    else:
        batches = torch.utils.data.DataLoader(
            pairs, recipe.batch_size, shuffle=True, num_workers=threads, drop_last=True, persistent_workers=False
        )
    timed = Steps(batches, steps, recipe.batch_size)
    arguments = SimpleNamespace(
        device="cpu",
        precision="fp32",
        distill=False,
        accum_freq=1,
        skip_scheduler=True,
        horovod=False,
        grad_clip_norm=None,
        log_every_n_steps=10**9,
        rank=0,
        local_rank=0,
        world_size=1,
        batch_size=recipe.batch_size,
        wandb=False,
        tensorboard=False,
        log_local=False,
    )
    optimizer = build_optimizer(model, recipe.optim, open_clip_decays)
    data = {"train": SimpleNamespace(dataloader=timed, set_epoch=lambda epoch: None)}
    train_one_epoch(model, data, ClipLoss(), 0, optimizer, None, None, None, arguments)
    return timed.measured()


def of_fastpt(recipe: Recipe, steps: int, fed: bool, threads: int) -> dict[str, float]:
    """fastpt's loop, without evaluation, checkpoints and export."""
    dist_info = launch.start()
    torch.manual_seed(0)
    task = Clip(recipe, dist_info)
    data = recipe.data
    with (
        tempfile.TemporaryDirectory() as folder,
        Preemption(dist_info) as preemption,
        Loader(
            task.train_set,
            recipe.batch_size,
            data.size,
            scale=data.scale,
            interpolation=data.interpolation,
            flip=data.flip,
            decoder=data.decoder,
            seed=0,
            threads=threads,
        ) as loader,
    ):
        training = loop._Training(recipe, dist_info, task, loader, Path(folder), preemption, settings_sha256="")
        timed = Steps(Repeated(next(iter(loader)), steps) if fed else loader, steps, recipe.batch_size)
        batches = iter(timed)
        since = loop._Since()
        for step in range(steps):
            training._step(step, batches, since, logged=False)
        next(batches, None)
        training.record.close()
    return timed.measured()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="decoding threads or workers")
    parser.add_argument("--fed", action="store_true", help="batches from memory")
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe, ["engine.precision=fp32", "data.val=null", *arguments.set])
    logging.disable(logging.INFO)
    loops = {"fastpt": of_fastpt, "open_clip": of_open_clip}
    found = {name: [] for name in loops}
    for _ in range(arguments.rounds):
        for name, run in loops.items():
            found[name].append(run(recipe, arguments.steps + WARM_UP, arguments.fed, arguments.threads))
    medians = {
        name: {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
        for name, rounds in found.items()
    }
    ratio = medians["fastpt"]["step"] / medians["open_clip"]["step"]
    print(json.dumps({"rounds": found, "median": medians, "step_ratio": ratio}, indent=2))


if __name__ == "__main__":
    main()
