"""CLIP pre-training at work: model, loss, measures, export."""

import copy
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import safetensors.torch
import torch
from open_clip.loss import gather_features
from open_clip.model import CLIP, CustomTextCLIP
from torch import Tensor

import fastpt.models  # which registers models with timm
from fastpt import Batch, Dataset
from fastpt.augment.pipeline import augmented
from fastpt.augment.transforms import normalize
from fastpt.data.classes import no_words
from fastpt.data.samples import ImageDataset
from fastpt.data.subset import Subset
from fastpt.errors import FastptError, Problems, RecipeError, suggestion
from fastpt.files import write_json
from fastpt.losses.contrastive import contrastive, sigmoid_contrastive
from fastpt.printable import one_line, percentage
from fastpt.recipe import Recipe
from fastpt.training import deepspeed_adapter
from fastpt.training.config import Model
from fastpt.training.evaluation import evaluation_loader, gather_rows, outputs_of, share_of, split_name
from fastpt.training.gradcache import whole_batch_losses
from fastpt.training.launch import DistInfo, once_a_node
from fastpt.training.optim import Decays, open_clip_decays
from fastpt.training.tasks.clip import Settings
from fastpt.training.tasks.kept import kept, open_train
from fastpt.training.tasks.kind import Observe, Results
from fastpt.training.tokens import VOCABULARY, Tokens, tokenize
from fastpt.training.trial import try_sizes
from fastpt.training.weights import checkpoint_activations
from fastpt.zero_shot import classifier_of

log = logging.getLogger("fastpt.training")

MEAN, STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
OUTPUTS = ("image_features", "text_features", "logit_scale", "logit_bias")  # the last of SigLIP's alone
SIGMOID = {"init_logit_scale": math.log(10), "init_logit_bias": -10.0}  # Zhai et al. 2023, section 3.2
MAX_LOGIT_SCALE = math.log(100)  # Radford et al. 2021, section 2.5


def model_config(model: Model, size: int, loss: str = "softmax") -> dict:
    """open_clip's configuration of the recipe's model for pictures of `size` pixels, and what `loss` wants of it.

    Raises RecipeError if the model is unknown, or made for another loss.
    """
    config = copy.deepcopy(model.config) if model.config else open_clip.get_model_config(model.name)
    if config is None:
        near = suggestion(model.name, open_clip.list_models(), most=3)
        raise RecipeError(
            f"model.name is {model.name!r}, which open_clip does not know; {near} "
            "A model of your own is written out in model.config."
        )
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - set(config)
    if missing:
        raise RecipeError(
            f"model.config lacks {', '.join(sorted(missing))}; see open_clip's model_configs for examples."
        )
    if "multimodal_cfg" in config or "hf_model_name" in config["text_cfg"] or "hf_tokenizer_name" in config["text_cfg"]:
        raise RecipeError(
            f"{model.name} needs a text tower or tokenizer from the network; choose a plain open_clip CLIP."
        )
    if "tokenizer_kwargs" in config["text_cfg"]:
        raise RecipeError(
            f"text_cfg.tokenizer_kwargs of {model.name} cannot be kept to: captions are tokens of CLIP's own."
        )
    words = config["text_cfg"].get("vocab_size", VOCABULARY)
    if words < VOCABULARY:
        raise RecipeError(
            f"text_cfg.vocab_size of {model.name} is {words}, but CLIP's byte-pair encoding has {VOCABULARY} words. "
            f"Set it to {VOCABULARY}."
        )
    if config["vision_cfg"].get("timm_model_pretrained"):
        raise RecipeError(
            f"vision_cfg.timm_model_pretrained of {model.name} cannot be true: a run begins with random weights, and "
            "its record knows no others."
        )
    if model.config and config["vision_cfg"].get("image_size", size) != size:
        raise RecipeError(
            f"model.config.vision_cfg.image_size is {config['vision_cfg']['image_size']}, but data.size {size}. Make "
            "them the same, or leave image_size out."
        )
    if loss == "softmax" and config.get("init_logit_bias") is not None:
        raise RecipeError(
            f"{model.name} has an init_logit_bias, which only clip.loss sigmoid learns. Choose that, or leave it out."
        )
    config["vision_cfg"]["image_size"] = size
    return {**SIGMOID, **config} if loss == "sigmoid" else config


