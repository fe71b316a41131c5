"""The training loop, one for all tasks, on DeepSpeed: one process to many nodes.

Nothing in a step depends on history but the weights, the optimiser and the loader's place: the learning rate is a
function of the step, and the random generators are seeded anew from (seed, step, rank, piece). So a run that was
killed and resumed on the same machine repeats its losses, bit for bit on a CPU.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from fastpt import Batch, Loader, rng
from fastpt.errors import FastptError, Preempted, RecipeError
from fastpt.recipe import Recipe
from fastpt.runs import read_metrics
from fastpt.runs.folder import SAMPLES
from fastpt.training import checkpoint, launch, memory
from fastpt.training.config import TrainingPrecision
from fastpt.training.deepspeed_adapter import Engine
from fastpt.training.dynamics import Recorder
from fastpt.training.evaluation import sum_over_processes
from fastpt.training.export import export_run
from fastpt.training.launch import DistInfo, Preemption, on_rank_zero, say
from fastpt.training.log import MetricsLogger
from fastpt.training.optim import build_optimizer
from fastpt.training.pace import Pace, Since
from fastpt.training.schedule import learning_rate, total_steps, warmup_steps
from fastpt.training.tasks import TASKS
from fastpt.training.tasks.kind import Task
from fastpt.training.weights import Ema, average_batch_norm, full_state_dict


def _seed_step(*key: int) -> None:
    """Seed torch's and numpy's global generators: mixup, RandAugment, drop-path and dropout draw from them."""
    first, second = rng.seed_sequence(*key).generate_state(2)
    torch.manual_seed(int(first))
    np.random.seed(int(second))  # noqa: NPY002  (timm's Mixup draws from the legacy generator)


class Training:
    """One training in progress: the DeepSpeed engine, where it stands, and its record."""

    def __init__(
        self,
        recipe: Recipe,
        dist_info: DistInfo,
        task: Task,
        loader: Loader,
        run: Path,
        preemption: Preemption,
        settings_sha256: str,
    ):
        self.recipe, self.dist_info, self.task, self.loader, self.run = recipe, dist_info, task, loader, run
        self.preemption, self.settings_sha256 = preemption, settings_sha256
        self.steps_per_epoch = len(task.train_set) // recipe.batch_size
        # The loader's own epoch is shorter where data.keep leaves samples out, and steps are held fixed.
        self.steps_per_pass = len(task.trained_on) // recipe.batch_size
        self.total = total_steps(recipe.schedule, self.steps_per_epoch, recipe.batch_size)
        self.warmup = warmup_steps(recipe.schedule, self.steps_per_epoch)
        if self.warmup >= self.total:
            raise RecipeError(
                f"the schedule's warm-up of {self.warmup} steps leaves nothing of its {self.total} steps. "
                "Set schedule.warmup_steps or warmup_epochs lower, or train longer."
            )
        self.precision: TrainingPrecision = launch.precision(recipe, dist_info.device)
        if self.precision != recipe.engine.precision:
            say(dist_info, f"This processor has no bf16 instructions: training in {self.precision}.")
        self.evaluated_in: TrainingPrecision = launch.available(recipe.evaluate.precision, dist_info.device)
        self.step, self.lines, self.seconds_before, self.best = 0, 0, 0.0, None
        self.observed = Recorder(run, recipe, task, TASKS.get(recipe.task).of, dist_info)
        self.saved: int | None = None  # the step of the newest checkpoint that this process knows of
        self._start()
        self.pace = Pace()
        self.began = time.monotonic()
        self.record = MetricsLogger(run, recipe, self.step, self.total, self.lines) if dist_info.is_rank_zero else None

    def _start(self) -> None:
        """Make the engine, and put the newest whole checkpoint into it if there is one."""
        recipe, dist_info = self.recipe, self.dist_info
        found, messages = on_rank_zero(dist_info, lambda: checkpoint.newest_intact(self.run))
        for message in messages:
            say(dist_info, message)
        convert = found is not None and checkpoint.needs_conversion(found, dist_info, recipe)
        with memory.enough_for_weights(recipe, dist_info.device):
            model = self.task.model.to(dist_info.device)
            self.ema = Ema(model, recipe.ema) if recipe.ema else None
            # ZeRO gives the optimiser few and large tensors, for which nothing is gained.
            fused = True if dist_info.device.type == "cuda" and recipe.engine.zero_stage == 0 else None
            optimizer = build_optimizer(model, recipe.optim, self.task.decays, fused)
            self.engine = Engine(model, optimizer, recipe, dist_info.world_size, self.precision, convert)
        if found is None:
            self.observed.begin(0, {})
            return
        on_rank_zero(dist_info, lambda: checkpoint.check_is_of(self.run, found))
        state = checkpoint.read_state(found)
        self.step, self.lines, self.seconds_before = state["step"], state["lines"], state["seconds"]
        if state["best"] and self.recipe.checkpoint.keep_best in state["best"]:  # of another measure it is none
            self.best = state["best"]
        self.saved = self.step
        say(dist_info, f"Resuming {self.run} at step {self.step} of {self.total}.")
        self.loader.load_state_dict(state["loader"])
        if self.observed.begin(self.step // self.steps_per_pass, checkpoint.read_seen(found)):
            say(dist_info, f"{self.run / SAMPLES}: earlier epochs are of other data, or damaged: left empty.")
        checkpoint.load(found, self.engine, dist_info, convert)
        if self.ema:
            self.ema.module.load_state_dict(checkpoint.read_weights(found))

    def go(self) -> None:
        """Train to the end, then export. A checkpoint at the last step has been written before the export."""
        say(
            self.dist_info,
            f"Training {self.run}: {self.total} steps of {self.recipe.batch_size} samples, "
            f"{self.dist_info.world_size} process(es) on {self.dist_info.device.type}, {self.loader.threads} decoding "
            "thread(s) each.",
        )
        try:
            while self.step < self.total:
                with memory.enough_for_steps(self.recipe, self.dist_info.world_size, self.dist_info.device):
                    self._epoch()
            if self.total % self.steps_per_pass:
                self.observed.write(self.total // self.steps_per_pass)
            on_rank_zero(self.dist_info, self._finish)
        finally:
            if self.record:
                self.record.close()

    def try_steps(self, most: int, seconds: float = math.inf) -> list[float]:
        """Make up to so many steps, until about so many seconds have passed; return the seconds of each."""
        batches, since, took = self._endless(), Since(), []
        while len(took) < most and sum(took) < seconds:
            began = time.monotonic()
            loss, _ = self._step(self.step, batches, since, logged=False)
            self.step += 1
            self._finite(loss)  # which waits for the device, and, so that all make as many steps, for all processes
            took_here = torch.tensor([time.monotonic() - began])
            took.append(sum_over_processes(took_here, self.dist_info).item() / self.dist_info.world_size)
        return took

    def _endless(self) -> Iterator[Batch]:
        while True:
            yield from self.loader

    def _epoch(self) -> None:
        """From where training stands to the end of the epoch, or of the pass over what is kept of the split."""
        epoch, loaded = self.step // self.steps_per_epoch, self.step // self.steps_per_pass
        self.loader.set_epoch(loaded)
        self.loader.set_size(self.recipe.data.size_in(epoch))
        batches, since = iter(self.loader), Since()
        end = min((epoch + 1) * self.steps_per_epoch, (loaded + 1) * self.steps_per_pass, self.total)
        for step in range(self.step, end):
            logged = (step + 1) % self.recipe.log_every == 0 or step + 1 == self.total
            loss, norm = self._step(step, batches, since, logged)
            self.step = step + 1
            if self.step == (loaded + 1) * self.steps_per_pass:
                self.observed.write(loaded)
            epoch_ends = self.step % self.steps_per_epoch == 0
            measured = self.step == self.total or (epoch_ends and (epoch + 1) % self.recipe.evaluate.every_epochs == 0)
            if logged or measured:
                mean_loss = self._finite(loss)
                if logged:
                    self._log(mean_loss, norm, since)
                    since = Since()
            is_best = False
            if measured:
                is_best = self._evaluate()
                since = Since()
            if is_best or self._checkpoint_is_due(epoch_ends):
                self._save()
                since = Since()
            if self.preemption.agreed() and self.step < self.total:
                self._leave()

    def _step(self, step: int, batches: Iterator[Batch], since: Since, logged: bool) -> tuple[torch.Tensor, float]:
        """One optimiser step: this process's loss (a tensor, as reading it would wait) and, if logged, the norm."""
        recipe, norm = self.recipe, math.nan
        schedule, pieces = recipe.schedule, recipe.engine.gradient_accumulation_steps
        self.engine.learning_rate = learning_rate(
            step, self.total, self.warmup, recipe.optim.lr, schedule.min_lr, schedule.decay
        )
        loss = torch.zeros((), device=self.dist_info.device)
        seed_piece = partial(_seed_step, recipe.seed, step, self.dist_info.rank)
        losses = self.task.losses(self.engine, self._pieces(batches, since), seed_piece, self.observed.observe)
        for number, piece_loss in enumerate(losses, 1):
            self.engine.backward(piece_loss)
            loss += piece_loss.detach() / pieces
            norm = self.engine.step(wants_norm=logged and number == pieces)
        self.task.after_step()
        if self.ema:
            self.ema.follow(self.engine.module, step + 1)
        since.steps += 1
        return loss, norm

    def _pieces(self, batches: Iterator[Batch], since: Since) -> Iterator[Batch]:
        for _ in range(self.recipe.engine.gradient_accumulation_steps):
            asked = time.monotonic()
            batch = next(batches)
            since.waited += time.monotonic() - asked
            yield batch

    def _finite(self, loss: torch.Tensor) -> float:
        """The mean loss of all processes. Raises FastptError if it, or a gradient so far, is not finite."""
        mean = (sum_over_processes(loss.detach().cpu(), self.dist_info) / self.dist_info.world_size).item()
        if not math.isfinite(mean):
            self._stop(f"the loss is {mean}")
        # DeepSpeed leaves out a step whose gradient is not finite. It must when fp16 seeks its scale, not otherwise.
        if self.engine.skipped_steps and self.precision != "fp16":
            self._stop("the gradient was not finite")
        return mean

    def _stop(self, what: str) -> NoReturn:
        raise FastptError(
            f"{what} at step {self.step}. {checkpoint.describe_newest(self.run)} "
            "Lower optim.lr, warm up longer, or set engine.gradient_clipping."
        )

    def _log(self, mean_loss: float, norm: float, since: Since) -> None:
        seconds = time.monotonic() - since.began
        self.pace.add(since.waited, seconds)
        if self.record:
            self.record.train(
                step=self.step,
                samples=self.step * self.recipe.batch_size,
                epoch=self._epochs(),
                loss=mean_loss,
                lr=self.engine.learning_rate,
                images_per_second=since.steps * self.recipe.batch_size / seconds,
                data_wait=since.waited / seconds,
                grad_norm=norm if math.isfinite(norm) else None,
                memory_gib=memory.peak(self.dist_info.device),
                seconds=self._seconds(),
            )
            for warning in self.pace.warnings(self.dist_info.device):
                self.record.say(warning)

    @contextlib.contextmanager
    def _measuring(self) -> Iterator[Callable]:
        """The function that is evaluated and exported: the model, or its moving average."""
        average_batch_norm(self.engine.module, self.dist_info)
        if self.ema:
            average_batch_norm(self.ema.module, self.dist_info)
        with self.engine.evaluating(self.evaluated_in):
            yield self.ema.module if self.ema else self.engine.module

    def _evaluate(self) -> bool:
        """Measure and record; return whether this is the best evaluation so far.

        Raises FastptError, and records nothing, if an output of the network was not finite: it still has a largest one.
        """
        broken = torch.zeros((), dtype=torch.bool, device=self.dist_info.device)

        def watched(forward: Callable, *arguments: Any, **named: Any) -> Any:
            outputs = forward(*arguments, **named)
            for output in outputs.values() if isinstance(outputs, dict) else [outputs]:
                if output is not None:
                    broken.logical_or_(~output.isfinite().all())
            return outputs

        with self._measuring() as forward, memory.enough_for_evaluation(self.recipe, self.dist_info.device):
            results = self.task.evaluate(partial(watched, forward), last=self.step == self.total)
        if sum_over_processes(broken.float().cpu(), self.dist_info) > 0:
            self._stop("an evaluation found outputs that are not finite")
        if self.record:
            place = {"step": self.step, "epoch": self._epochs(), "precision": self.evaluated_in}
            for split, measures in results.items():
                self.record.evaluation(**place, split=split, **measures)
        name = self.recipe.checkpoint.keep_best
        found = [measures[name] for measures in results.values() if name in measures]
        if not found or (self.best and found[0] <= self.best[name]):
            return False
        self.best = {"step": self.step, name: found[0]}
        return True

    def _checkpoint_is_due(self, epoch_ends: bool) -> bool:
        when = self.recipe.checkpoint
        if self.step == self.total:
            return True
        if when.every_steps:
            return self.step % when.every_steps == 0
        return epoch_ends and (self.step // self.steps_per_epoch) % (when.every_epochs or 1) == 0

    def _save(self) -> None:
        state = {
            "step": self.step,
            "loader": self.loader.state_dict(),
            "seconds": self._seconds(),
            "settings_sha256": self.settings_sha256,
            "best": self.best,
            "lines": self.record.lines if self.record else 0,
        }
        average_batch_norm(self.engine.module, self.dist_info)
        shown = self.engine.module
        if self.ema:
            shown = self.ema.module
            average_batch_norm(shown, self.dist_info)
        keep, seen = self.recipe.checkpoint.keep, self.observed.seen()
        checkpoint.save(self.run, self.engine, self.dist_info, state, full_state_dict(shown), keep, seen)
        self.saved = self.step

    def _leave(self) -> None:
        if self.saved != self.step:
            self._save()
        raise Preempted(f"stopped by SIGTERM after step {self.step} of {self.total}, and saved. Go on with --resume.")

    def _finish(self) -> None:
        assert self.record is not None  # the first process's
        folder = export_run(self.run)
        results = {
            event["split"]: {name: value for name, value in event.items() if name not in _PLACE}
            for event in read_metrics(self.run)
            if event["event"] == "eval" and event["step"] == self.total
        }
        self.record.end(
            step=self.total,
            samples=self.total * self.recipe.batch_size,
            epoch=self._epochs(),
            seconds=self._seconds(),
            results=results,
            best=self.best,
        )
        if self.pace.is_data_bound:
            say(self.dist_info, self.pace.data_bound())
        say(self.dist_info, f"Finished in {self._seconds():.0f} s: {self.run}, exported to {folder}.")

    def _epochs(self) -> float:
        return self.step / self.steps_per_epoch

    def _seconds(self) -> float:
        """Seconds trained, those before a resume included."""
        return self.seconds_before + time.monotonic() - self.began


_PLACE = ("event", "step", "epoch", "precision", "split")
