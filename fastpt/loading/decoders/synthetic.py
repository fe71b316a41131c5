"""No decoding at all: the ceiling that tells a run bound by data from one bound by computing."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING

import numpy as np

from fastpt.jpeg import Interpolation
from fastpt.loading.batch import DecodedBatch
from fastpt.loading.reading import BatchReader

if TYPE_CHECKING:
    import torch


class SyntheticDecoder:
    """Batches of the right ids and shapes whose pictures are each of one grey, that of the id's low byte."""

    devices = ("cpu",)
    reads = False
    options = {}

    def __init__(self, size: int, interpolation: Interpolation, threads: int, device: torch.device, batch_size: int):
        self.size, self.device = size, device

    def batches(self, reader: BatchReader, positions: Iterable[np.ndarray]) -> Generator[DecodedBatch, None, None]:
        """No stored picture is read, so none is found damaged."""
        import torch

        for places in positions:
            ids, views = reader.sample_ids[places].astype(np.int64), reader.views[places].astype(np.int64)
            greys = torch.from_numpy(ids).to(self.device, torch.uint8)[:, None, None, None]
            yield DecodedBatch(greys.expand(-1, self.size, self.size, 3).contiguous(), ids, views)

    def close(self) -> None:
        """Nothing is held."""