def build_model(config: dict, **extra: Any) -> CLIP | CustomTextCLIP:
    """The model that a configuration describes, returning dictionaries. Raises RecipeError if it describes none."""
    config = {**config, **extra}
    kind = CustomTextCLIP if config.pop("custom_text", False) else CLIP
    try:
        return kind(**config, output_dict=True)
    except Exception as error:  # of whatever kind: the configuration may be the user's
        raise RecipeError(f"open_clip cannot make the model: {one_line(error)}") from None


def contrastive_loss(dist_info: DistInfo) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The loss of this process's pairs against those of all, of (images [n, D], texts [n, D], scale [1])."""

    def loss(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
        everything = _of_all(images, texts, dist_info)
        return contrastive(images, texts, *everything, scale, first=dist_info.rank * len(images))

    return loss


def sigmoid_loss(dist_info: DistInfo) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """The same of SigLIP's loss, of (images [n, D], texts [n, D], scale [1], bias [1])."""

    def loss(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        _, all_texts = _of_all(images, texts, dist_info)
        return sigmoid_contrastive(images, all_texts, scale, bias, first=dist_info.rank * len(images))

    return loss


def _of_all(images: Tensor, texts: Tensor, dist_info: DistInfo) -> tuple[Tensor, Tensor]:
    """The features of all processes, in order of their rank; gradients go back to whose they are."""
    if dist_info.world_size == 1:
        return images, texts
    return gather_features(images, texts, gather_with_grad=True, rank=dist_info.rank, world_size=dist_info.world_size)


class Clip:
    """The CLIP task: what a step's loss is, and what is measured."""

    def __init__(self, recipe: Recipe, dist_info: DistInfo):
        self.recipe, self.settings, self.dist_info = recipe, recipe.of_task(Settings), dist_info
        zero_shot, problems = self.settings.zero_shot, Problems()
        with problems.noted():
            self.train_set = open_train(recipe.data)
        with problems.noted():
            self.val_set = Dataset(recipe.data.val) if recipe.data.val else None
        with problems.noted():
            self.zero_shot_set = Dataset(zero_shot.data) if zero_shot else None
        problems.tell()
        with problems.noted():
            self.noise = self.train_set.noise_plan(recipe.data.noise, "captions")
            # The row whose caption each sample is shown.
            self.trained_on, self._shown = kept(self.train_set, recipe.data, "captions")
        with problems.noted():
            if self.val_set:
                self.val_set.require_captions()
        with problems.noted():
            if self.zero_shot_set and len(np.unique(self.zero_shot_set.clean_labels)) < 2:
                raise FastptError(f"{self.zero_shot_set.path} has pictures of one class: nothing to tell apart.")
        with problems.noted():
            self.model = self._build()
        problems.tell()
        if self.zero_shot_set and dist_info.is_rank_zero:
            self._warn_of_names(self.zero_shot_set)
        parts = getattr(self.train_set, "parts", [self.train_set])
        self._tokens = Tokens(parts, self._context, once=partial(once_a_node, dist_info))
        self._loader_of = cache(partial(evaluation_loader, recipe=recipe, dist_info=dist_info))
        self._loss = (sigmoid_loss if self.settings.loss == "sigmoid" else contrastive_loss)(dist_info)

    def _warn_of_names(self, dataset: Dataset) -> None:
        if odd := no_words(dataset.class_names):
            log.warning(
                "%d of the %d class names of %s are no words, such as %r: zero-shot puts them into its templates as "
                "they are. Prepare the split with names (classes.json beside class folders).",
                len(odd),
                len(dataset.class_names),
                dataset.path,
                odd[0],
            )

    @property
    def decays(self) -> Decays:
        return open_clip_decays

    @property
    def measured_on(self) -> Mapping[str, ImageDataset]:
        sets = {"data.val": self.val_set, "clip.zero_shot.data": self.zero_shot_set}
        return {key: dataset for key, dataset in sets.items() if dataset is not None}

    def _build(self) -> CLIP | CustomTextCLIP:
        recipe = self.recipe
        config = model_config(recipe.model, recipe.data.size, self.settings.loss)
        self._context = config["text_cfg"].get("context_length", 77)
        # DeepSpeed views parameters as bytes, which a scalar does not allow; the export makes it a scalar again.
        model = build_model(config, nonscalar_logit_scale=True)
        if recipe.engine.activation_checkpointing:
            checkpoint_activations(model, model.visual, f"the picture tower of {recipe.model.name}")
        text = torch.from_numpy(tokenize(["a text"], self._context).astype(np.int64))

        def compared(images: torch.Tensor) -> torch.Tensor:
            """Pictures with a text: a product only if the towers' features are of one size."""
            out = model(image=images, text=text)
            return out["image_features"] @ out["text_features"].T

        try_sizes(recipe, self.dist_info.world_size, model, compared, outputs=1)
        return model

    def losses(
        self, forward: Callable, pieces: Iterable[Batch], seed_piece: Callable[[int], None], observe: Observe
    ) -> Iterator[Tensor]:
        """This process's rows against the global batch of all pieces: the loss, once for each piece."""
        inputs = [self._inputs(piece) for piece in pieces]
        if len(inputs) > 1:
            yield from whole_batch_losses(self._forward(forward), self.model, inputs, self._loss, seed_piece)
            return
        seed_piece(0)
        out = self._forward(forward)(**inputs[0])
        yield self._loss(*(out[name].float() for name in OUTPUTS if name in out))

    def _inputs(self, batch: Batch) -> dict[str, Tensor]:
        rows = self._shown[batch.sample_ids.cpu().numpy()]
        return {
            "images": batch.images.to(self.dist_info.device, non_blocking=True),
            "rng_keys": batch.rng_keys,
            "tokens": self._on_device(self._tokens[rows]),
        }

    def _forward(self, forward: Callable) -> Callable:
        """The model on pictures as the loader gives them: floats of all pieces would take four times the memory."""
        recipe = self.recipe

        def embed(images: Tensor, rng_keys: Tensor, tokens: Tensor) -> dict[str, Tensor]:
            compiled = recipe.engine.compile and images.is_cuda
            pixels = augmented(images, rng_keys, recipe.augment, recipe.data.interpolation, MEAN, STD, compiled)
            return forward(image=pixels, text=tokens)

        return embed

    def after_step(self) -> None:
        """Keep the temperature within the published bound."""
        deepspeed_adapter.clamp(self.model.logit_scale, 0, MAX_LOGIT_SCALE, self.recipe.engine.zero_stage)

    @torch.no_grad()
    def evaluate(self, forward: Callable, last: bool) -> Results:
        """{split: measures}, shares of 0 to 1: zero-shot by class names, retrieval, and pairs of the training split."""
        results: Results = {}
        if self.settings.memorization_samples:
            results[self.train_set.split] = self._training_pairs(forward)
        sets = {dataset.path: dataset for dataset in (self.zero_shot_set, self.val_set) if dataset is not None}
        for dataset in sets.values():
            ids, images = self._image_features(forward, dataset)
            measures = results.setdefault(split_name(dataset, self.train_set), {})
            if self.settings.zero_shot and dataset.path == getattr(self.zero_shot_set, "path", None):
                measures |= self._zero_shot(forward, dataset, self.settings.zero_shot.templates, ids, images)
            if dataset.path == getattr(self.val_set, "path", None):
                measures |= self._retrieval(forward, dataset, ids, images)
        return results

    @cached_property
    def _measured_pairs(self) -> Subset:
        """Up to `clip.memorization_samples` clean pairs of the training split, and as many noised ones."""
        train_set, noise = self.train_set, self.recipe.data.noise
        noised = train_set.wrong(noise, of="captions")
        random, most, chosen = np.random.default_rng(self.recipe.seed), self.settings.memorization_samples, []
        for kind in (~noised, noised):
            ids = np.flatnonzero(kind)
            chosen.append(np.sort(random.choice(ids, min(most, len(ids)), replace=False)))
        return Subset(train_set.shown(noise, of="captions"), np.concatenate(chosen))

    def _training_pairs(self, forward: Callable) -> dict[str, float]:
        """What was memorised: which caption is nearest to a training picture, of those that the measured pairs have.

        `clean_fit` and `mislabeled_memorized` are the shares of pictures nearest to the caption that they are shown,
        `mislabeled_corrected` of noised pairs nearest to their own caption instead, which those of another split do not
        have. Captions of equal text count as one.
        """
        own_rows = self.train_set.targets(None, of="captions")
        shown_rows = self.train_set.targets(self.recipe.data.noise, of="captions")
        some = self._measured_pairs
        found, images = self._image_features(forward, some)
        ids = some.rows[found.numpy()]
        shown, own = self._tokens[shown_rows[ids]], self._tokens[own_rows[ids]]
        captions, number = np.unique(np.concatenate([shown, own]), axis=0, return_inverse=True)
        shown, own = torch.from_numpy(number.reshape(2, -1))
        nearest = (images @ self._text_features(forward, captions).T).argmax(1)
        wrong = torch.from_numpy(self.train_set.wrong(self.recipe.data.noise, of="captions")[ids])
        measures = {"clean_fit": (nearest == shown)[~wrong], "mislabeled_memorized": (nearest == shown)[wrong]}
        if self.noise is None or self.noise.of != "pictures":
            measures["mislabeled_corrected"] = (nearest == own)[wrong]
        return {name: _share(right) for name, right in measures.items() if len(right)}

    def _zero_shot(
        self, forward: Callable, dataset: Dataset, templates: str | list[str], ids: Tensor, images: Tensor
    ) -> dict[str, float]:
        embed = lambda texts: self._text_features(forward, tokenize(texts, self._context))  # noqa: E731
        classifier = classifier_of(embed, dataset.class_names, templates)
        labels = torch.from_numpy(dataset.targets(None, of="labels"))[ids]
        right = (images @ classifier.T).topk(min(5, len(classifier))).indices == labels[:, None]
        return {"zero_shot_top1": _share(right[:, 0]), "zero_shot_top5": _share(right.any(1))}

    def _retrieval(self, forward: Callable, dataset: Dataset, ids: Tensor, images: Tensor) -> dict[str, float]:
        """Recall at 1, 5 and 10 over the whole split; a caption equal to the right one is right too, and one of a
        picture that is stored again, as where a picture has several captions."""
        captions = dataset.captions(ids.numpy())
        texts = self._text_features(forward, tokenize(captions, self._context))
        pictures = dataset.samples.xxh3[ids.numpy()]
        pictures = np.where(pictures == 0, ids.numpy().astype(pictures.dtype), pictures)  # not known: each its own
        same = [torch.from_numpy(np.unique(one, return_inverse=True)[1]) for one in (captions, pictures)]
        return recalls("image_to_text", images, texts, same) | recalls("text_to_image", texts, images, same)

    def _image_features(self, forward: Callable, dataset: ImageDataset) -> tuple[Tensor, Tensor]:
        """int64 [N] sample ids and float32 [N, D] unit features of a split, of all processes."""
        ids, features = [], []
        for batch in self._loader_of(dataset):
            images = normalize(batch.images.to(self.dist_info.device, non_blocking=True), MEAN, STD)
            features.append(outputs_of(lambda some: forward(image=some)["image_features"].float(), images).cpu())
            ids.append(batch.sample_ids.cpu())
        return gather_rows(torch.cat(ids), self.dist_info), gather_rows(torch.cat(features), self.dist_info)

    def _text_features(self, forward: Callable, tokens: np.ndarray) -> Tensor:
        """float32 [len(tokens), D] unit features, of all processes: each computes its share."""
        parts = [self._on_device(part) for part in share_of(tokens, self.dist_info, self.recipe.evaluate.batch_size)]
        run = lambda some: forward(text=some)["text_features"].float()  # noqa: E731
        return gather_rows(torch.cat([outputs_of(run, part).cpu() for part in parts]), self.dist_info)

    def _on_device(self, tokens: np.ndarray) -> Tensor:
        """uint16 [B, context] as int64 on the device: sent as they are, of memory that a copy need not wait for."""
        sent = torch.from_numpy(tokens)
        if self.dist_info.device.type == "cuda":
            sent = sent.pin_memory()
        return sent.to(self.dist_info.device, non_blocking=True).long()


def recalls(name: str, queries: Tensor, found: Tensor, same: Sequence[Tensor]) -> dict[str, float]:
    """Recall at 1, 5 and 10 of unit features, float32 [N, D]: shares of queries with a right row among the nearest.

    Rows i of both are a pair; any of `same`, int64 [N] each, is equal where rows are as good as each other.
    """
    hits = []
    for rows in torch.arange(len(queries)).split(1024):  # all pairs at once would be N x N
        nearest = (queries[rows] @ found.T).topk(min(10, len(found))).indices
        hits.append(torch.stack([one[nearest] == one[rows, None] for one in same]).any(0))
    right = torch.cat(hits)
    return {f"{name}_recall{k}": _share(right[:, :k].any(1)) for k in (1, 5, 10)}


def _share(right: Tensor) -> float:
    return right.double().mean().item()


def preprocess(recipe: Recipe) -> dict[str, Any]:
    """What a picture is to be made of, in open_clip's words: of the whole short side, as it knows no other crop."""
    asked = recipe.data.eval_interpolation
    interpolation = "bicubic" if asked == "area" else asked  # which it has not
    return {"mean": list(MEAN), "std": list(STD), "interpolation": interpolation, "resize_mode": "shortest"}


def _otherwise(recipe: Recipe, keeps_crop: bool) -> str:
    """A comment on what `preprocess` does otherwise than the recipe, by which the model was measured."""
    data = recipe.data
    differs = [] if keeps_crop or data.crop_fraction == 1 else [f"centre crops of {percentage(data.crop_fraction)}"]
    differs += ["resizing by area"] if data.eval_interpolation == "area" else []
    return f"\n# Measured with {' and '.join(differs)}, which this preprocessing has not." if differs else ""


def export(folder: Path, recipe: Recipe, weights: Mapping[str, Tensor]) -> str:
    """What open_clip loads: see `TaskKind.export`."""
    config = model_config(recipe.model, recipe.data.size, recipe.of_task(Settings).loss)
    weights = dict(weights)
    for name in {"logit_scale", "logit_bias"} & set(weights):
        weights[name] = weights[name].reshape(())  # a vector in training, see `Clip`
    build_model(config).load_state_dict(weights, strict=True)
    write_json(folder / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": preprocess(recipe)})
    safetensors.torch.save_file(weights, folder / "open_clip_model.safetensors", {"format": "pt"})
    tower = config["vision_cfg"].get("timm_model_name") or ""
    module = fastpt.models.module_of(tower)
    first = f"import {module}  # registers the vision tower\n" if module else ""
    return (
        f'{first}import open_clip\n\nmodel, _, preprocess = open_clip.create_model_and_transforms("local-dir:PATH")\n'
        'tokenizer = open_clip.get_tokenizer("local-dir:PATH")' + _otherwise(recipe, keeps_crop=False)
    )


def export_hf(folder: Path, recipe: Recipe, weights: Mapping[str, Tensor]) -> str:
    """What transformers loads: see `TaskKind.export_hf`."""
    try:
        from fastpt.training.tasks.clip import hf
    except ImportError:
        raise FastptError("exporting CLIP for transformers needs it: pip install 'fastpt[hf]'.") from None
    config, crop = model_config(recipe.model, recipe.data.size), recipe.data.crop_fraction
    hf.write(folder, config, weights, {**preprocess(recipe), "crop_fraction": crop})
    return (
        'from transformers import AutoProcessor, CLIPModel\n\nmodel = CLIPModel.from_pretrained("PATH")\n'
        'processor = AutoProcessor.from_pretrained("PATH")  # texts: padding=True, truncation=True'
        + _otherwise(recipe, keeps_crop=True)
    )
