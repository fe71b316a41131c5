"""transformers' Trainer, one process or several: `torchrun --nproc-per-node 8 transformers_trainer.py SPLIT FOLDER`."""

import sys
from typing import Any

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN as MEAN
from timm.data.constants import IMAGENET_DEFAULT_STD as STD
from torch.utils.data import DataLoader
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainerCallback, TrainingArguments

from fastpt.torch import FastptDataset, TensorBatch


def as_inputs(batch: TensorBatch) -> dict[str, Any]:
    return {"pixel_values": batch.images, "labels": batch.targets}


class FastptTrainer(Trainer):
    def get_train_dataloader(self) -> DataLoader:
        """Not prepared by accelerate, which would split batches that are split by rank already."""
        return DataLoader(self.train_dataset, batch_size=None, collate_fn=as_inputs)


class Epochs(TrainerCallback):
    """The Trainer resumes in the middle of an epoch by reading over what it has seen: of the same epoch, then."""

    def on_epoch_begin(self, args, state, control, train_dataloader, **_):
        data = train_dataloader.dataset
        data.set_epoch(state.global_step * args.gradient_accumulation_steps // len(data))


def train(
    split: str, folder: str, size: int, noise: float, config: dict, resume: bool = False, **settings: Any
) -> Trainer:
    """`settings` are TrainingArguments, `config` a ResNetConfig, by default of a ResNet-50."""
    torch.manual_seed(0)
    arguments = TrainingArguments(folder, report_to="none", **settings)
    data = FastptDataset(split, arguments.per_device_train_batch_size, size, seed=0, noise=noise, normalize=(MEAN, STD))
    model = ResNetForImageClassification(ResNetConfig(num_labels=len(data.dataset.classes), **config))
    trainer = FastptTrainer(model, arguments, train_dataset=data, callbacks=[Epochs()])
    trainer.train(resume_from_checkpoint=resume or None)
    return trainer


if __name__ == "__main__":
    train(*sys.argv[1:], size=224, noise=0.05, config={}, num_train_epochs=90, per_device_train_batch_size=256)
