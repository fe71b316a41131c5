"""What can be seen before the work: whether a model takes pictures of the recipe's sizes, and which splits
are which, or share pictures."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fastpt.data.overlap import also_in
from fastpt.data.samples import ImageDataset
from fastpt.errors import RecipeError
from fastpt.printable import one_line
from fastpt.recipe import Recipe
from fastpt.training.evaluation import split_name


def try_sizes(
    recipe: Recipe, world_size: int, model: nn.Module, forward: Callable[[Tensor], Tensor], outputs: int
) -> None:
    """Send one grey picture of each of the recipe's sizes through a model on the CPU.

    `forward` takes float32 [1, 3, size, size] and gives [1, outputs]. Raises RecipeError, a line for each size that the
    model cannot take, or in which a BatchNorm would see a single value a channel.
    """
    data = recipe.data
    trained = {side: "data.sizes" for _, side in data.sizes or []} | {data.size: "data.size"}
    tried = trained | ({data.eval_size: "data.eval_size"} if data.eval_size not in (None, *trained) else {})
    pieces = world_size * recipe.engine.gradient_accumulation_steps
    problems, was_training = [], model.training
    model.eval()
    for side, key in tried.items():
        with torch.no_grad(), _fewest_values(model) as fewest:
            try:
                shape = tuple(forward(torch.zeros(1, 3, side, side)).shape)
            except Exception as error:  # whatever the library's model makes of it
                problems.append(f"{key} {side}: {recipe.model.name} cannot take such pictures ({one_line(error)}).")
                continue
        if shape != (1, outputs):
            what = f"{recipe.model.name} makes {list(shape)} of a picture instead of {outputs} numbers"
            problems.append(f"{key} {side}: {what}. Mend the model's settings.")
        elif side in trained and fewest == [1] and recipe.batch_size == pieces:
            problems.append(
                f"{key} {side}: a BatchNorm of {recipe.model.name} sees one pixel of one picture, which has no "
                f"variance: batch_size {recipe.batch_size} is computed in {pieces} pieces (processes x "
                "engine.gradient_accumulation_steps). Use fewer pieces, or larger pictures."
            )
    model.train(was_training)
    if problems:
        raise RecipeError("\n".join(problems))


@contextmanager
def _fewest_values(model: nn.Module) -> Iterator[list[int]]:
    """Within, the least number of values a channel that a BatchNorm has seen is kept: [] before there was one."""
    fewest: list[int] = []

    def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        fewest[:] = [min([*fewest, inputs[0].numel() // inputs[0].shape[1]])]

    hooks = [part.register_forward_pre_hook(look) for part in model.modules() if isinstance(part, _BatchNorm)]
    try:
        yield fewest
    finally:
        for hook in hooks:
            hook.remove()


def check_names(train_set: ImageDataset, measured_on: Mapping[str, ImageDataset]) -> None:
    """Raise RecipeError if two different splits would be one in the record."""
    seen = {train_set.split: ("data.train", train_set)}
    for key, dataset in measured_on.items():
        name = split_name(dataset, train_set)
        other_key, other = seen.setdefault(name, (key, dataset))
        if (other.samples_id, other.images_id) != (dataset.samples_id, dataset.images_id):
            raise RecipeError(
                f"{key} {dataset.path} and {other_key} {other.path} are different splits, but both are called {name!r} "
                "in the record. Prepare one under another --name."
            )


def overlaps(train_set: ImageDataset, measured_on: Mapping[str, ImageDataset]) -> Iterator[str]:
    """A line for each split that is measured on of which pictures are trained on, too."""
    for key, dataset in measured_on.items():
        if count := int(also_in(dataset.samples.xxh3, train_set.samples.xxh3).sum()):
            yield (
                f"{count:,} of {len(dataset):,} pictures of {key} {dataset.path} are among those that are trained on, "
                "byte for byte."
            )
