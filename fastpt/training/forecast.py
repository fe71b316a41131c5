"""What a training would take, told by a few steps of it that leave nothing: `fastpt train --dry-run, --find-batch`."""

import bisect
import gc
import shutil
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from fastpt.errors import FastptError
from fastpt.recipe import Recipe
from fastpt.runs.folder import EXPORT, newest_first
from fastpt.training import launch, memory
from fastpt.training.evaluation import sum_over_processes
from fastpt.training.memory import GIB
from fastpt.training.run import rehearsal, run_folder

WARM_UP = 2  # steps that are not timed
TIMED, SECONDS = 20, 60.0  # the most steps that are, and about the longest


@dataclass(frozen=True)
class Forecast:
    """What a training would take and leave."""

    run: str
    is_there: bool  # a run that has begun
    steps: int
    epochs: float
    batch_size: int
    processes: int
    pieces: int  # that each process computes a step in
    memory_gib: float  # of each process, at most
    memory: str  # that it has, in words
    size: int  # of the pictures that were tried, pixels
    seconds_per_step: float  # with these
    hours: float  # of all steps; those of other epochs take as long as their pictures have pixels
    evaluations: int  # beside
    evaluated_pictures: int  # of each
    checkpoint_bytes: int
    checkpoints: int  # that are there at a time, at most
    export_bytes: int
    free_bytes: int

    def lines(self) -> list[str]:
        """For people."""
        rate = self.batch_size / self.seconds_per_step
        return [
            f"run: {self.run} (recipe, provenance, metrics, TensorBoard, checkpoints, export); nothing is written now",
            *(["run: it has begun already; a training needs --resume or another --run-dir"] if self.is_there else []),
            f"steps: {self.steps:,} of {self.batch_size:,} samples, {self.epochs:.4g} epochs; {self.processes} "
            f"process(es) compute {self.pieces} piece(s) of {self.batch_size // (self.processes * self.pieces):,} each",
            f"memory: {self.memory_gib:.1f} GiB of {self.memory}, for each process",
            f"time: {self.hours:.3g} hours of steps, {self.seconds_per_step:.3g} s each at {self.size} px "
            f"({rate:,.0f} pictures/s); beside, {self.evaluations:,} evaluation(s) of {self.evaluated_pictures:,}",
            f"disk: {self.checkpoint_bytes / GIB:.3g} GiB a checkpoint, {self.checkpoints} of them at most; the export "
            f"{self.export_bytes / GIB:.3g} GiB; {self.free_bytes / GIB:,.1f} GiB are free",
        ]


def dry_run(recipe: Recipe, recipe_name: str, run_dir: Path | None = None) -> Forecast:
    """What training a recipe would take, after a few steps. No run is begun.

    Every process of a distributed training calls this. Raises FastptError as the training would.
    """
    with rehearsal(recipe) as training:
        dist_info, engine, size = training.dist_info, training.engine, training.loader.size
        run = run_dir or run_folder(recipe, recipe_name, training.task)
        with memory.enough_for_steps(recipe, dist_info.world_size, dist_info.device):
            training.try_steps(WARM_UP, SECONDS)
            step = statistics.median(training.try_steps(TIMED, SECONDS))
        own = torch.tensor(engine.optimizer_bytes(), dtype=torch.float64)
        optimizer_bytes = int(sum_over_processes(own, dist_info).item())
        firsts = range(0, training.total, training.steps_per_epoch)
        pixels = sum(
            min(training.steps_per_epoch, training.total - first) * recipe.data.size_in(epoch) ** 2
            for epoch, first in enumerate(firsts)
        )
        return Forecast(
            run=str(run),
            is_there=bool(newest_first(run)) or (run / EXPORT).exists(),
            steps=training.total,
            epochs=training.total / training.steps_per_epoch,
            batch_size=recipe.batch_size,
            processes=dist_info.world_size,
            pieces=recipe.engine.gradient_accumulation_steps,
            memory_gib=memory.peak(dist_info.device),
            memory=memory.describe(dist_info.device),
            size=size,
            seconds_per_step=step,
            hours=step * pixels / size**2 / 3600,
            evaluations=max(1, training.total // (training.steps_per_epoch * recipe.evaluate.every_epochs)),
            evaluated_pictures=sum(len(dataset) for dataset in training.task.measured_on.values()),
            checkpoint_bytes=2 * engine.weight_bytes() + optimizer_bytes,  # what is evaluated, and what is trained
            checkpoints=recipe.checkpoint.keep + 1 + (recipe.checkpoint.keep_best is not None),
            export_bytes=engine.weight_bytes(),
            free_bytes=shutil.disk_usage(next(one for one in run.absolute().parents if one.exists())).free,
        )


def find_batch(recipe: Recipe, say: Callable[[str], None]) -> None:
    """Say in how few pieces a GPU can compute a step, by trying: two steps for each number that is tried.

    Raises FastptError if none fits, without a GPU, and for several processes.
    """
    dist_info = launch.start()
    if not memory.runs_out(dist_info.device):
        raise FastptError("--find-batch tries what a GPU's memory holds, and none is seen here. --dry-run needs none.")
    if dist_info.world_size > 1:
        raise FastptError("--find-batch tries on one GPU. Start it without torchrun; what fits one fits each of many.")
    numbers = memory.numbers_of_pieces(recipe, 1)
    found = bisect.bisect_left(numbers, True, key=lambda pieces: _fits(recipe, pieces, say))
    if found == len(numbers):
        with memory.enough_for_steps(memory.in_pieces(recipe, numbers[-1]), 1, dist_info.device):
            raise torch.OutOfMemoryError
    most = recipe.batch_size // numbers[found]
    say(f"Pieces of {most} samples are the largest that fit {memory.describe(dist_info.device)}:")
    for processes in (1, 2, 4, 8):
        cuts = memory.numbers_of_pieces(recipe, processes)
        if count := next((count for count in cuts if recipe.batch_size // (count * processes) <= most), None):
            say(f"{processes} GPU(s): --set engine.gradient_accumulation_steps={count}")


def _fits(recipe: Recipe, pieces: int, say: Callable[[str], None]) -> bool:
    """Whether two steps (in the second the optimiser has all its state) do not run out of memory."""
    micro = recipe.batch_size // pieces
    try:
        with rehearsal(memory.in_pieces(recipe, pieces)) as training:
            if training.dist_info.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            training.try_steps(2)
            say(f"pieces of {micro}: {memory.peak(training.dist_info.device):.1f} GiB")
        return True
    except torch.OutOfMemoryError:
        say(f"pieces of {micro}: too much")
        return False
    finally:
        gc.collect()  # the engine and its optimiser hold one another
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
