"""Write one WebDataset tar (ustar, sorted keys, fixed times) with DALI's index beside it."""

import io
import tarfile
from pathlib import Path

from fastpt.files import atomic_write


class TarWriter:
    """A context manager like `BetonWriter`; the tar and its index appear only when the context ends well.

    Members are `<shard><row>.jpg` and, if `target` names an extension (`cls` or `txt`), the target beside it. The index
    is DALI's "v1.2": a line a sample of `extension offset size name` groups.
    """

    suffix = ".tar"

    def __init__(self, path: Path, shard: int, target: str | None):
        self._path = path
        self._shard = shard
        self._target = target
        self._lines: list[str] = []
        self._writing = atomic_write(path)

    def __enter__(self) -> "TarWriter":
        self._tar = tarfile.open(fileobj=self._writing.__enter__(), mode="w", format=tarfile.USTAR_FORMAT)
        return self

    def add(self, jpeg: bytes, width: int, height: int, target: int | str | None) -> int:
        """Append a sample; returns the offset of its JPEG in the file, in bytes."""
        key = f"{self._shard:06d}{len(self._lines):07d}"
        offset, line = self._member(f"{key}.jpg", jpeg)
        if self._target:
            line += " " + self._member(f"{key}.{self._target}", str(target).encode())[1]
        self._lines.append(line)
        return offset

    def _member(self, name: str, value: bytes) -> tuple[int, str]:
        info = tarfile.TarInfo(name)
        info.size = len(value)
        offset = self._tar.offset + tarfile.BLOCKSIZE  # a ustar header is one block
        self._tar.addfile(info, io.BytesIO(value))
        return offset, f"{name.rpartition('.')[2]} {offset} {len(value)} {name}"

    def __exit__(self, kind, error, trace) -> None:
        try:
            if kind is None:
                self._tar.close()
                with atomic_write(self._path.with_suffix(".idx"), "w") as index:
                    index.write("\n".join([f"v1.2 {len(self._lines)}", *self._lines]) + "\n")
        except BaseException as failure:
            self._writing.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._writing.__exit__(kind, error, trace)
