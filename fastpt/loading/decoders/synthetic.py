"""No decoding at all: the ceiling that tells a run bound by data from one bound by computing."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from fastpt.loading.batch import DecodedBatch
from fastpt.loading.reading import BatchReader


class SyntheticDecoder:
    """Batches of the right ids and shapes whose pictures are each of one grey, that of the id's low byte."""

    def __init__(self, size: int, device: torch.device):
        self.size, self.device = size, device

    def batches(self, picker: BatchReader, plan: Iterable[np.ndarray]) -> Iterator[DecodedBatch]:
        """A batch for each array of positions in `plan`. No stored picture is read, so none is found damaged."""
        for positions in plan:
            ids = torch.from_numpy(picker.sample_ids[positions].astype(np.int64))
            views = torch.from_numpy(picker.views[positions].astype(np.int64))
            greys = ids.to(self.device, torch.uint8)[:, None, None, None]
            yield DecodedBatch(greys.expand(-1, self.size, self.size, 3).contiguous(), ids, views)

    def close(self) -> None:
        """Nothing is held."""
