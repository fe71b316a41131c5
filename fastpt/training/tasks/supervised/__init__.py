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


LOSS_DEFAULTS: dict[str, dict[str, Any]] = {
    "cross_entropy": {},
    "bce": {"bce_threshold": None, "bce_reduction": "mean"},
    "gce": {"gce_q": 0.7},
    "sce": {"sce_alpha": 0.1, "sce_beta": 1.0, "sce_log_zero": -4.0},
}
"""The settings of each loss."""
OF_ONE_LABEL = ("gce", "sce")


class Settings(config.Section):
    """What only task supervised knows."""

    loss: Literal["cross_entropy", "bce", "gce", "sce"] = "cross_entropy"
    """Softmax cross entropy; binary cross entropy over the classes; or, against wrong labels, generalised (Zhang &
    Sabuncu 2018) or symmetric cross entropy (Wang et al. 2019), both without mixup, cutmix and label smoothing."""
    bce_threshold: config.Share | None = None
    """Mixed labels above this share count as whole ones in `bce` (timm's bce_target_thresh); none keeps the shares."""
    bce_reduction: Literal["mean", "sum"] | None = None
    """Over the classes, `bce` is their mean (timm), as by default, or their sum (MosaicML), which wants a learning rate
    that is as many times smaller with sgd."""
    gce_q: float | None = Field(default=None, gt=0, le=1)
    """q of `gce`: near 0 it is cross entropy, at 1 the mean absolute error; by default 0.7."""
    sce_alpha: float | None = Field(default=None, ge=0)
    """Weight of cross entropy in `sce`; by default 0.1."""
    sce_beta: float | None = Field(default=None, ge=0)
    """Weight of reverse cross entropy in `sce`; by default 1."""
    sce_log_zero: float | None = Field(default=None, lt=0)
    """What stands for log 0 in reverse cross entropy; by default -4."""
    memorization_samples: int = Field(default=1000, ge=0)
    """At the end, how many wrongly labelled training pictures show what was memorised; 0 is none. To meet them,
    1 / data.noise times as many pictures are read."""

    def model_post_init(self, _: Any) -> None:
        """Fill in the defaults of this loss, so that the record of a run states what was used."""
        for name, value in LOSS_DEFAULTS[self.loss].items():
            if getattr(self, name) is None:
                setattr(self, name, value)

    def problems(self) -> Iterable[str]:
        for loss, names in LOSS_DEFAULTS.items():
            for name in names:
                if getattr(self, name) is not None and loss != self.loss:
                    yield f"supervised.{name} applies to loss {loss} only; remove it."


class Kind:
    """Labels of one or several splits, learned by a timm model; exported as timm loads it."""

    of: "Targets" = "labels"
    Section: type[config.Section] = Settings
    measures: Mapping[str, str] = {"top1": "Top-1 accuracy", "top5": "Top-5 accuracy"}
    observes: bool = True

    def check(self, recipe: "Recipe") -> Iterable[str]:
        yield from recipe.unused("model.config")
        for name in recipe.model.args.keys() & NOT_ARGUMENTS.keys():
            yield f"model.args.{name} cannot be given: {NOT_ARGUMENTS[name]}."
        if (loss := recipe.of_task(Settings).loss) in OF_ONE_LABEL:
            for key in ("mixup", "cutmix", "label_smoothing"):
                if getattr(recipe.augment, key):
                    yield f"supervised.loss {loss} takes one whole label, so augment.{key} does not go with it."
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

    def export_hf(
        self, folder: Path, recipe: "Recipe", provenance: Mapping[str, Any], weights: Mapping[str, "Tensor"]
    ) -> str:
        usage = self.export(folder, recipe, provenance, weights)  # of timm's folder, which its TimmWrapper reads
        first = usage.partition("import timm\n")[0]  # what registers the architecture
        return (
            f"{first}from transformers import AutoImageProcessor, AutoModelForImageClassification\n\n"
            'model = AutoModelForImageClassification.from_pretrained("PATH")\n'
            'processor = AutoImageProcessor.from_pretrained("PATH")'
        )


KIND: TaskKind = Kind()
