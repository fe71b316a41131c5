"""How much memory a training has used, and what to do where a GPU's is not enough."""

import contextlib
import resource
from collections.abc import Iterator

import torch

from fastpt.errors import FastptError, RecipeError
from fastpt.recipe import Recipe

GIB = 2**30


def peak(device: torch.device) -> float:
    """The most that this process has used, GiB: of the GPU where it computes on one, otherwise of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # from KiB


def describe(device: torch.device) -> str:
    """The GPU's memory in words."""
    if device.type != "cuda":
        return "the machine's memory"
    return f"the GPU's memory ({torch.cuda.get_device_properties(device).total_memory / GIB:.1f} GiB)"


def runs_out(device: torch.device) -> bool:
    """Whether torch says when the memory is not enough: of a GPU. Of a machine, the system ends who takes too much."""
    return device.type == "cuda"


def in_pieces(recipe: Recipe, pieces: int) -> Recipe:
    """The recipe with another number of pieces a step."""
    engine = recipe.engine.model_copy(update={"gradient_accumulation_steps": pieces})
    return recipe.model_copy(update={"engine": engine})


def numbers_of_pieces(recipe: Recipe, world_size: int) -> list[int]:
    """All that the batch can be computed in by each process, the fewest first."""
    return [pieces for pieces in range(1, recipe.batch_size // world_size + 1) if _divide(recipe, pieces, world_size)]


def _divide(recipe: Recipe, pieces: int, world_size: int) -> bool:
    try:
        return bool(in_pieces(recipe, pieces).micro_batch(world_size))
    except RecipeError:
        return False


@contextlib.contextmanager
def enough_for_weights(recipe: Recipe, device: torch.device) -> Iterator[None]:
    """Within, torch's "out of memory" is a FastptError, about the model itself."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise FastptError(
            f"{describe(device)} does not hold {recipe.model.name}, before any picture. End what else uses it, set "
            "engine.zero_stage with several GPUs, or train a smaller model."
        ) from None


@contextlib.contextmanager
def enough_for_steps(recipe: Recipe, world_size: int, device: torch.device) -> Iterator[None]:
    """The same for steps: it says in how many pieces a batch would need less."""
    try:
        yield
    except torch.OutOfMemoryError:
        micro, now = recipe.micro_batch(world_size), recipe.engine.gradient_accumulation_steps
        more = next((pieces for pieces in numbers_of_pieces(recipe, world_size) if pieces >= 2 * now), None)
        what = f"{describe(device)} does not hold a step in pieces of {micro} samples."
        if more is None:
            raise FastptError(
                f"{what} They cannot be cut further: set engine.activation_checkpointing or engine.zero_stage, or train"
                " a smaller model or smaller pictures."
            ) from None
        raise FastptError(
            f"{what} Halve them: --set engine.gradient_accumulation_steps={more} (of a run that goes on, with "
            "--allow-changes). `fastpt train --find-batch` finds the largest pieces that fit, by trying."
        ) from None


@contextlib.contextmanager
def enough_for_evaluation(recipe: Recipe, device: torch.device) -> Iterator[None]:
    """The same for an evaluation."""
    try:
        yield
    except torch.OutOfMemoryError:
        batch = recipe.evaluate.batch_size
        raise FastptError(
            f"{describe(device)} does not hold an evaluation's batch of {batch}. "
            f"Set evaluate.batch_size lower, such as {max(1, batch // 4)}."
        ) from None
