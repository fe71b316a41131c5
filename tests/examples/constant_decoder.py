"""A decoder that serves pictures of one grey level: all that a decoder has to bring (see docs/howto/extend.md)."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING

import numpy as np

from fastpt.errors import FastptError
from fastpt.jpeg import Interpolation
from fastpt.loading.batch import DecodedBatch
from fastpt.loading.reading import BatchReader

if TYPE_CHECKING:  # at run time torch is imported where it is used: help and tables of names do not wait for it
    import torch


class ConstantDecoder:
    """Pictures of grey `level`, whatever is stored."""

    devices = ("cpu",)
    reads = False  # one that reads is compared with Pillow by assert_decodes, and has blocks read ahead
    options = {"level": "grey level of all pictures, 0 to 255; by default 128"}

    def __init__(
        self,
        size: int,
        interpolation: Interpolation,
        threads: int,
        device: torch.device,
        batch_size: int,
        level: int = 128,
    ):
        if not 0 <= level <= 255:
            raise FastptError(f"level is {level}. It must be from 0 to 255.")
        self.size, self.device, self.level = size, device, level

    def batches(self, reader: BatchReader, positions: Iterable[np.ndarray]) -> Generator[DecodedBatch, None, None]:
        """One that reads goes through `reader.batches(positions, threads)`: checked `jpegs`, their `boxes`, `flips`."""
        import torch

        for places in positions:
            plan = reader.plan(places)
            shape = (len(places), self.size, self.size, 3)
            images = torch.full(shape, self.level, dtype=torch.uint8, device=self.device)
            yield DecodedBatch(images, plan.sample_ids, plan.views)

    def close(self) -> None:
        """Nothing is held."""
