"""Hashes of texts, which stand for them where they are compared or ranked; a batch of texts at a time."""

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import xxhash

BATCH = 1 << 16  # texts


@runtime_checkable
class TextBatches(Protocol):
    """N texts that are read a batch at a time, so that millions never become Python objects at once."""

    def __len__(self) -> int: ...

    def batches(self) -> Iterator[list[str]]:
        """All texts in their order, at most BATCH at a time."""
        ...


Texts = TextBatches | Sequence[str]


def xxh3_64(texts: Texts) -> np.ndarray:
    """xxh3-64 of each text (UTF-8): uint64 [N]. Stands for the text where texts are compared."""
    digest = xxhash.xxh3_64_intdigest
    hashes = np.empty(len(texts), np.uint64)
    for start, batch in _batches(texts):
        hashes[start : start + len(batch)] = [digest(text.encode()) for text in batch]
    return hashes


def xxh3_128(texts: Texts, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """xxh3-128 of each text (UTF-8) under `seed`, its high and its low half: two times uint64 [N]."""
    digest = xxhash.xxh3_128_digest
    high, low = np.empty(len(texts), np.uint64), np.empty(len(texts), np.uint64)
    for start, batch in _batches(texts):
        both = np.frombuffer(b"".join([digest(text.encode(), seed) for text in batch]), ">u8").reshape(-1, 2)
        high[start : start + len(batch)], low[start : start + len(batch)] = both.T
    return high, low


def _batches(texts: Texts) -> Iterator[tuple[int, Sequence[str]]]:
    """Parts of `texts`, each with its first row."""
    start = 0
    for part in texts.batches() if isinstance(texts, TextBatches) else _slices(texts):
        yield start, part
        start += len(part)


def _slices(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (texts[start : start + BATCH] for start in range(0, len(texts), BATCH))
