"""CLIP pre-training: open_clip's two towers on picture-caption pairs, with captions as a noise plan shows them."""

import copy
import difflib
import math
from collections.abc import Callable, Sequence

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.tokenizer import SimpleTokenizer

import fastpt.models  # noqa: F401  (a vision tower may be one of the small-picture ResNets)
from fastpt import Batch, Dataset
from fastpt.errors import FastptError
from fastpt.loading.batch_transforms import to_floats
from fastpt.recipe import Model, Recipe
from fastpt.training.evaluation import batches_of, gather_rows, split_name
from fastpt.training.launch import Process

MEAN, STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
MAX_LOGIT_SCALE = math.log(100)  # Radford et al. 2021, section 2.5


def model_config(model: Model, size: int) -> dict:
    """open_clip's configuration of the recipe's model for pictures of `size` pixels. Raises FastptError if unknown."""
    config = copy.deepcopy(model.config) if model.config else open_clip.get_model_config(model.name)
    if config is None:
        near = ", ".join(difflib.get_close_matches(model.name, open_clip.list_models(), n=3)) or "see open_clip"
        raise FastptError(
            f"model.name is {model.name!r}, which open_clip does not know. Near it: {near}. "
            "A model of your own is written out in model.config."
        )
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - set(config)
    if missing:
        raise FastptError(
            f"model.config lacks {', '.join(sorted(missing))}; see open_clip's model_configs for examples."
        )
    if "multimodal_cfg" in config or "hf_model_name" in config["text_cfg"] or "hf_tokenizer_name" in config["text_cfg"]:
        raise FastptError(
            f"{model.name} needs a text tower or tokenizer from the network; choose a plain open_clip CLIP."
        )
    config["vision_cfg"]["image_size"] = size
    return config


def build_model(config: dict, **extra) -> torch.nn.Module:
    """The model that a configuration describes, returning dictionaries. Raises FastptError if it describes none."""
    config = {**config, **extra}
    kind = CustomTextCLIP if config.pop("custom_text", False) else CLIP
    try:
        return kind(**config, output_dict=True)
    except (TypeError, RuntimeError) as error:
        raise FastptError(f"open_clip cannot make the model: {error}") from None


def tokenize(texts: Sequence[str], context: int) -> np.ndarray:
    """Tokens of CLIP's byte-pair encoding, uint16 [len(texts), context] (49,408 words), cut to the context."""
    tokenizer = SimpleTokenizer(context_length=context)
    tokens = np.empty((len(texts), context), np.uint16)
    for start in range(0, len(texts), 4096):
        part = list(texts[start : start + 4096])
        tokens[start : start + len(part)] = tokenizer(part).numpy()
    return tokens


