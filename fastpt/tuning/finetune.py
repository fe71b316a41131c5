"""Fine-tuning: the encoder is trained together with the head, by LoRA or in full, under NMTune's regularisers.

L = cross-entropy + λ nmtune_regularizer(F, Z), where for the pictures of a batch, augmented as they are,

    F  are the features of the pre-trained encoder, which stays as it was: the consistency term holds on to them
    Z  are what the linear classifier sees: the fine-tuned encoder's features, after the MLP if the head has one

With frozen weights this is NMTune itself. Training is that of the heads (AdamW, cosine to 0, full batches cut from one
stream of shuffled epochs), on augmented pictures. The encoder stays in evaluation mode: BatchNorm keeps the statistics
of pre-training, and nothing is dropped, so that F and Z differ by the weights alone.

The variant "reference-code" is what the authors' code does instead: see `VARIANTS`.
"""

import copy
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.parametrize import register_parametrization

from fastpt import Loader
from fastpt.errors import FastptError
from fastpt.losses.nmtune import nmtune_regularizer
from fastpt.progress import Progress
from fastpt.tuning.encoders.encoder import Encoder, check_trainable, weights_sha256
from fastpt.tuning.features import training_view
from fastpt.tuning.heads import Heads, random_stream
from fastpt.tuning.methods import TrainingImages
from fastpt.tuning.methods.head_training import HeadTraining, Variant

Kind = Literal["lora", "full"]

RANK = 8


@dataclass(frozen=True)
class Tuning:
    """What the variants of fine-tuning do differently."""

    encoder_lr: Mapping[Kind, float]
    """Learning rate of the encoder's weights, as a multiple of the head's."""
    alpha: float
    """Of LoRA, whose rank is 8 in both."""
    adapted: str | None
    """Full names of the layers that have adapters, a regular expression; None: all in which they are the smaller."""
    train_mode: bool
    """The encoder is in training mode: BatchNorm's statistics move, and what drops values or paths does."""
    holds_features: bool
    """F are the pre-trained encoder's features; else there are no F, and no consistency term."""
    top: int
    """Singular values of Z whose mean L_SVD has for σ₁."""


VARIANTS: dict[Variant, Tuning] = {
    "paper": Tuning({"lora": 1.0, "full": 0.1}, 16, None, train_mode=False, holds_features=True, top=1),
    # One rate for all, LoRA as peft has it by default, and its regular expressions for timm and open_clip.
    "reference-code": Tuning(
        {"lora": 1.0, "full": 1.0},
        8,
        r"(.*\.)?mlp\.(fc\d|c_fc|c_proj)",
        train_mode=True,
        holds_features=False,
        top=5,
    ),
}


class LowRank(torch.nn.Module):
    """LoRA (Hu et al., ICLR 2022) of a weight W [out, ...]: W + α/r · B A, B [out, r] from 0, A [r, in · kernel]."""

    def __init__(self, weight: Tensor, alpha: float, generator: torch.Generator):
        super().__init__()
        self.scale = alpha / RANK
        out, width = weight.flatten(1).shape
        bound = width**-0.5
        self.A = torch.nn.Parameter(torch.empty(RANK, width).uniform_(-bound, bound, generator=generator))
        self.B = torch.nn.Parameter(torch.zeros(out, RANK))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.scale * self.B @ self.A).view(weight.shape)


def trainable(encoder: Encoder, kind: Kind, seed: int, variant: Variant = "paper") -> Encoder:
    """A copy of the encoder, of equal features, whose weights are trained: all of them, or only adapters beside them.

    Adapters stand beside the weight matrices of linear layers, attention and convolutions (each kernel flattened)
    wherever they have fewer parameters than the matrix; in the variant of the authors' code beside the MLP layers of
    transformer blocks alone. Of a CLIP model, the image tower is trained. Raises FastptError if the encoder is no torch
    model, or has no place for adapters.
    """
    model: Any = copy.deepcopy(check_trainable(encoder))
    is_clip = hasattr(model, "encode_image")
    tower = model.visual if is_clip else model
    if kind == "full":
        tower.requires_grad_(True)
    else:
        _add_adapters(tower, VARIANTS[variant], random_stream(seed, "lora"))
        if not any(parameter.requires_grad for parameter in tower.parameters()):
            if VARIANTS[variant].adapted:
                raise FastptError(
                    f"encoder {encoder.name} has no transformer blocks with layers mlp.fc1 or mlp.c_fc, beside which "
                    "the authors' code has its adapters. Leave --variant out, or fine-tune all of it: --finetune full."
                )
            raise FastptError(
                f"encoder {encoder.name} has no layer wide enough for adapters of rank {RANK}. "
                "Fine-tune all of it: --finetune full."
            )
    return replace(encoder, model=model, forward=model.encode_image if is_clip else model)


