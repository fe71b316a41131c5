"""What tasks train on: a split, or what a noise plan leaves right of it."""

import numpy as np

from fastpt.data.concat import ConcatDataset
from fastpt.data.dataset import Dataset
from fastpt.data.plan import Targets
from fastpt.data.samples import ImageDataset
from fastpt.data.subset import Subset
from fastpt.loading.config import Data


def open_train(data: Data) -> Dataset | ConcatDataset:
    """The split that `data.train` names, or the splits as one."""
    if isinstance(data.train, str):
        return Dataset(data.train)
    return ConcatDataset([split.path for split in data.train], [split.weight for split in data.train])


def kept(train_set: Dataset | ConcatDataset, data: Data, of: Targets) -> tuple[ImageDataset, np.ndarray]:
    """The M samples that `data.keep` keeps of a split, with the pictures that noise shows, and their targets under it,
    int64 [M]; see `Dataset.targets` and `shown`."""
    targets = train_set.targets(data.noise, of)
    if data.keep == "all":
        return train_set.shown(data.noise, of), targets
    rows = np.flatnonzero(~train_set.wrong(data.noise, of))
    return Subset(train_set, rows), targets[rows]
