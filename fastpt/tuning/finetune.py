"""Fine-tuning: the encoder is trained together with the head, by LoRA or in full, under NMTune's regularisers.

L = cross-entropy + λ nmtune_regularizer(F, Z), where for the pictures of a batch, augmented as they are,

    F  are the features of the pre-trained encoder, which stays as it was: the consistency term holds on to them
    Z  are what the linear classifier sees: the fine-tuned encoder's features, after the MLP if the head has one

With frozen weights this is NMTune itself. Training is that of the heads (AdamW, cosine to 0, full batches cut from one
stream of shuffled epochs), on augmented pictures. The encoder stays in evaluation mode: BatchNorm keeps the statistics
of pre-training, and nothing is dropped, so that F and Z differ by the weights alone.
"""

import copy
import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
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
from fastpt.tuning.methods.head_training import HeadTraining

Kind = Literal["lora", "full"]

ENCODER_LR = {"lora": 1.0, "full": 0.1}
"""Learning rate of the encoder's weights, as a multiple of the head's."""
RANK, ALPHA = 8, 16


class LowRank(torch.nn.Module):
    """LoRA (Hu et al., ICLR 2022) of a weight W [out, ...]: W + α/r · B A, B [out, r] from 0, A [r, in · kernel]."""

    def __init__(self, weight: Tensor, generator: torch.Generator):
        super().__init__()
        out, width = weight.flatten(1).shape
        bound = width**-0.5
        self.A = torch.nn.Parameter(torch.empty(RANK, width).uniform_(-bound, bound, generator=generator))
        self.B = torch.nn.Parameter(torch.zeros(out, RANK))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (ALPHA / RANK * self.B @ self.A).view(weight.shape)


def trainable(encoder: Encoder, kind: Kind, seed: int) -> Encoder:
    """A copy of the encoder, of equal features, whose weights are trained: all of them, or only adapters beside them.

    Adapters stand beside the weight matrices of linear layers, attention and convolutions (each kernel flattened)
    wherever they have fewer parameters than the matrix. Of a CLIP model, the image tower is trained. Raises
    FastptError if the encoder is no torch model, or has no place for adapters.
    """
    model: Any = copy.deepcopy(check_trainable(encoder))
    is_clip = hasattr(model, "encode_image")
    tower = model.visual if is_clip else model
    if kind == "full":
        tower.requires_grad_(True)
    else:
        _add_adapters(tower, random_stream(seed, "lora"))
        if not any(parameter.requires_grad for parameter in tower.parameters()):
            raise FastptError(
                f"encoder {encoder.name} has no layer wide enough for adapters of rank {RANK}. "
                "Fine-tune all of it: --finetune full."
            )
    return replace(encoder, model=model, forward=model.encode_image if is_clip else model)


def finetune(
    pictures: TrainingImages, labels: np.ndarray, classes: int, kind: Kind, training: HeadTraining, seed: int
) -> tuple[Encoder, Heads]:
    """The fine-tuned encoder and its one head; the encoder of the pictures is left as it is.

    labels: int64 [N], in [0, classes), of the N samples of `pictures`. The result depends on the arguments only (on one
    device and number of threads, bit for bit). Raises FastptError if the encoder cannot be fine-tuned or if training
    diverges.
    """
    encoder, dataset, sample_ids = pictures.encoder, pictures.dataset, pictures.sample_ids
    tuned = trainable(encoder, kind, seed)
    device, crop, view = encoder.device, encoder.preprocessing, training_view(encoder, 0)
    dim = encoder(torch.zeros(1, crop.size, crop.size, 3, dtype=torch.uint8)).shape[1]
    heads = Heads(dim, classes, [seed], training.mlp).to(device)
    model = check_trainable(tuned).to(device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": list(heads.parameters()), "lr": training.lr},
        {"params": trained, "lr": training.lr * ENCODER_LR[kind]},
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
    with loader, Progress(f"{kind} on {dataset.name}", "steps") as progress:
        for step, (images, ids) in enumerate(itertools.islice(_batches(loader, sample_ids, batch), steps), 1):
            logits, z = heads(tuned.features(images))
            loss = cross_entropy(logits[0], targets[ids.to(device)])
            if training.reg_weight:
                loss = loss + training.reg_weight * nmtune_regularizer(encoder(images), z, *training.weights).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress(step, steps)
    if not all(bool(value.isfinite().all()) for value in (*heads.parameters(), *trained)):
        raise FastptError(f"Fine-tuning diverged at a learning rate of {training.lr} (seed {seed}). Lower it: --lrs.")
    model.requires_grad_(False)
    return replace(tuned, weights_sha256=weights_sha256(model)), heads.eval().requires_grad_(False)


def _add_adapters(model: torch.nn.Module, generator: torch.Generator) -> None:
    for module in list(model.modules()):
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d | torch.nn.MultiheadAttention):
            for name, weight in list(module.named_parameters(recurse=False)):
                if weight.ndim > 1 and RANK * sum(weight.flatten(1).shape) < weight.numel():
                    register_parametrization(module, name, LowRank(weight, generator).to(weight.device))


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
