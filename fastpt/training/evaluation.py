"""What tasks need to measure a model: a split's pictures in evaluation crops, and what all processes found."""

from collections.abc import Callable

import numpy as np
import torch
import torch.distributed as dist

from fastpt import Loader
from fastpt.data.samples import ImageDataset
from fastpt.loading.order import Order
from fastpt.recipe import Recipe
from fastpt.training.launch import DistInfo


def evaluation_loader(
    dataset: ImageDataset, recipe: Recipe, dist_info: DistInfo, order: Order = "sequential"
) -> Loader:
    """Of this process's share of a split, every sample once, cropped as the recipe says for evaluation.

    Keep it where a split is measured again and again: with DALI it is a pipeline, which takes a while to build.
    """
    data = recipe.data
    return Loader(
        dataset,
        recipe.evaluate.batch_size,
        data.eval_size or data.size,
        crop="center",
        crop_fraction=data.crop_fraction,
        interpolation=data.eval_interpolation,
        flip=False,
        decoder=data.decoder,
        device=dist_info.device.type,
        order=order,
        seed=recipe.seed,
        rank=dist_info.rank,
        world_size=dist_info.world_size,
        threads=data.threads,
        drop_last=False,
    )


def split_name(dataset: ImageDataset, train_set: ImageDataset) -> str:
    """How metrics call a split: `val`, or `imagenet/val` if it is of another dataset than what is trained on."""
    return dataset.split if dataset.name == train_set.name else f"{dataset.name}/{dataset.split}"


def outputs_of(run: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """What `run` makes of pictures, or texts, [B, ...]: [B, D].

    A process may have none in the last batch. Many models refuse that, but under ZeRO 3 all processes must run them
    together: then the output of a grey picture is thrown away.
    """
    return run(images) if len(images) else run(images.new_zeros(1, *images.shape[1:]))[:0]


def share_of(rows: np.ndarray, dist_info: DistInfo, batch_size: int) -> list[np.ndarray]:
    """This process's part of rows [N, ...], in batches: as many on each process, and some may be short or empty.

    `gather_rows` puts what becomes of the parts together again, in the order of the rows.
    """
    most = -(-len(rows) // dist_info.world_size)
    own = rows[dist_info.rank * most :][:most]
    return [own[start : start + batch_size] for start in range(0, most, batch_size)]


def sum_over_processes(values: torch.Tensor, dist_info: DistInfo) -> torch.Tensor:
    """The sum of a CPU tensor over all processes."""
    if dist_info.world_size == 1:
        return values
    values = values.to(dist_info.device, copy=True)
    dist.all_reduce(values)
    return values.cpu()


def gather_rows(rows: torch.Tensor, dist_info: DistInfo) -> torch.Tensor:
    """The rows [n, ...] of a CPU tensor of all processes, in order of their rank; n may differ."""
    if dist_info.world_size == 1:
        return rows
    gathered: list = [None] * dist_info.world_size
    dist.all_gather_object(gathered, rows)
    return torch.cat(gathered)
