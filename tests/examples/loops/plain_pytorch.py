"""Plain PyTorch, one process or several: `torchrun --nproc-per-node 8 plain_pytorch.py SPLIT CHECKPOINT`."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import timm
import torch
import torch.distributed as dist
from timm.data.constants import IMAGENET_DEFAULT_MEAN as MEAN
from timm.data.constants import IMAGENET_DEFAULT_STD as STD
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from fastpt.torch import FastptDataset


def train(
    split: str,
    checkpoint: Path,
    epochs: int,
    batch_size: int,
    size: int,
    noise: float,
    name: str = "resnet50",
    every: int = 1,
) -> Iterator[float]:
    """The loss of each step. A checkpoint is written after `every` so many steps, and at the end of an epoch; one that
    is there is gone on from, in the middle of an epoch too."""
    torch.manual_seed(0)
    data = FastptDataset(split, batch_size, size, seed=0, noise=noise, normalize=(MEAN, STD))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = network = timm.create_model(name, num_classes=len(data.dataset.classes)).to(device)
    if dist.is_initialized():
        model = DistributedDataParallel(network)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    parts = {"model": network, "optimizer": optimizer, "data": data}
    begin = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        for part, thing in parts.items():
            thing.load_state_dict(saved[part])
        begin = saved["data"]["epoch"]
    for epoch in range(begin, epochs):
        data.set_epoch(epoch)  # within the epoch of a state that was loaded, it stays where it is
        for step, (images, targets, _) in enumerate(DataLoader(data, batch_size=None), 1):
            loss = cross_entropy(model(images.to(device)), targets.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            is_due = step % every == 0 or data.state_dict()["position"] == 0
            if is_due and (not dist.is_initialized() or dist.get_rank() == 0):
                torch.save({part: thing.state_dict() for part, thing in parts.items()}, f"{checkpoint}.part")
                Path(f"{checkpoint}.part").replace(checkpoint)  # whole, whenever the process is killed
            yield loss.item()


if __name__ == "__main__":
    if dist.is_torchelastic_launched():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # or all take the first
        dist.init_process_group()
    for loss in train(sys.argv[1], Path(sys.argv[2]), 90, 256, 224, noise=0.05, every=500):
        print(loss)
