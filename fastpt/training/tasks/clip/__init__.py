"""CLIP pre-training: open_clip's two towers on picture-caption pairs, with captions as a noise plan shows them."""

import string
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from fastpt import config
from fastpt.loading.config import SplitPath
from fastpt.training.tasks.kind import Task, TaskKind

if TYPE_CHECKING:
    from torch import Tensor

    from fastpt.data.plan import Targets
    from fastpt.recipe import Recipe
    from fastpt.training.launch import DistInfo


class ZeroShot(config.Section):
    """Zero-shot classification of a labelled split by its class names."""

    data: SplitPath
    """Folder of the prepared split."""
    templates: Literal["openai", "simple"] | list[str] = "simple"
    """open_clip's 80 ImageNet templates, its 7 simple ones, or your own: texts with {} where the class name goes."""

    def problems(self) -> Iterable[str]:
        if not self.templates:
            yield "clip.zero_shot.templates is empty; give texts with {} where the class name goes."
        for text in self.templates if isinstance(self.templates, list) else ():
            try:
                places = [place for _, *place in string.Formatter().parse(text) if place != [None, None, None]]
            except ValueError:
                places = []
            if places != [["", "", None]]:
                yield (
                    f"clip.zero_shot.templates has {text!r}; a text has one {{}}, where the class name goes, and no "
                    "other braces, but {{ and }} for braces that are meant."
                )


class Settings(config.Section):
    """What only task clip knows."""

    loss: Literal["softmax", "sigmoid"] = "softmax"
    """CLIP's loss, or SigLIP's (Zhai et al. 2023), whose logits have a bias that is learned too: it begins at -10, and
    the temperature at 10."""
    zero_shot: ZeroShot | None = None
    memorization_samples: int = Field(default=1000, ge=0)
    """How many clean and how many noised training pairs show what was memorised, at each evaluation; 0 is none."""


class Kind:
    """Captions of one or several splits, learned by an open_clip model; exported as open_clip loads it."""

    of: "Targets" = "captions"
    Section: type[config.Section] = Settings
    measures: Mapping[str, str] = {
        "zero_shot_top1": "Zero-shot top-1 accuracy",
        "zero_shot_top5": "Zero-shot top-5 accuracy",
        **{
            f"{way}_recall{k}": f"{way.replace('_', ' ').capitalize()}, recall at {k}"
            for way in ("image_to_text", "text_to_image")
            for k in (1, 5, 10)
        },
    }
    observes: bool = False

    def check(self, recipe: "Recipe") -> Iterable[str]:
        yield from recipe.unused(
            "augment.mixup",
            "augment.cutmix",
            "augment.label_smoothing",
            "augment.repeated_augmentation",
            "data.sizes",  # a tower has one size
            "model.drop_path",
            "model.args",
            "evaluate.flip",
        )
        data, best = recipe.data, recipe.checkpoint.keep_best
        if data.eval_size not in (None, data.size):
            yield f"data.eval_size {data.eval_size} differs from data.size {data.size}, but a clip tower has one size."
        is_zero_shot = best is not None and best.startswith("zero_shot")
        if is_zero_shot and recipe.of_task(Settings).zero_shot is None:
            yield f"checkpoint.keep_best {best} needs a split to measure it on; give clip.zero_shot."
        if best in self.measures and not is_zero_shot and data.val is None:
            yield f"checkpoint.keep_best {best} needs a split to measure it on; give data.val."

    def build(self, recipe: "Recipe", dist_info: "DistInfo") -> Task:
        from fastpt.training.tasks.clip.task import Clip

        return Clip(recipe, dist_info)

    def export(
        self, folder: Path, recipe: "Recipe", provenance: Mapping[str, Any], weights: Mapping[str, "Tensor"]
    ) -> str:
        from fastpt.training.tasks.clip.task import export

        return export(folder, recipe, weights)

    def export_hf(
        self, folder: Path, recipe: "Recipe", provenance: Mapping[str, Any], weights: Mapping[str, "Tensor"]
    ) -> str:
        from fastpt.training.tasks.clip.task import export_hf

        return export_hf(folder, recipe, weights)


KIND: TaskKind = Kind()
