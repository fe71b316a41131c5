"""Write one WebDataset tar (ustar, sorted keys, fixed times) with DALI's index beside it."""

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastpt.files import atomic_write


class TarWriter:
    """What appends samples to the tar that `open` opens.

    Members are `<shard><row>.jpg` and, if `target` names an extension (`cls` or `txt`), the target beside it. The index
    is DALI's "v1.2": a line a sample of `extension offset size name` groups.
    """

    def __init__(self, tar: tarfile.TarFile, shard: int, target: str | None):
        self._tar = tar
        self._shard = shard
        self._target = target
        self._lines: list[str] = []

    @classmethod
    @contextmanager
    def open(cls, path: Path, shard: int, target: str | None) -> Iterator["TarWriter"]:
        """The writer of the tar `path`; it and its index appear only when the context ends well."""
        with atomic_write(path) as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                writer = cls(tar, shard, target)
                yield writer
            with atomic_write(path.with_suffix(".idx"), "w") as index:
                index.write("\n".join([f"v1.2 {len(writer._lines)}", *writer._lines]) + "\n")

    def add(self, jpeg: bytes, width: int, height: int, target: int | str | None, known: dict | None = None) -> int:
        """Append a sample, and what is `known` of it as .json; returns the offset of its JPEG in the file, bytes."""
        key = f"{self._shard:06d}{len(self._lines):07d}"
        offset, line = self._member(f"{key}.jpg", jpeg)
        if self._target:
            line += " " + self._member(f"{key}.{self._target}", str(target).encode())[1]
        if known is not None:
            line += " " + self._member(f"{key}.json", json.dumps(known).encode())[1]
        self._lines.append(line)
        return offset

    def _member(self, name: str, value: bytes) -> tuple[int, str]:
        info = tarfile.TarInfo(name)
        info.size = len(value)
        offset = self._tar.offset + tarfile.BLOCKSIZE  # a ustar header is one block
        self._tar.addfile(info, io.BytesIO(value))
        return offset, f"{name.rpartition('.')[2]} {offset} {len(value)} {name}"
