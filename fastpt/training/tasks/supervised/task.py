"""Supervised pre-training at work: model, loss, measures, export."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.data.mixup import Mixup
from torch import Tensor, nn

import fastpt.models  # which registers models with timm
from fastpt import Batch, Dataset, Loader
from fastpt.augment.pipeline import augmented
from fastpt.augment.transforms import normalize
from fastpt.data.classes import differing, misnamed
from fastpt.data.samples import ImageDataset
from fastpt.errors import FastptError, Problems, RecipeError, suggestion
from fastpt.files import write_json
from fastpt.losses.classification import (
    binary_cross_entropy,
    generalized_cross_entropy,
    symmetric_cross_entropy,
)
from fastpt.printable import first_few, one_line
from fastpt.recipe import Recipe
from fastpt.training.evaluation import evaluation_loader, outputs_of, split_name, sum_over_processes
from fastpt.training.launch import DistInfo
from fastpt.training.optim import Decays, timm_decays
from fastpt.training.tasks.kept import kept, open_train
from fastpt.training.tasks.kind import Observe, Results
from fastpt.training.tasks.supervised import Settings
from fastpt.training.trial import try_sizes
from fastpt.training.weights import checkpoint_activations

MEAN, STD = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

log = logging.getLogger("fastpt.training")


def build_model(recipe: Recipe, classes: int) -> nn.Module:
    """The recipe's timm model with one output for each class. Raises RecipeError if timm has no such model."""
    name, known = recipe.model.name, timm.list_models()
    if name.split(".")[0] not in known:
        raise RecipeError(f"model.name is {name!r}, which timm does not know; {suggestion(name, known, most=3)}")
    drop_path = {"drop_path_rate": recipe.model.drop_path} if recipe.model.drop_path else {}
    try:
        return timm.create_model(name, num_classes=classes, **drop_path, **recipe.model.args)
    except Exception as error:  # of whatever kind: the arguments are the user's, and models check few of them
        raise RecipeError(f"timm cannot make {name} with model.args {recipe.model.args}: {one_line(error)}") from None