def finetune(
    pictures: TrainingImages,
    labels: np.ndarray,
    classes: int,
    kind: Kind,
    training: HeadTraining,
    seed: int,
    variant: Variant = "paper",
) -> tuple[Encoder, Heads]:
    """The fine-tuned encoder and its one head; the encoder of the pictures is left as it is.

    labels: int64 [N], in [0, classes), of the N samples of `pictures`. The result depends on the arguments only (on one
    device and number of threads, bit for bit). Raises FastptError if the encoder cannot be fine-tuned or if training
    diverges.
    """
    encoder, dataset, sample_ids = pictures.encoder, pictures.dataset, pictures.sample_ids
    way, tuned = VARIANTS[variant], trainable(encoder, kind, seed, variant)
    device, crop, view = encoder.device, encoder.preprocessing, training_view(encoder, 0)
    dim = encoder(torch.zeros(1, crop.size, crop.size, 3, dtype=torch.uint8)).shape[1]
    heads = Heads(dim, classes, [seed], training.mlp, classifier_init=training.classifier_init).to(device)
    model = check_trainable(tuned).to(device).train(way.train_mode)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": list(heads.parameters()), "lr": training.lr},
        {"params": trained, "lr": training.lr * way.encoder_lr[kind]},
    ]
    batch = min(training.batch_size, len(sample_ids))
    steps = math.ceil(training.epochs * len(sample_ids) / batch)
    optimizer = torch.optim.AdamW(groups, weight_decay=training.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    targets = torch.full((len(dataset),), -1, device=device)
    targets[torch.from_numpy(sample_ids)] = torch.from_numpy(labels).to(device)
    loader = Loader(
        dataset,
        batch,
        crop.size,
        scale=view.scale,
        interpolation=crop.interpolation,
        flip=view.flip,
        decoder=pictures.decoder,
        device=device.type,
        seed=seed,
        threads=pictures.threads,
        drop_last=False,
    )
    cards = [device] if device.type == "cuda" else []
    dropped = int(random_stream(seed, "dropout").initial_seed())
    with loader, torch.random.fork_rng(cards), Progress(f"{kind} on {dataset.name}", "steps") as progress:
        torch.manual_seed(dropped)
        for step, (images, ids) in enumerate(itertools.islice(_batches(loader, sample_ids, batch), steps), 1):
            held = encoder(images) if way.holds_features and training.reg_weight else None
            loss = step_loss(heads, tuned.features(images), held, targets[ids.to(device)], training, way.top)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress(step, steps)
    if not all(bool(value.isfinite().all()) for value in (*heads.parameters(), *trained)):
        raise FastptError(f"Fine-tuning diverged at a learning rate of {training.lr} (seed {seed}). Lower it: --lrs.")
    model.eval().requires_grad_(False)
    return replace(tuned, weights_sha256=weights_sha256(model)), heads.eval().requires_grad_(False)


def step_loss(
    heads: Heads, features: Tensor, held: Tensor | None, labels: Tensor, training: HeadTraining, top: int
) -> Tensor:
    """CE + λ (w₁ L_MSE + w₂ L_COV + w₃ L_SVD) of a batch, to be differentiated by the head and the features.

    features: float32 [B, D], of the encoder that is trained; held: F, float32 [B, D], which L_MSE holds Z to, None
    where w₁ is 0; labels: int64 [B]; top: as in `nmtune_regularizer`.
    """
    logits, z = heads(features)
    loss = cross_entropy(logits[0], labels)
    if not training.reg_weight:
        return loss
    regularizer = nmtune_regularizer(z if held is None else held, z, *training.weights, top=top)
    return loss + training.reg_weight * regularizer.sum()


def _add_adapters(model: torch.nn.Module, way: Tuning, generator: torch.Generator) -> None:
    for full_name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d | torch.nn.MultiheadAttention):
            for name, weight in list(module.named_parameters(recurse=False)):
                if weight.ndim < 2:
                    continue
                smaller = RANK * sum(weight.flatten(1).shape) < weight.numel()
                if re.fullmatch(way.adapted, full_name) if way.adapted else smaller:
                    register_parametrization(module, name, LowRank(weight, way.alpha, generator).to(weight.device))


def _batches(loader: Loader, sample_ids: np.ndarray, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pictures, uint8 [size, H, W, 3], and ids, int64 [size], of the samples asked for; epoch after epoch, for ever."""
    wanted = torch.zeros(len(loader.dataset), dtype=torch.bool)
    wanted[torch.from_numpy(sample_ids)] = True
    images, ids = [], []
    while True:
        for batch in loader:
            kept = wanted[batch.sample_ids]
            images.extend(batch.images[kept.to(batch.images.device)])
            ids.extend(batch.sample_ids[kept])
            while len(ids) >= size:
                yield torch.stack(images[:size]), torch.stack(ids[:size])
                images, ids = images[size:], ids[size:]
