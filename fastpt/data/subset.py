"""Some samples of a split, as a loader reads them."""

from functools import cached_property

import numpy as np

from fastpt.data.concat import ConcatDataset
from fastpt.data.dataset import Dataset, Samples


class Subset:
    """The samples `rows` (int64 [M]) of a dataset; a loader's sample ids then count within `rows`."""

    def __init__(self, dataset: Dataset | ConcatDataset, rows: np.ndarray):
        self.rows = rows
        self.path, self.name, self.split = dataset.path, dataset.name, dataset.split
        self.block, self.manifest, self.samples_id = dataset.block, dataset.manifest, dataset.samples_id
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def samples(self) -> Samples:
        """Where the pictures lie."""
        return Samples(*(getattr(self._dataset.samples, name)[self.rows] for name in Samples.COLUMNS))

    def jpeg(self, sample_id: int) -> np.ndarray:
        """The stored JPEG of a sample: uint8 [size]."""
        return self._dataset.jpeg(int(self.rows[sample_id]))

    def jpegs(self, sample_ids: np.ndarray) -> list[np.ndarray]:
        """The stored JPEGs of samples, int64 [K]: K times uint8 [size]."""
        return self._dataset.jpegs(self.rows[sample_ids])

    def shard(self, index: int) -> int:
        """The file descriptor of a shard of the whole dataset; see `Dataset.shard`."""
        return self._dataset.shard(index)