class Supervised:
    """The supervised task: what a step's loss is, and what is measured."""

    def __init__(self, recipe: Recipe, dist_info: DistInfo):
        self.recipe, self.settings, self.dist_info = recipe, recipe.of_task(Settings), dist_info
        problems = Problems()
        with problems.noted():
            self.train_set = open_train(recipe.data)
        with problems.noted():
            self.val_set = Dataset(recipe.data.val) if recipe.data.val else None
        problems.tell()
        there = np.unique(self.train_set.clean_labels)  # without labels there is nothing else to tell
        with problems.noted():
            self.noise = self.train_set.noise_plan(recipe.data.noise, "labels")
            self.trained_on, labels = kept(self.train_set, recipe.data, "labels")
            self.labels = torch.from_numpy(labels)
        with problems.noted():
            self._check_classes(there)
        classes = len(self.train_set.classes)
        with problems.noted():
            self.model = build_model(recipe, classes)
            if recipe.engine.activation_checkpointing:
                checkpoint_activations(self.model, self.model, f"timm's {recipe.model.name}")
            try_sizes(recipe, dist_info.world_size, self.model, self.model, classes)
        problems.tell()
        augment = recipe.augment
        self._mixup = (
            Mixup(augment.mixup, augment.cutmix, label_smoothing=0.0, num_classes=classes)
            if augment.mixup or augment.cutmix
            else None
        )

    @property
    def decays(self) -> Decays:
        return timm_decays(self.model)

    @property
    def measured_on(self) -> Mapping[str, ImageDataset]:
        return {"data.val": self.val_set} if self.val_set else {}

    def _check_classes(self, there: np.ndarray) -> None:
        """Raise FastptError if there is nothing to tell apart, or nothing to measure it by; say what is not trained.

        `there` are the classes that the training split has pictures of.
        """
        train, val = self.train_set, self.val_set
        if len(there) < 2:
            raise FastptError(f"{train.path} has pictures of one class ({train.classes[there[0]]}): nothing to learn.")
        if val is None:
            return
        if val.classes != train.classes:
            raise RecipeError(
                f"{val.path} has other classes ({len(val.classes)}) than {train.path} ({len(train.classes)}): "
                f"{differing(val.classes, train.classes, 'in the first', 'in the second')}. Prepare both from one "
                "source, or choose another data.val."
            )
        if problem := misnamed(train, val, range(len(val.classes))):
            raise RecipeError(f"{problem}. Prepare both from one source, or choose another data.val.")
        untrained = np.setdiff1d(val.clean_labels, there)
        if len(untrained) and self.dist_info.is_rank_zero:
            log.warning(
                "%s has pictures of %s of which %s has none (%s): they count as wrong.",
                val.path,
                f"{len(untrained)} classes" if len(untrained) > 1 else "a class",
                train.path,
                first_few([train.classes[label] for label in untrained], 3),
            )

    def losses(
        self, forward: Callable, pieces: Iterable[Batch], seed_piece: Callable[[int], None], observe: Observe
    ) -> Iterator[Tensor]:
        for number, piece in enumerate(pieces):
            seed_piece(number)
            yield self.loss(forward, piece, observe)

    def loss(self, forward: Callable, batch: Batch, observe: Observe) -> Tensor:
        """The mean loss of a batch, float32 scalar."""
        images = batch.images.to(self.dist_info.device, non_blocking=True)
        labels = self.labels[batch.sample_ids.cpu()].to(self.dist_info.device, non_blocking=True)
        augment, data, settings = self.recipe.augment, self.recipe.data, self.settings
        compiled = self.recipe.engine.compile and images.is_cuda
        images = augmented(images, batch.rng_keys, augment, data.interpolation, MEAN, STD, compiled)
        if self._mixup:
            images, labels = self._mixup(images, labels)
        logits = forward(images).float()
        if not self._mixup:
            observe(batch, logits, labels)
        if settings.loss == "bce":
            loss = binary_cross_entropy(logits, labels, augment.label_smoothing, settings.bce_threshold)
            return loss * logits.shape[1] if settings.bce_reduction == "sum" else loss
        if settings.gce_q is not None:
            return generalized_cross_entropy(logits, labels, settings.gce_q).mean()
        if settings.sce_alpha is not None and settings.sce_beta is not None and settings.sce_log_zero is not None:
            weights = settings.sce_alpha, settings.sce_beta, settings.sce_log_zero
            return symmetric_cross_entropy(logits, labels, *weights).mean()
        return F.cross_entropy(logits, labels, label_smoothing=augment.label_smoothing)

    def after_step(self) -> None:
        """A classifier has nothing to keep within bounds."""

    @torch.no_grad()
    def evaluate(self, forward: Callable, last: bool) -> Results:
        """{split: measures}, shares of 0 to 1: over the clean labels of `data.val`, at the last of what was learned."""
        results = self._accuracy(forward)
        for split, measures in self._memorization(forward).items() if last else ():
            results[split] = results.get(split, {}) | measures  # data.val may be the training split
        return results

    @cached_property
    def _val_loader(self) -> Loader:
        assert self.val_set is not None
        return evaluation_loader(self.val_set, self.recipe, self.dist_info)

    def _accuracy(self, forward: Callable) -> Results:
        if self.val_set is None:
            return {}
        labels = torch.from_numpy(self.val_set.targets(None, of="labels"))
        tally = torch.zeros(3, dtype=torch.float64)  # right at 1, right within 5, seen
        for batch in self._val_loader:
            logits = self._logits(forward, batch)
            ranked = logits.topk(min(5, logits.shape[1])).indices == labels[batch.sample_ids.cpu()][:, None]
            tally += torch.stack([ranked[:, 0].sum(), ranked.sum(), torch.tensor(len(ranked))])
        right1, right5, seen = sum_over_processes(tally, self.dist_info).tolist()
        return {split_name(self.val_set, self.train_set): {"top1": right1 / seen, "top5": right5 / seen}}

    def _memorization(self, forward: Callable) -> Results:
        """What was learned of the training labels, in evaluation crops: {split: measures}, {} without noise.

        Of wrongly labelled pictures, the shares predicted as their clean class (which those of another split do not
        have) and as the noisy one that they were trained on; of the rightly labelled ones met on the way, the share
        predicted as labelled. Pictures come in random order until `memorization_samples` wrong ones are seen, over all
        processes.
        """
        if self.noise is None or not self.settings.memorization_samples:
            return {}
        train_set, noise = self.train_set, self.recipe.data.noise
        clean, labels = (torch.from_numpy(train_set.targets(one, of="labels")) for one in (None, noise))
        is_wrong = torch.from_numpy(train_set.wrong(noise, of="labels"))
        tally = torch.zeros(5, dtype=torch.float64)  # wrong: seen, as clean, as noisy; right: seen, as labelled
        total = tally  # of all processes, which end with the same batch: ZeRO 3 runs the model on all at once
        pictures = train_set.shown(noise, of="labels")
        with evaluation_loader(pictures, self.recipe, self.dist_info, order="random") as loader:
            for batch in loader:
                ids = batch.sample_ids.cpu()
                predicted, shown, true = self._logits(forward, batch).argmax(1), labels[ids], clean[ids]
                wrong = is_wrong[ids]
                as_clean, as_shown = predicted == true, predicted == shown
                counted = (wrong, wrong & as_clean, wrong & as_shown, ~wrong, ~wrong & as_shown)
                tally += torch.stack([which.sum() for which in counted])
                total = sum_over_processes(tally, self.dist_info)
                if total[0] >= self.settings.memorization_samples:
                    break
        wrong, as_clean, as_noisy, right, as_labelled = total.tolist()
        measures = {"mislabeled_corrected": as_clean / wrong, "mislabeled_memorized": as_noisy / wrong} if wrong else {}
        if self.noise.of == "pictures":
            measures.pop("mislabeled_corrected", None)
        return {train_set.split: measures | ({"clean_fit": as_labelled / right} if right else {})}

    def _logits(self, forward: Callable, batch: Batch) -> Tensor:
        """float32 [B, classes] on the CPU, averaged with those of the mirror images if the recipe says so."""

        def run(images: Tensor) -> Tensor:
            logits = forward(images).float()
            return (logits + forward(images.flip(3)).float()) / 2 if self.recipe.evaluate.flip else logits

        images = normalize(batch.images.to(self.dist_info.device, non_blocking=True), MEAN, STD)
        return outputs_of(run, images).cpu()


