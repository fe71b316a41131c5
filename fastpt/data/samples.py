"""What a loader reads: where pictures lie, whether their bytes are those stored, and what it can read from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import xxhash

from fastpt.jpeg.frames import frame_sizes


@dataclass(frozen=True)
class Samples:
    """Where the stored JPEG of each sample lies, as columns of N rows. 26 bytes a sample in memory."""

    shard: np.ndarray  # uint16, index into the manifest's shards
    offset: np.ndarray  # uint64, bytes from the start of the shard
    size: np.ndarray  # uint32, bytes
    width: np.ndarray  # uint16, pixels
    height: np.ndarray  # uint16, pixels
    xxh3: np.ndarray  # uint64, xxh3-64 of the JPEG bytes; 0 where it is not known (foreign FFCV files)

    COLUMNS: ClassVar = ("shard", "offset", "size", "width", "height", "xxh3")

    def intact(self, sample_ids: np.ndarray, jpegs: Sequence[np.ndarray]) -> np.ndarray:
        """Whether `jpegs`, K times uint8 [size], are what was stored for samples int64 [K]: bool [K].

        They have the checksum, where one is known, and their frame headers state the width and height that stand here.
        """
        stored, digest = self.xxh3[sample_ids].tolist(), xxhash.xxh3_64_intdigest
        found = (known in (0, digest(jpeg.data)) for known, jpeg in zip(stored, jpegs, strict=True))
        shapes = np.stack([self.height[sample_ids], self.width[sample_ids]], axis=1)
        return np.fromiter(found, bool, len(jpegs)) & (frame_sizes(jpegs) == shapes).all(1)


class ImageDataset(Protocol):
    """N stored pictures that a loader can read: a `Dataset`, several as a `ConcatDataset`, a `Subset` of one, ... ."""

    @property
    def path(self) -> Path | str:
        """Where it lies, for messages."""
        ...

    @property
    def name(self) -> str: ...

    @property
    def split(self) -> str: ...

    @property
    def samples_id(self) -> str:
        """Of which samples in which order it is, as runs and loaders record it."""
        ...

    @property
    def images_id(self) -> str:
        """Which pictures it has, in which order."""
        ...

    @property
    def block(self) -> int:
        """Consecutive samples that quasi-random order reads together."""
        ...

    @property
    def shard_count(self) -> int:
        """Shards that `Samples.shard` numbers."""
        ...

    @cached_property
    def samples(self) -> Samples:
        """Where the pictures lie."""
        ...

    def __len__(self) -> int: ...

    def shard(self, index: int) -> int:
        """The file descriptor of a shard, open as long as the dataset.

        Raises DamagedData if the shard is missing or its length is wrong.
        """
        ...

    def shard_name(self, index: int) -> str:
        """The file name of a shard, for messages."""
        ...

    def jpegs(self, sample_ids: np.ndarray, checked: bool = False) -> list[np.ndarray]:
        """The stored JPEGs of samples, int64 [K]: K times uint8 [size]. Safe to call from many threads.

        Raises DamagedData if a shard is missing or cut short; with `checked`, also if these are not the bytes that were
        stored (`Samples.intact` says of which they are not).
        """
        ...
