"""A task that learns a number of each picture, such as an age or a price: all that a task has to bring.

Its labels' classes stand for numbers, which the recipe gives: `regression: {values: [1, 2.5, 4]}`.
See docs/howto/extend.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from fastpt.config import Section
from fastpt.errors import FastptError
from fastpt.files import write_json

if TYPE_CHECKING:  # at run time torch is imported where it is used: help and the keys of recipes do not wait for it
    from torch import Tensor

    from fastpt.data.plan import Targets
    from fastpt.loading.batch import Batch
    from fastpt.recipe import Recipe
    from fastpt.training.launch import DistInfo
    from fastpt.training.tasks.kind import Observe, Results


class Settings(Section):
    """What only task regression knows."""

    values: list[float] = Field(min_length=2)
    """The number that each class stands for, in the order of the classes."""

    def problems(self) -> Iterable[str]:
        if len(set(self.values)) < 2:
            yield f"regression.values are all {self.values[0]:g}; there is nothing to learn."


class Kind:
    """The numbers of a split's classes, learned by a timm model of one output."""

    of: Targets = "labels"
    Section: type[Section] = Settings
    measures: Mapping[str, str] = {"r2": "Explained variance R²"}
    observes: bool = False

    def check(self, recipe: Recipe) -> Iterable[str]:
        yield from recipe.unused("model.config", "model.drop_path", "evaluate.flip", "engine.activation_checkpointing")
        yield from recipe.unused("augment.mixup", "augment.cutmix", "augment.label_smoothing", "data.keep")
        if not isinstance(recipe.data.train, str):
            yield "data.train lists several splits, but task regression trains on one: name one."

    def build(self, recipe: Recipe, dist_info: DistInfo) -> Regression:
        return Regression(recipe, dist_info)

    def export(self, folder: Path, recipe: Recipe, provenance: Mapping[str, Any], weights: Mapping[str, Tensor]) -> str:
        """Its output is a number in standard units: times the values' deviation, plus their mean, it is a value."""
        import safetensors.torch

        config = {"architecture": recipe.model.name, "num_classes": 1, "model_args": recipe.model.args}
        write_json(folder / "config.json", {**config, "pretrained_cfg": {"num_classes": 1}})
        safetensors.torch.save_file(dict(weights), folder / "model.safetensors", {"format": "pt"})
        return 'import timm\n\nmodel = timm.create_model("local-dir:PATH", pretrained=True)'

    def export_hf(self, *_: Any) -> str:
        raise FastptError("transformers has no model whose output is in standard units. Leave --format out.")


class Regression:
    """The squared error of the standardised number."""

    def __init__(self, recipe: Recipe, dist_info: DistInfo):
        import timm
        import torch

        import fastpt.models  # noqa: F401  (registers our ResNets)
        from fastpt import Dataset
        from fastpt.training.optim import timm_decays

        values = torch.tensor(recipe.of_task(Settings).values)
        self.recipe, self.dist_info = recipe, dist_info
        self.train_set = self.trained_on = Dataset(str(recipe.data.train))
        if len(values) != len(self.train_set.classes):
            raise FastptError(
                f"regression.values has {len(values)} numbers, but {self.train_set.path} has "
                f"{len(self.train_set.classes)} classes. Give a number for each."
            )
        self.noise = self.train_set.noise_plan(recipe.data.noise, "labels")
        self.numbers = (values - values.mean()) / values.std()
        self.shown = self.numbers[torch.from_numpy(self.train_set.targets(recipe.data.noise, of="labels"))]
        self.val_set = Dataset(recipe.data.val) if recipe.data.val else None
        self.measured_on = {"data.val": self.val_set} if self.val_set else {}
        self.model = timm.create_model(recipe.model.name, num_classes=1, **recipe.model.args)
        self.decays = timm_decays(self.model)

    def losses(
        self, forward: Callable[..., Any], pieces: Iterable[Batch], seed_piece: Callable[[int], None], observe: Observe
    ) -> Iterator[Tensor]:
        from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
        from torch.nn.functional import mse_loss

        from fastpt.augment.pipeline import augmented

        device, augment, interpolation = self.dist_info.device, self.recipe.augment, self.recipe.data.interpolation
        mean, std = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
        for number, piece in enumerate(pieces):
            seed_piece(number)
            images = piece.images.to(device, non_blocking=True)
            pixels = augmented(images, piece.rng_keys, augment, interpolation, mean, std)
            yield mse_loss(forward(pixels).float()[:, 0], self.shown[piece.sample_ids.cpu()].to(device))

    def after_step(self) -> None:
        """Nothing to keep within bounds."""

    def evaluate(self, forward: Callable[..., Any], last: bool) -> Results:
        """R² = 1 - Σ (y - f)² / Σ (y - ȳ)², over the true numbers of `data.val`."""
        import torch
        from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

        from fastpt.augment.transforms import normalize
        from fastpt.training.evaluation import evaluation_loader, split_name, sum_over_processes

        if self.val_set is None:
            return {}
        true = self.numbers[torch.from_numpy(self.val_set.targets(None, of="labels"))]
        error = torch.zeros(1, dtype=torch.float64)
        with torch.no_grad(), evaluation_loader(self.val_set, self.recipe, self.dist_info) as loader:
            for batch in loader:
                images = batch.images.to(self.dist_info.device, non_blocking=True)
                found = forward(normalize(images, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)).float()[:, 0]
                error += (found.cpu() - true[batch.sample_ids.cpu()]).square().sum()
        error = sum_over_processes(error, self.dist_info)
        r2 = 1 - error.item() / (true - true.mean()).square().sum().item()
        return {split_name(self.val_set, self.train_set): {"r2": r2}}


KIND = Kind()
