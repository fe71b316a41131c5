"""Write one complete FFCV file, sample by sample, in bounded memory."""

from pathlib import Path

import numpy as np

from fastpt.data import beton
from fastpt.errors import FastptError
from fastpt.files import atomic_write


class BetonWriter:
    """A context manager; the file appears under its name only when the context ends well.

    `capacity` bounds the number of samples (their metadata table stands before the pages). `target` names the integer
    field beside the image, or is None for pictures alone.
    """

    suffix = ".beton"

    def __init__(self, path: Path, capacity: int, target: str | None):
        self._fields = beton.fields(target)
        self._metadata = np.zeros(capacity, beton.metadata_dtype(target))
        self._allocations = np.zeros(capacity, beton.ALLOCATION)
        self._target = target
        self._count = 0
        head = beton.HEADER.itemsize + self._fields.nbytes + self._metadata.nbytes
        self._position = -(-head // beton.PAGE_SIZE) * beton.PAGE_SIZE
        self._writing = atomic_write(path)

    def __enter__(self) -> "BetonWriter":
        self._file = self._writing.__enter__()
        self._file.seek(self._position)
        return self

    def add(self, jpeg: bytes, width: int, height: int, target: int | None) -> int:
        """Append a sample; returns the offset of its JPEG in the file, in bytes."""
        if len(jpeg) > beton.PAGE_SIZE:
            raise FastptError(
                f"a picture of {len(jpeg)} bytes does not fit a page of an FFCV file ({beton.PAGE_SIZE} bytes). "
                "Set a --max-side, or use --format wds."
            )
        room = -self._position % beton.PAGE_SIZE
        if len(jpeg) > room:  # a sample never crosses a page: FFCV reads whole pages
            self._position += room
            self._file.seek(self._position)
        offset = self._position
        self._file.write(jpeg)
        self._position += len(jpeg)

        row = self._metadata[self._count]
        row["image"] = (beton.JPEG_MODE, width, height, offset)
        if self._target:
            row[self._target] = target
        self._allocations[self._count] = (self._count, offset, len(jpeg))
        self._count += 1
        return offset

    def __exit__(self, kind, error, trace) -> None:
        try:
            if kind is None:
                self._finish()
        except BaseException as failure:
            self._writing.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._writing.__exit__(kind, error, trace)

    def _finish(self) -> None:
        end = -(-self._position // beton.PAGE_SIZE) * beton.PAGE_SIZE
        header = np.zeros((), beton.HEADER)
        header["version"] = beton.VERSION
        header["num_fields"] = len(self._fields)
        header["page_size"] = beton.PAGE_SIZE
        header["num_samples"] = self._count
        header["alloc_table_ptr"] = end
        self._file.seek(end)
        self._file.write(self._allocations[: self._count].tobytes())
        self._file.seek(0)
        self._file.write(header.tobytes() + self._fields.tobytes() + self._metadata.tobytes())
