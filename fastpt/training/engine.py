"""The training loop, one for both tasks, on DeepSpeed: one process to many nodes.

Nothing in a step depends on history but the weights, the optimiser and the loader's place: the learning rate is a
function of the step, and the random generators are seeded anew from (seed, step, piece, rank). So a run that was
killed and resumed on the same machine repeats its losses, bit for bit on a CPU.
"""

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch

from fastpt import Batch, Loader
from fastpt.errors import FastptError
from fastpt.recipe import Recipe
from fastpt.training import checkpoint, launch
from fastpt.training.clip import Clip
from fastpt.training.evaluation import average_statistics, sum_over_processes
from fastpt.training.export import export_run
from fastpt.training.launch import Process, on_first
from fastpt.training.optimizer import build_optimizer
from fastpt.training.record import Record, is_finished, open_run, provenance, run_folder
from fastpt.training.schedule import learning_rate, warmup_steps
from fastpt.training.supervised import Supervised

TASKS = {"supervised": Supervised, "clip": Clip}


def train(
    recipe: Recipe, recipe_name: str, run_dir: Path | None = None, resume: bool = False, command: str = ""
) -> Path:
    """Train, evaluate, checkpoint and export as `recipe` says; return the run's folder.

    With `resume`, a run that was stopped goes on from its newest whole checkpoint, and one that is finished is
    returned as it is. Every process of a distributed training calls this. Raises FastptError for whatever the user can
    mend, before training starts where it can be known then.
    """
    process = launch.start()
    torch.manual_seed(recipe.seed)  # the weights' initial values
    task = TASKS[recipe.task](recipe, process)
    run = run_dir or run_folder(recipe, recipe_name, task.noise)
    with contextlib.closing(_loader(recipe, task, process)) as loader, _alone(run, process):
        origin = provenance(recipe, recipe_name, task.train_set, task.noise, command, process.world_size)
        if resume and on_first(process, lambda: not checkpoint.candidates(run)):
            _say(process, f"{run} has no checkpoint to resume from: starting at step 0.")
        on_first(process, lambda: open_run(run, recipe, origin, resume))
        if on_first(process, lambda: is_finished(run)):
            _say(process, f"{run} is finished already.")
            return run
        _Training(recipe, process, task, loader, run).go()
    return run


@contextlib.contextmanager
def _alone(run: Path, process: Process) -> Iterator[None]:
    """Keep a second training out of the folder. The lock ends with the process, however that ends."""
    lock = filelock.FileLock(run / ".lock")

    def take() -> None:
        run.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise FastptError(
                f"another training is writing to {run}. Wait for it, or name another --run-dir."
            ) from None

    on_first(process, take)
    try:
        yield
    finally:
        lock.release()


def _loader(recipe: Recipe, task: Any, process: Process) -> Loader:
    data = recipe.data
    if recipe.batch_size > len(task.train_set):
        raise FastptError(
            f"batch_size {recipe.batch_size} is more than the {len(task.train_set)} samples of {data.train}. "
            "Use a smaller batch_size."
        )
    return Loader(
        task.train_set, recipe.micro_batch(process.world_size), data.size, crop="random", scale=data.scale,
        filter=data.filter, flip=data.flip, decoder=data.decoder, device=process.device, order=data.order,
        seed=recipe.seed, rank=process.rank, world_size=process.world_size, threads=data.threads,
        repeats=recipe.augment.repeats if recipe.augment else 1,
    )  # fmt: skip


def _say(process: Process, text: str) -> None:
    if process.is_first:
        print(text, flush=True)


def _seed_step(*key: int) -> None:
    """Seed torch's and numpy's global generators: mixup, RandAugment, drop-path and dropout draw from them."""
    first, second = np.random.SeedSequence(key).generate_state(2)
    torch.manual_seed(int(first))
    np.random.seed(int(second))  # noqa: NPY002  (timm's Mixup draws from the legacy generator)


@dataclass
class _Since:
    """What has passed since the last logged step."""

    steps: int = 0
    waited: float = 0.0  # seconds spent waiting for the loader
    began: float = 0.0

    @classmethod
    def now(cls) -> "_Since":
        return cls(began=time.monotonic())


