"""A training from its recipe to its run's folder: what is checked and opened before the first step."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from fastpt import Loader
from fastpt.errors import Problems, RecipeError
from fastpt.files import find_damage
from fastpt.recipe import Recipe
from fastpt.runs import is_finished
from fastpt.runs.folder import EXPORT, EXPORT_FORMAT, RUNS, alone, run_name
from fastpt.training import checkpoint, launch, starts
from fastpt.training.deepspeed_adapter import process_left_as_it_was
from fastpt.training.export import export_run
from fastpt.training.launch import DistInfo, Preemption, on_rank_zero, say
from fastpt.training.loop import Training
from fastpt.training.provenance import provenance
from fastpt.training.tasks import TASKS
from fastpt.training.tasks.kind import Task
from fastpt.training.trackers import check_installed
from fastpt.training.trial import check_names, overlaps


def train(
    recipe: Recipe,
    recipe_name: str,
    run_dir: Path | None = None,
    resume: bool = False,
    command: str = "",
    allow_changes: bool = False,
) -> Path:
    """Train, evaluate, checkpoint and export as `recipe` says; return the run's folder.

    With `resume`, a run that was stopped goes on from its newest whole checkpoint, and one that is finished is returned
    as it is, but that an export that is lost or damaged is made again; `allow_changes` lets it go on with another
    recipe, dataset or noise plan than it began with, and its provenance says so. Every process of a distributed
    training calls this. Raises FastptError for whatever the user can mend, before training starts where it can be known
    then; raises Preempted once SIGTERM has been received and the run saved.
    """
    dist_info, task = _prepared(recipe)
    run = run_dir or run_folder(recipe, recipe_name, task)
    with contextlib.closing(_loader(recipe, task, dist_info)) as loader, _alone(run, dist_info):
        origin = provenance(recipe, recipe_name, task, command, launch.machine(recipe, dist_info))
        if resume and on_rank_zero(dist_info, lambda: not checkpoint.newest_first(run)):
            say(dist_info, f"{run} has no checkpoint to resume from: starting at step 0.")
        settings = recipe.as_dict()
        changes = on_rank_zero(dist_info, lambda: starts.begin(run, settings, origin, resume, allow_changes))
        for change in changes:
            say(dist_info, f"Changed since the run began: {change}")
        if not changes and on_rank_zero(dist_info, lambda: is_finished(run)):
            say(dist_info, f"{run} is finished already.")
            if problem := on_rank_zero(dist_info, lambda: find_damage(run / EXPORT, EXPORT_FORMAT)):
                on_rank_zero(dist_info, lambda: export_run(run))
                say(dist_info, f"Its export was not whole ({problem}), and is written again to {run / EXPORT}.")
            return run
        with Preemption(dist_info) as preemption, process_left_as_it_was():
            training = Training(recipe, dist_info, task, loader, run, preemption, origin["settings_sha256"])
            if training.step:
                on_rank_zero(dist_info, lambda: starts.go_on(run, settings, origin, training.step))
            training.go()
    return run


def run_folder(recipe: Recipe, recipe_name: str, task: Task) -> Path:
    """Where a run lies unless told otherwise."""
    noise = task.noise.name if task.noise else None
    return RUNS / run_name(recipe_name, noise, recipe.seed, recipe.data.keep)


@contextlib.contextmanager
def rehearsal(recipe: Recipe) -> Iterator[Training]:
    """A training that is not begun, at its largest pictures: steps of it can be tried. It leaves nothing.

    Every process of a distributed training calls this. Raises FastptError as `train` does before it starts.
    """
    dist_info, task = _prepared(recipe)
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(_loader(recipe, task, dist_info)) as loader,
        process_left_as_it_was(),
    ):
        loader.set_size(max(side for _, side in recipe.data.sizes or [(0, recipe.data.size)]))
        # Not entered: SIGTERM ends what has nothing to save.
        training = Training(recipe, dist_info, task, loader, Path(folder), Preemption(dist_info), settings_sha256="")
        try:
            yield training
        finally:
            if training.record:
                training.record.close()


def _prepared(recipe: Recipe) -> tuple[DistInfo, Task]:
    """The group of processes, and the task as it is before the first step."""
    recipe.data.check_there()
    dist_info = launch.start()
    problems = Problems()
    with problems.noted():
        recipe.micro_batch(dist_info.world_size)
    with problems.noted():
        launch.precision(recipe, dist_info.device)
    with problems.noted():
        on_rank_zero(dist_info, lambda: check_installed(recipe))
    with problems.noted():
        torch.manual_seed(recipe.seed)  # the weights' initial values
        task = TASKS.get(recipe.task).build(recipe, dist_info)
    problems.tell()
    check_names(task.train_set, task.measured_on)
    for line in overlaps(task.train_set, task.measured_on) if dist_info.is_rank_zero else ():
        print(line, file=sys.stderr, flush=True)
    return dist_info, task


@contextlib.contextmanager
def _alone(run: Path, dist_info: DistInfo) -> Iterator[None]:
    """Keep a second training out of the folder. The lock ends with the process, however that ends."""
    with contextlib.ExitStack() as lock:
        on_rank_zero(dist_info, lambda: lock.enter_context(alone(run)))
        yield


def _loader(recipe: Recipe, task: Task, dist_info: DistInfo) -> Loader:
    data = recipe.data
    if recipe.batch_size > len(task.trained_on):
        raise RecipeError(
            f"batch_size {recipe.batch_size} is more than the {len(task.trained_on)} samples of {data.train}. "
            "Use a smaller batch_size."
        )
    return Loader(
        task.trained_on,
        recipe.micro_batch(dist_info.world_size),
        data.size,
        crop="random",
        scale=data.scale,
        interpolation=data.interpolation,
        flip=data.flip,
        decoder=data.decoder,
        device=dist_info.device,
        order=data.order,
        seed=recipe.seed,
        rank=dist_info.rank,
        world_size=dist_info.world_size,
        threads=data.threads,
        repeats=recipe.augment.repeated_augmentation,
        gradient_accumulation_steps=recipe.engine.gradient_accumulation_steps,
    )
