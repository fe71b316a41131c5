"""Decoders: how the stored JPEGs of a batch become its pictures. A decoder is a class in a file of this room.

They are interchangeable: samples, boxes and flips come from the reader, and bytes are checked before a decoder sees
them. So decoders differ in speed and in the last bits of pixels, and never in what is seen, or found damaged.

A new one is a file here, a line in `DECODERS` and a test, which starts with `fastpt.testing.assert_decodes`. Its module
is also imported for the sake of the class attributes alone: it imports torch and the like inside its functions.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from fastpt.jpeg import Interpolation
from fastpt.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    import torch

    from fastpt.loading.batch import DecodedBatch
    from fastpt.loading.reading import BatchReader


class Decoder(Protocol):
    """Makes pictures of `size` x `size` pixels for one loader.

    `interpolation` is how a box is resized; `threads` may decode at once; pictures are delivered on `device`;
    `batch_size` is the most that a batch holds; `options` are some of the decoder's own.

    Raises FastptError if it cannot be had on this machine, saying what to install, or if an option is out of range.
    """

    devices: ClassVar[tuple[str, ...]]
    """The types of devices that it decodes on, the usual one first. It may deliver to others."""
    reads: ClassVar[bool]
    """Whether it reads the stored pictures at all."""
    options: ClassVar[Mapping[str, str]]
    """Its own options, each with its meaning."""

    def __init__(
        self,
        size: int,
        interpolation: Interpolation,
        threads: int,
        device: torch.device,
        batch_size: int,
        **options: Any,
    ) -> None: ...

    def batches(self, reader: BatchReader, positions: Iterable[np.ndarray]) -> Generator[DecodedBatch, None, None]:
        """A batch for each array of positions in the order, int64 [b], one after the other; b may be 0.

        `reader.batches` reads and checks them; what it leaves out is left out of the batch. Closing the generator ends
        the threads of the iteration, native ones too. There is one iteration at a time.
        """
        ...

    def close(self) -> None:
        """Free what was held between iterations."""
        ...


DECODERS: Registry[type[Decoder]] = Registry(
    "decoder",
    {
        "cpu": "fastpt.loading.decoders.cpu:CpuDecoder",
        "dali": "fastpt.loading.decoders.dali:DaliDecoder",
        "synthetic": "fastpt.loading.decoders.synthetic:SyntheticDecoder",
    },
)