class _Training:
    """One training in progress: the DeepSpeed engine, where it stands, and its record."""

    def __init__(self, recipe: Recipe, process: Process, task: Any, loader: Loader, run: Path):
        import deepspeed

        self.recipe, self.process, self.task, self.loader, self.run = recipe, process, task, loader, run
        self.steps_per_epoch = len(loader) // recipe.engine.accumulate
        self.total = self.steps_per_epoch * recipe.schedule.epochs
        self.warmup = warmup_steps(recipe.schedule, self.steps_per_epoch)
        precision = launch.precision(recipe, process.device)
        if precision != recipe.engine.precision:
            _say(process, f"This processor has no bf16 instructions: training in {precision}.")
        model = task.model.to(process.device)
        self.engine, self.optimizer, _, _ = deepspeed.initialize(
            model=model, optimizer=build_optimizer(model, recipe.optim), dist_init_required=False,
            config=launch.deepspeed_config(recipe, process.world_size, precision),
        )  # fmt: skip
        if recipe.engine.zero == 0:  # after DeepSpeed's start, which views the weights as bytes; ZeRO flattens them
            self.engine.module.to(memory_format=torch.channels_last)
        if recipe.engine.zero == 0:
            # Not earlier: DeepSpeed broadcasts weights as contiguous bytes. Not under ZeRO: there weights are views of
            # flat buffers, and convolutions take the layout from the pictures alone.
            model.to(memory_format=torch.channels_last)
        state, messages = checkpoint.load(run, self.engine, process, recipe.engine.zero)
        for message in messages:
            _say(process, message)
        self.step = state["step"] if state else 0
        self.seconds_before = state["seconds"] if state else 0.0
        if state:
            _say(process, f"Resuming {run} at step {self.step} of {self.total}.")
            loader.load_state_dict(state["loader"])
        self.began = time.monotonic()
        self.record = Record(run, self.step, self.total) if process.is_first else None

    def go(self) -> None:
        """Train to the end, then export. A checkpoint at the last step has been written before the export."""
        _say(
            self.process,
            f"Training {self.run}: {self.total} steps of {self.recipe.batch_size} samples, "
            f"{self.process.world_size} process(es) on {self.process.device.type}.",
        )
        try:
            while self.step < self.total:
                self._epoch()
            on_first(self.process, self._finish)
        finally:
            if self.record:
                self.record.close()

    def _epoch(self) -> None:
        """From where training stands to the end of the epoch."""
        epoch = self.step // self.steps_per_epoch
        self.loader.set_epoch(epoch)
        batches, since = iter(self.loader), _Since.now()
        for step in range(self.step, (epoch + 1) * self.steps_per_epoch):
            logged = (step + 1) % self.recipe.log_every == 0 or step + 1 == self.total
            loss, norm = self._step(step, batches, since, logged)
            self.step = step + 1
            if logged:
                self._log(loss, norm, since)
                since = _Since.now()
            epoch_ends = self.step % self.steps_per_epoch == 0
            if epoch_ends and ((epoch + 1) % self.recipe.evaluate.every_epochs == 0 or self.step == self.total):
                self._evaluate(epoch + 1)
                since = _Since.now()
            if self._checkpoint_is_due(epoch_ends):
                self._save()
                since = _Since.now()

    def _step(self, step: int, batches: Iterator[Batch], since: _Since, logged: bool) -> tuple[torch.Tensor, float]:
        """One optimiser step: this process's loss (a tensor, as reading it would wait) and, if logged, the norm."""
        recipe, norm = self.recipe, math.nan
        rate = learning_rate(step, self.total, self.warmup, recipe.optim.lr, recipe.schedule.min_lr)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = torch.zeros((), device=self.process.device)
        for piece in range(recipe.engine.accumulate):
            asked = time.monotonic()
            batch = next(batches)
            since.waited += time.monotonic() - asked
            _seed_step(recipe.seed, step, piece, self.process.rank)
            piece_loss = self.task.loss(self.engine, batch)
            self.engine.backward(piece_loss)
            loss += piece_loss.detach() / recipe.engine.accumulate
            if logged and piece + 1 == recipe.engine.accumulate:
                norm = self._gradient_norm()
            self.engine.step()
        self.task.after_step()
        since.steps += 1
        return loss, norm

    def _gradient_norm(self) -> float:
        """The norm of the step's gradient, before clipping; NaN under ZeRO, which keeps pieces of it only."""
        if self.recipe.engine.zero:
            return math.nan
        gradients = [parameter.grad for parameter in self.engine.module.parameters() if parameter.grad is not None]
        return torch.nn.utils.get_total_norm(gradients).item()

    def _log(self, loss: torch.Tensor, norm: float, since: _Since) -> None:
        mean = (sum_over_processes(loss.detach().cpu(), self.process) / self.process.world_size).item()
        if not math.isfinite(mean):
            last = next((str(path) for path in checkpoint.candidates(self.run)), "none yet")
            raise FastptError(
                f"the loss is {mean} at step {self.step}. The last checkpoint is {last}. "
                "Lower optim.lr, warm up longer, or set engine.gradient_clipping."
            )
        seconds = time.monotonic() - since.began
        if self.record:
            self.record.train(
                step=self.step, samples=self.step * self.recipe.batch_size, epoch=self.step / self.steps_per_epoch,
                loss=mean, lr=float(self.optimizer.param_groups[0]["lr"]),
                images_per_second=since.steps * self.recipe.batch_size / seconds, data_wait=since.waited / seconds,
                grad_norm=norm if math.isfinite(norm) else None, seconds=self._seconds(),
            )  # fmt: skip

    def _evaluate(self, epoch: int) -> None:
        average_statistics(self.engine.module, self.process)
        self.engine.eval()
        results = self.task.evaluate(self.engine)
        self.engine.train()
        if self.record:
            for split, measures in results.items():
                self.record.evaluation(step=self.step, epoch=epoch, split=split, **measures)

    def _checkpoint_is_due(self, epoch_ends: bool) -> bool:
        when = self.recipe.checkpoint
        if self.step == self.total:
            return True
        if when.every_steps:
            return self.step % when.every_steps == 0
        return epoch_ends and (self.step // self.steps_per_epoch) % when.every_epochs == 0

    def _save(self) -> None:
        average_statistics(self.engine.module, self.process)
        state = {"step": self.step, "loader": self.loader.state_dict(), "seconds": self._seconds()}
        checkpoint.save(self.run, self.engine, self.process, state, self.recipe.checkpoint.keep)

    def _finish(self) -> None:
        folder = export_run(self.run)
        last = [event for event in self.record.evaluations if event["step"] == self.total]
        results = {
            event["split"]: {name: value for name, value in event.items() if name not in _PLACE} for event in last
        }
        self.record.end(
            step=self.total, samples=self.total * self.recipe.batch_size, epoch=self.recipe.schedule.epochs,
            seconds=self._seconds(), results=results,
        )  # fmt: skip
        _say(self.process, f"Finished in {self._seconds():.0f} s: {self.run}, exported to {folder}.")

    def _seconds(self) -> float:
        """Seconds trained, those before a resume included."""
        return self.seconds_before + time.monotonic() - self.began


_PLACE = ("event", "step", "epoch", "split")
