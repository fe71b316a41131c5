"""CLIP's training steps with pictures at no cost: fastpt's loop beside open_clip's own `train_one_epoch`.

Both have one model, AdamW, precision, batch and device, are compiled or not, and get pictures of one colour: open_clip
as floats on the device, fastpt as its `synthetic` decoder gives them, with its tokens looked up.
"""

import logging
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tools.bench.stages.training import LOGGED, WARM_UP, checked, trained_rate


def recipe(
    split: Path, model: dict[str, Any], size: int, batch: int, steps: int, precision: str, compiled: bool
) -> Any:
    """The recipe of both, in fastpt's words."""
    return checked(
        {
            "task": "clip",
            "data": {"train": str(split), "size": size, "decoder": "synthetic"},
            "model": model,
            "optim": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.1},
            "schedule": {"steps": steps},
            "batch_size": batch,
            "engine": {"precision": precision, "compile": compiled},
            "log_every": LOGGED,
            "clip": {"memorization_samples": 0},
        }
    )


def rates(chosen: Any) -> dict[str, float]:
    """Pictures a second of either."""
    return {"fastpt": trained_rate(chosen), "open_clip": open_clip_rate(chosen)}


def open_clip_rate(chosen: Any) -> float:
    """Of open_clip's loop, after the same warm-up: the median of stretches between two batches asked for."""
    import torch
    from open_clip.loss import ClipLoss
    from open_clip_train.train import train_one_epoch

    from fastpt.training import launch
    from fastpt.training.optim import build_optimizer, open_clip_decays
    from fastpt.training.tasks.clip.task import build_model, model_config
    from fastpt.training.tokens import VOCABULARY

    logging.disable(logging.INFO)
    torch.backends.cudnn.benchmark = True  # as its own main has it
    device = launch.start().device
    config = model_config(chosen.model, chosen.data.size)
    size, steps, gpu = chosen.batch_size, chosen.schedule.steps, device.type == "cuda"
    model: Any = build_model(config).to(device)
    side, context = chosen.data.size, config["text_cfg"].get("context_length", 77)
    batch = torch.rand(size, 3, side, side).to(device), torch.randint(1, VOCABULARY, (size, context)).to(device)
    timed = Stretches(batch, steps, size, torch.cuda.synchronize if gpu else lambda: None)
    arguments = loop_arguments(size, LOGGED, str(device), "amp_bf16" if chosen.engine.precision == "bf16" else "fp32")
    data = {"train": SimpleNamespace(dataloader=timed, set_epoch=lambda epoch: None)}
    optimizer = build_optimizer(model, chosen.optim, open_clip_decays, fused=True if gpu else None)
    run = torch.compile(model) if chosen.engine.compile else model
    train_one_epoch(run, data, ClipLoss(), 0, optimizer, None, None, None, arguments)
    stretches = [LOGGED * size / (end - start) for start, end in pairwise(timed.began)]
    return statistics.median(stretches[WARM_UP:])


class Stretches:
    """A batch over and over; when each stretch of `LOGGED` began, the device having done all it was asked to before."""

    def __init__(self, batch: Any, count: int, size: int, wait: Callable[[], Any]):
        self.batch, self.num_batches, self.num_samples = batch, count, count * size
        self.wait, self.began = wait, list[float]()

    def __iter__(self) -> Iterator[Any]:
        for number in range(self.num_batches):
            if number % LOGGED == 0:
                self._note()
            yield self.batch
        self._note()

    def _note(self) -> None:
        self.wait()
        self.began.append(time.perf_counter())


def loop_arguments(batch_size: int, logged: int, device: str = "cpu", precision: str = "fp32") -> SimpleNamespace:
    """What open_clip's `train_one_epoch` asks of its command line: one process, a fixed rate, a line each `logged`."""
    return SimpleNamespace(
        device=device,
        precision=precision,
        distill=False,
        accum_freq=1,
        skip_scheduler=True,
        horovod=False,
        grad_clip_norm=None,
        log_every_n_steps=logged,
        rank=0,
        local_rank=0,
        world_size=1,
        batch_size=batch_size,
        wandb=False,
        tensorboard=False,
        log_local=False,
    )
