"""Some samples of a split, as a loader reads them."""

from functools import cached_property

import numpy as np

from fastpt.data.samples import ImageDataset, Samples


class Subset:
    """The samples `rows` (int64 [M]) of a dataset; a loader's sample ids then count within `rows`."""

    def __init__(self, dataset: ImageDataset, rows: np.ndarray):
        self.rows = rows
        self.path, self.name, self.split = dataset.path, dataset.name, dataset.split
        self.block, self.samples_id, self.images_id = dataset.block, dataset.samples_id, dataset.images_id
        self.shard, self.shard_name = dataset.shard, dataset.shard_name  # of the whole dataset
        self.shard_count = dataset.shard_count
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Subset({len(self)} of {self._dataset})"

    @cached_property
    def samples(self) -> Samples:
        """Where the pictures lie."""
        return Samples(*(getattr(self._dataset.samples, name)[self.rows] for name in Samples.COLUMNS))

    def jpegs(self, sample_ids: np.ndarray, checked: bool = False) -> list[np.ndarray]:
        """The stored JPEGs of samples, int64 [K]: K times uint8 [size]; see `Dataset.jpegs`."""
        return self._dataset.jpegs(self.rows[sample_ids], checked)
