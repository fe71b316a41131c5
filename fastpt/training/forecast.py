"""What a training would take, told by a few steps of it that leave nothing: `fastpt train --dry-run, --find-batch`."""

import bisect
import gc
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path

import torch

from fastpt import runs
from fastpt.errors import FastptError
from fastpt.recipe import Recipe
from fastpt.training import launch, memory
from fastpt.training.evaluation import sum_over_processes
from fastpt.training.loop import Training, rehearsal, run_folder

WARM_UP = 2  # steps that are not timed
TIMED, SECONDS = 20, 60.0  # the most steps that are, and about the longest


def dry_run(recipe: Recipe, recipe_name: str, run_dir: Path | None, say: Callable[[str], None]) -> None:
    """Say what would be written where, and the memory, time and disk of it, after a few steps. No run is begun.

    Every process of a distributed training calls this. Raises FastptError as the training would.
    """
    with rehearsal(recipe) as training:
        dist_info, engine = training.dist_info, training.engine
        run = run_dir or run_folder(recipe, recipe_name, training.task)
        with memory.enough_for_steps(recipe, dist_info.world_size, dist_info.device):
            training.try_steps(WARM_UP, SECONDS)
            seconds = training.try_steps(TIMED, SECONDS)
        own = torch.tensor(engine.optimizer_bytes(), dtype=torch.float64)
        optimizer_bytes = int(sum_over_processes(own, dist_info).item())
        lines = [
            *_place(run),
            _length(recipe, training),
            f"memory: {memory.peak(dist_info.device):.1f} GiB of {memory.describe(dist_info.device)}, for each process",
            _time(recipe, training, statistics.median(seconds)),
            _disk(recipe, run, engine.weight_bytes(), optimizer_bytes),
        ]
    if dist_info.is_rank_zero:
        for line in lines:
            say(line)


def _place(run: Path) -> list[str]:
    told = [f"run: {run} (recipe, provenance, metrics, TensorBoard, checkpoints, export); nothing is written now"]
    if runs.newest_first(run) or (run / runs.EXPORT).exists():
        told.append(f"run: {run} is there already: a training needs --resume, or another --run-dir")
    return told


def _length(recipe: Recipe, training: Training) -> str:
    epochs = training.total / training.steps_per_epoch
    return (
        f"steps: {training.total:,} of {recipe.batch_size:,} samples, {epochs:.4g} epochs of "
        f"{training.steps_per_epoch:,}; each process computes {recipe.engine.gradient_accumulation_steps} piece(s) of "
        f"{recipe.micro_batch(training.dist_info.world_size):,} a step"
    )


def _time(recipe: Recipe, training: Training, step: float) -> str:
    """Of all steps, from the seconds of one: those of other epochs take as long as their pictures have pixels."""
    tried = training.loader.size
    steps = sum(
        min(training.steps_per_epoch, training.total - first) * (recipe.data.size_in(epoch) / tried) ** 2
        for epoch, first in enumerate(range(0, training.total, training.steps_per_epoch))
    )
    evaluations = max(1, training.total // (training.steps_per_epoch * recipe.evaluate.every_epochs))
    pictures = sum(len(dataset) for dataset in training.task.measured_on.values())
    return (
        f"time: {step * steps / 3600:.3g} hours of steps, {step:.3g} s each at {tried} px "
        f"({recipe.batch_size / step:,.0f} pictures/s); {evaluations:,} evaluation(s) of {pictures:,} pictures beside"
    )


def _disk(recipe: Recipe, run: Path, weights: int, optimizer: int) -> str:
    """From the bytes of weights and of what the processes save of the optimiser."""
    checkpoint = 2 * weights + optimizer  # weights that are evaluated, and those that are trained
    most = recipe.checkpoint.keep + 1 + (recipe.checkpoint.keep_best is not None)  # a new one comes before one goes
    place = next(folder for folder in run.absolute().parents if folder.exists())
    free = shutil.disk_usage(place).free
    return (
        f"disk: {checkpoint / memory.GIB:.3g} GiB a checkpoint, {most} of them at most; the export "
        f"{weights / memory.GIB:.3g} GiB; {free / memory.GIB:,.1f} GiB are free"
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
