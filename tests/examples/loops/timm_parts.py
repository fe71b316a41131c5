"""timm's optimisers, schedulers, EMA and losses: `python timm_parts.py SPLIT VAL`."""

import sys
from collections.abc import Iterator

import timm
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN as MEAN
from timm.data.constants import IMAGENET_DEFAULT_STD as STD
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from torch.utils.data import DataLoader

from fastpt.torch import FastptDataset

NORMALIZED = (MEAN, STD)


def train(
    split: str, val: str, epochs: int, batch_size: int, size: int, noise: float, name: str = "resnet50"
) -> Iterator[tuple[float, float]]:
    """Each epoch's mean loss and the accuracy of the averaged weights on clean labels."""
    torch.manual_seed(0)
    data = FastptDataset(split, batch_size, size, seed=0, noise=noise, normalize=NORMALIZED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = timm.create_model(name, num_classes=len(data.dataset.classes)).to(device)
    ema = ModelEmaV3(model, decay=0.9)
    optimizer = create_optimizer_v2(model, opt="lamb", lr=5e-3, weight_decay=0.02)
    scheduler, epochs = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=epochs,
        warmup_epochs=1,
        warmup_lr=1e-4,
        step_on_epochs=False,
        updates_per_epoch=len(data),
    )
    criterion = LabelSmoothingCrossEntropy(0.1)
    for epoch in range(epochs):
        data.set_epoch(epoch)
        losses = []
        for step, (images, targets, _) in enumerate(DataLoader(data, batch_size=None), epoch * len(data)):
            loss = criterion(model(images.to(device)), targets.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            ema.update(model, step=step)
            scheduler.step_update(step + 1)
            losses.append(loss.item())
        yield sum(losses) / len(losses), accuracy(ema, val, batch_size, size)


@torch.no_grad()
def accuracy(model: torch.nn.Module, val: str, batch_size: int, size: int) -> float:
    """The share of right answers over every good picture of a split, each once."""
    data = FastptDataset(
        val, batch_size, size, seed=0, crop="center", order="sequential", drop_last=False, normalize=NORMALIZED
    )
    device, right = next(model.parameters()).device, []
    model.eval()
    for images, targets, _ in DataLoader(data, batch_size=None):
        right.append(model(images.to(device)).argmax(1).cpu() == targets)
    model.train()
    return torch.cat(right).double().mean().item()


if __name__ == "__main__":
    for epoch, found in enumerate(train(sys.argv[1], sys.argv[2], 300, 256, 224, noise=0.05)):
        print(epoch, *found)
