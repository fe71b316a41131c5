"""Supervised pre-training: a timm classifier on the labels that a noise plan shows."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from fastpt import config
from fastpt.training.tasks.kind import Task, TaskKind

if TYPE_CHECKING:
    from torch import Tensor

    from fastpt.data.plan import Targets
    from fastpt.recipe import Recipe
    from fastpt.training.launch import DistInfo


NOT_ARGUMENTS = {
    "num_classes": "it is the number of classes of data.train",
    "drop_path_rate": "it is model.drop_path",
    **dict.fromkeys(
        ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path"),
        "a run begins with random weights, and its record knows no others",
    ),
}
"""Arguments of timm's `create_model` that `model.args` does not take, and why."""


class Settings(config.Section):
    """What only task supervised knows."""

    loss: Literal["cross_entropy", "bce"] = "cross_entropy"
    """Softmax cross entropy, or binary cross entropy over the classes."""
    bce_threshold: config.Share | None = None
    """Mixed labels above this share count as whole ones in `bce` (timm's bce_target_thresh); none keeps the shares."""
    bce_reduction: Literal["mean", "sum"] = "mean"
    """Over the classes, `bce` is their mean (timm) or their sum (MosaicML), which wants a learning rate that is as many
    times smaller with sgd."""
    memorization_samples: int = Field(default=1000, ge=0)
    """At the end, how many wrongly labelled training pictures show what was memorised; 0 is none. To meet them,
    1 / data.noise times as many pictures are read."""

    def problems(self) -> Iterable[str]:
        if self.bce_threshold is not None and self.loss != "bce":
            yield "supervised.bce_threshold applies to loss bce only; remove it."
        if self.bce_reduction != "mean" and self.loss != "bce":
            yield "supervised.bce_reduction applies to loss bce only; remove it."


class Kind:
    """Labels of a split, learned by a timm model; exported as timm loads it."""

    of: "Targets" = "labels"
    Section: type[config.Section] = Settings
    measures: Mapping[str, str] = {"top1": "Top-1 accuracy", "top5": "Top-5 accuracy"}
    observes: bool = True

    def check(self, recipe: "Recipe") -> Iterable[str]:
        yield from recipe.unused("model.config")
        for name in recipe.model.args.keys() & NOT_ARGUMENTS.keys():
            yield f"model.args.{name} cannot be given: {NOT_ARGUMENTS[name]}."
        if not isinstance(recipe.data.train, str):
            yield (
                "data.train lists several splits, which task clip can train on as one, but not task supervised: name "
                "one."
            )
        if recipe.record.samples and (recipe.augment.mixup or recipe.augment.cutmix):
            yield (
                "record.samples has no meaning with augment.mixup and augment.cutmix: a mixed picture has no label of "
                "its own. Leave one out."
            )
        if (best := recipe.checkpoint.keep_best) and recipe.data.val is None:
            yield f"checkpoint.keep_best {best} needs a split to measure it on; give data.val."

    def build(self, recipe: "Recipe", dist_info: "DistInfo") -> Task:
        from fastpt.training.tasks.supervised.task import Supervised

        return Supervised(recipe, dist_info)

    def export(
        self, folder: Path, recipe: "Recipe", provenance: Mapping[str, Any], weights: Mapping[str, "Tensor"]
    ) -> str:
        from fastpt.training.tasks.supervised.task import export

        return export(folder, recipe, provenance["dataset"]["class_names"], weights)


KIND: TaskKind = Kind()
