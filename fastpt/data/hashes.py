"""Hashes of texts, which stand for them where they are compared or ranked; millions are never in memory at once."""

from collections.abc import Iterator
from itertools import islice
from typing import Protocol

import numpy as np
import xxhash

BATCH = 1 << 16  # texts


class Texts(Protocol):
    """N texts in their order: a list, or a `TextColumn`, which reads them a batch at a time."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[str]: ...


def xxh3_64(texts: Texts) -> np.ndarray:
    """xxh3-64 of each text (UTF-8): uint64 [N]. Stands for the text where texts are compared."""
    digest = xxhash.xxh3_64_intdigest
    return np.fromiter((digest(text.encode()) for text in texts), np.uint64, len(texts))


def xxh3_128(texts: Texts, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """xxh3-128 of each text (UTF-8) under `seed`, its high and its low half: two times uint64 [N]."""
    digest = xxhash.xxh3_128_digest
    high, low = np.empty(len(texts), np.uint64), np.empty(len(texts), np.uint64)
    digests = (digest(text.encode(), seed) for text in texts)
    for start in range(0, len(texts), BATCH):
        both = np.frombuffer(b"".join(islice(digests, BATCH)), ">u8").reshape(-1, 2)
        high[start : start + BATCH], low[start : start + BATCH] = both.T
    return high, low