class Clip:
    """The CLIP task: what a step's loss is, and what is measured."""

    def __init__(self, recipe: Recipe, process: Process):
        self.recipe, self.process = recipe, process
        self.train_set = Dataset(recipe.data.train)
        self.noise = self.train_set.noise_plan(recipe.data.noise, "captions")
        self._shown = self.train_set.targets(recipe.data.noise, of="captions")  # row whose caption a sample is shown
        self.val_set = Dataset(recipe.data.val) if recipe.data.val else None
        self.zero_shot_set = Dataset(recipe.zero_shot.data) if recipe.zero_shot else None
        config = model_config(recipe.model, recipe.data.size)
        self._context = config["text_cfg"].get("context_length", 77)
        # DeepSpeed views parameters as bytes, which a scalar does not allow; the export makes it a scalar again.
        self.model = build_model(config, nonscalar_logit_scale=True)
        self._tokens = tokenize(self.train_set.captions(np.arange(len(self.train_set))), self._context)
        self._loss = ClipLoss(
            local_loss=True, gather_with_grad=True, rank=process.rank, world_size=process.world_size
        )  # fmt: skip

    def loss(self, forward: Callable, batch: Batch) -> torch.Tensor:
        """The contrastive loss of this process's rows against the global batch, float32 scalar."""
        images = to_floats(batch.images.to(self.process.device, non_blocking=True), MEAN, STD)
        rows = self._shown[batch.sample_ids.cpu().numpy()]
        out = forward(image=images, text=self._on_device(self._tokens[rows]))
        return self._loss(out["image_features"].float(), out["text_features"].float(), out["logit_scale"].float())

    def after_step(self) -> None:
        """Keep the temperature within the published bound."""
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)

    @torch.no_grad()
    def evaluate(self, forward: Callable) -> dict[str, dict[str, float]]:
        """{split: measures}, shares of 0 to 1: zero_shot_top1 and _top5 by class names; retrieval recall at 1."""
        results: dict[str, dict[str, float]] = {}
        sets = {dataset.path: dataset for dataset in (self.zero_shot_set, self.val_set) if dataset is not None}
        for dataset in sets.values():
            ids, images = self._image_features(forward, dataset)
            measures = results.setdefault(split_name(dataset, self.train_set), {})
            if dataset.path == getattr(self.zero_shot_set, "path", None):
                measures |= self._zero_shot(forward, ids, images)
            if dataset.path == getattr(self.val_set, "path", None):
                measures |= self._retrieval(forward, ids, images)
        return results

    def _zero_shot(self, forward: Callable, ids: torch.Tensor, images: torch.Tensor) -> dict[str, float]:
        dataset, names = self.zero_shot_set, self.recipe.zero_shot.templates
        templates = {"openai": open_clip.OPENAI_IMAGENET_TEMPLATES, "simple": open_clip.SIMPLE_IMAGENET_TEMPLATES}
        chosen = templates[names] if isinstance(names, str) else [text.format for text in names]
        texts = [template(name) for name in dataset.class_names for template in chosen]
        features = self._text_features(forward, tokenize(texts, self._context))
        classifier = F.normalize(features.view(len(dataset.class_names), len(chosen), -1).mean(1), dim=1)
        labels = torch.from_numpy(dataset.targets(None, of="labels"))[ids]
        right = (images @ classifier.T).topk(min(5, len(classifier))).indices == labels[:, None]
        return {"zero_shot_top1": _share(right[:, 0]), "zero_shot_top5": _share(right.any(1))}

    def _retrieval(self, forward: Callable, ids: torch.Tensor, images: torch.Tensor) -> dict[str, float]:
        """Recall at 1 over the whole split; a caption equal to the right one is right too."""
        captions = self.val_set.captions(ids.numpy())
        texts = self._text_features(forward, tokenize(captions, self._context))
        same = torch.from_numpy(np.unique(captions, return_inverse=True)[1])
        # By blocks of rows: a table of all pairs would grow with the square of the split.
        text_of = torch.cat([(block @ texts.T).argmax(1) for block in images.split(1024)])
        image_of = torch.cat([(block @ images.T).argmax(1) for block in texts.split(1024)])
        return {
            "image_to_text_recall1": _share(same[text_of] == same),
            "text_to_image_recall1": _share(same[image_of] == same),
        }

    def _image_features(self, forward: Callable, dataset: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
        """int64 [N] sample ids and float32 [N, D] unit features of a split, of all processes."""
        ids, features = [], []
        for batch in batches_of(dataset, self.recipe, self.process):
            images = to_floats(batch.images.to(self.process.device, non_blocking=True), MEAN, STD)
            features.append(forward(image=images)["image_features"].float().cpu())
            ids.append(batch.sample_ids.cpu())
        return gather_rows(torch.cat(ids), self.process), gather_rows(torch.cat(features), self.process)

    def _text_features(self, forward: Callable, tokens: np.ndarray) -> torch.Tensor:
        """float32 [len(tokens), D] unit features; every process computes all of them."""
        size = self.recipe.evaluate.batch_size
        parts = [tokens[start : start + size] for start in range(0, len(tokens), size)]
        return torch.cat([forward(text=self._on_device(part))["text_features"].float().cpu() for part in parts])

    def _on_device(self, tokens: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(tokens.astype(np.int64)).to(self.process.device, non_blocking=True)


def _share(right: torch.Tensor) -> float:
    return right.double().mean().item()