def export(folder: Path, recipe: Recipe, names: list[str], weights: Mapping[str, Tensor]) -> str:
    """What timm loads: see `TaskKind.export`; `names` are the classes'."""
    data = recipe.data
    model: Any = build_model(recipe, len(names))
    model.load_state_dict(weights, strict=True)
    size, arguments = data.eval_size or data.size, dict(recipe.model.args)
    if model.pretrained_cfg.get("fixed_input_size"):  # timm would build it for the size of the pictures instead
        arguments.setdefault("img_size", model.pretrained_cfg["input_size"][-1])
    config = {
        "architecture": recipe.model.name.split(".")[0],
        "num_classes": len(names),
        "num_features": model.num_features,
        "label_names": names,
        "pretrained_cfg": {
            "input_size": [3, size, size],
            "fixed_input_size": model.pretrained_cfg.get("fixed_input_size", False),
            "interpolation": "box" if data.eval_interpolation == "area" else data.eval_interpolation,
            "crop_pct": data.crop_fraction,
            "crop_mode": "center",
            "mean": list(MEAN),
            "std": list(STD),
            "num_classes": len(names),
            "pool_size": None,
            "first_conv": model.pretrained_cfg.get("first_conv"),
            "classifier": model.pretrained_cfg.get("classifier"),
        },
        "model_args": arguments,
    }
    write_json(folder / "config.json", config)
    safetensors.torch.save_file(dict(weights), folder / "model.safetensors", {"format": "pt"})
    module = fastpt.models.module_of(config["architecture"])
    first = f"import {module}  # registers the architecture\n" if module else ""
    return f'{first}import timm\n\nmodel = timm.create_model("local-dir:PATH", pretrained=True)'
