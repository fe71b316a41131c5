"""Lightning, on as many devices as there are: `python lightning_trainer.py SPLIT VAL FOLDER [CHECKPOINT]`."""

import sys
from typing import Any

import lightning
import timm
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN as MEAN
from timm.data.constants import IMAGENET_DEFAULT_STD as STD
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from fastpt.torch import FastptDataset, TensorBatch


class Classifier(lightning.LightningModule):
    def __init__(self, name: str, classes: int):
        super().__init__()
        self.model = timm.create_model(name, num_classes=classes)

    def on_train_epoch_start(self) -> None:
        self.trainer.train_dataloader.dataset.set_epoch(self.current_epoch)  # within it, once a state was loaded

    def training_step(self, batch: TensorBatch, _: int) -> torch.Tensor:
        loss = cross_entropy(self.model(batch.images), batch.targets)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: TensorBatch, _: int) -> None:
        right = self.model(batch.images).argmax(1) == batch.targets
        self.log("accuracy", right.double().mean(), batch_size=len(right), sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def train(
    split: str,
    val: str,
    folder: str,
    batch_size: int,
    size: int,
    noise: float,
    name: str = "resnet50",
    checkpoint: str | None = None,
    **settings: Any,
) -> lightning.Trainer:
    """`settings` are the Trainer's. A checkpoint holds the place in the data, too: Lightning keeps a loader's state."""
    lightning.seed_everything(0)
    data = FastptDataset(split, batch_size, size, seed=0, noise=noise, normalize=(MEAN, STD))
    held_out = FastptDataset(
        val, batch_size, size, seed=0, crop="center", order="sequential", drop_last=False, normalize=(MEAN, STD)
    )
    trainer = lightning.Trainer(default_root_dir=folder, **settings)
    trainer.fit(
        Classifier(name, len(data.dataset.classes)),
        StatefulDataLoader(data, batch_size=None),
        DataLoader(held_out, batch_size=None),
        ckpt_path=checkpoint,
    )
    return trainer


if __name__ == "__main__":
    split, val, folder, *checkpoint = sys.argv[1:]
    train(split, val, folder, 256, 224, noise=0.05, checkpoint=checkpoint[0] if checkpoint else None, max_epochs=90)
