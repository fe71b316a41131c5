"""Write one complete FFCV file, sample by sample, in bounded memory."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from fastpt.data import beton
from fastpt.files import atomic_write


class BetonWriter:
    """What appends samples to the file that `open` opens.

    `capacity` bounds the number of samples (their metadata table stands before the pages). `target` names the field
    beside the image, or is None for pictures alone; `kind` is its type id: INT_FIELD, or JSON_FIELD, whose values
    FFCV's own `JSONField.unpack` gives back.
    """

    def __init__(self, file: IO[bytes], capacity: int, target: str | None, kind: int):
        self._file = file
        self._fields = beton.fields(target, kind)
        self._metadata = np.zeros(capacity, beton.metadata_dtype(target, kind))
        self._allocations: list[tuple[int, int, int]] = []  # sample, offset, size
        self._target, self._kind = target, kind
        self._count = 0
        head = beton.HEADER.itemsize + self._fields.nbytes + self._metadata.nbytes
        self._position = -(-head // beton.PAGE_SIZE) * beton.PAGE_SIZE
        self._file.seek(self._position)

    @classmethod
    @contextmanager
    def open(
        cls, path: Path, capacity: int, target: str | None, kind: int = beton.INT_FIELD
    ) -> Iterator["BetonWriter"]:
        """The writer of the file `path`, which appears under that name only when the context ends well."""
        with atomic_write(path) as file:
            writer = cls(file, capacity, target, kind)
            yield writer
            writer._finish()

    def add(self, jpeg: bytes, width: int, height: int, target: int | dict | None) -> int:
        """Append a sample; returns the offset of its JPEG in the file, in bytes.

        Raises ValueError for a JPEG or text that is larger than a page.
        """
        offset = self._append(jpeg)
        row = self._metadata[self._count]
        row["image"] = (beton.JPEG_MODE, width, height, offset)
        if self._target and self._kind == beton.JSON_FIELD:
            text = json.dumps(target).encode() + b"\0"  # as JSONField writes it
            row[self._target] = (self._append(text), len(text))
        elif self._target:
            row[self._target] = target
        self._count += 1
        return offset

    def _append(self, content: bytes) -> int:
        if len(content) > beton.PAGE_SIZE:
            raise ValueError(f"{len(content):,} bytes do not fit a page of an FFCV file ({beton.PAGE_SIZE:,} bytes)")
        room = -self._position % beton.PAGE_SIZE
        if len(content) > room:  # nothing crosses a page: FFCV reads whole pages
            self._position += room
            self._file.seek(self._position)
        offset = self._position
        self._file.write(content)
        self._position += len(content)
        self._allocations.append((self._count, offset, len(content)))
        return offset

    def _finish(self) -> None:
        end = -(-self._position // beton.PAGE_SIZE) * beton.PAGE_SIZE
        header = np.array((beton.VERSION, len(self._fields), beton.PAGE_SIZE, self._count, end), beton.HEADER)
        self._file.seek(end)
        self._file.write(np.array(self._allocations, beton.ALLOCATION).tobytes())
        self._file.seek(0)
        self._file.write(header.tobytes() + self._fields.tobytes() + self._metadata.tobytes())
