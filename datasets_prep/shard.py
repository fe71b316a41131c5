"""One shard: the pictures of a slice of a listing, encoded and written, and their part of the samples table."""

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from datasets_prep.ahead import read_ahead
from datasets_prep.images.policy import EncodedImage, ImagePolicy, RejectedImage, encode
from datasets_prep.listing import SplitListing
from datasets_prep.writers.beton import BetonWriter
from datasets_prep.writers.tar import TarWriter
from fastpt.data import beton, manifest
from fastpt.files import atomic_write

# pyarrow imports pandas, where it is there, at its first array: once here instead of in every worker.
with contextlib.suppress(ImportError):
    import pandas  # noqa: F401


@dataclass(frozen=True)
class Options:
    """What the bytes of a split depend on, besides its source."""

    format: str = "ffcv"  # or "wds"
    policy: ImagePolicy = field(default_factory=ImagePolicy)
    shard_samples: int = 20_000
    order: str = "random"  # or "source"
    seed: int = 0


@dataclass(frozen=True)
class ShardJob:
    """One shard to be made: the `rows` of a listing, in their order."""

    split: SplitListing
    rows: np.ndarray
    shard: int
    folder: Path
    options: Options

    @property
    def path(self) -> Path:
        name = f"{self.shard:05d}.beton" if self.options.format == "ffcv" else f"{self.shard:06d}.tar"
        return self.folder / "images" / f"{self.split.name}-{name}"

    @property
    def part(self) -> Path:
        return self.folder / ".parts" / f"{self.shard:06d}.parquet"

    def key(self, position: int) -> str:
        """The name of one of its pictures."""
        return self.split.keys[int(self.rows[position])]

    def alone(self) -> "ShardJob":
        """The same job without the rest of the listing, to be sent elsewhere."""
        split = self.split.take(self.rows, self.split.name, self.split.is_train)
        return replace(self, split=split, rows=np.arange(len(self.rows)))

    def make(self, tick: Callable[[], None]) -> None:
        """Write the shard, then its part; `tick` is called after each picture."""
        split = self.split
        labels = split.labels
        types = {"offset": "uint64", "size": "uint32", "width": "uint16", "height": "uint16", "xxh3": "uint64"}
        columns = {name: [] for name in ("row", *types)}
        rejected = []
        reencoded, with_entry_points = Counter({"420": 0, "444": 0}), 0
        with self._writer() as writer:
            for position, stored in enumerate(self.encoded(tick)):
                i = int(self.rows[position])
                if isinstance(stored, RejectedImage):
                    rejected.append({"position": position, "key": split.keys[i], "reason": str(stored)})
                    continue
                if stored.encoded:
                    reencoded[stored.encoded] += 1
                with_entry_points += stored.has_entry_points
                label = None if labels is None else int(labels[i])
                offset = writer.add(stored.jpeg, stored.width, stored.height, label)
                xxh3 = xxhash.xxh3_64_intdigest(stored.jpeg)
                row = (i, offset, len(stored.jpeg), stored.width, stored.height, xxh3)
                for column, value in zip(columns.values(), row, strict=True):
                    column.append(value)
        rows = np.array(columns.pop("row"), np.int64)
        table = {"key": pa.array([split.keys[i] for i in rows], pa.string())}
        if labels is not None:
            table["clean_label"] = pa.array(labels[rows].astype(np.int32))
        if split.captions is not None:
            table["caption"] = pa.array([split.captions[i] for i in rows], pa.string())
        table["shard"] = pa.array(np.full(len(rows), self.shard, np.uint16))
        table |= {name: pa.array(np.array(column, types[name])) for name, column in columns.items()}

        entry = manifest.file_entry(self.path)
        if self.options.format == "wds":
            entry["index"] = manifest.file_entry(self.path.with_suffix(".idx"))
        note = {"shard": entry, "rejected": rejected, "reencoded": reencoded, "with_entry_points": with_entry_points}
        metadata = {"part": json.dumps(note, ensure_ascii=False)}
        with atomic_write(self.part) as file:
            pq.write_table(pa.table(table).replace_schema_metadata(metadata), file, write_page_checksum=True)

    def read(self, tick: Callable[[], None]) -> list[manifest.Rejected]:
        """Do all that `make` does but write: returns the pictures that cannot be used, and why."""
        return [
            manifest.Rejected(self.key(position), str(stored))
            for position, stored in enumerate(self.encoded(tick))
            if isinstance(stored, RejectedImage)
        ]

    def encoded(self, tick: Callable[[], None] = lambda: None) -> Iterator[EncodedImage | RejectedImage]:
        """Each picture as it is to be stored, or why it cannot be; `tick` is called after each."""
        with closing(self._contents()) as contents:
            for read in contents:
                try:
                    stored = self._as_stored(read())
                except RejectedImage as reason:
                    stored = reason
                yield stored
                tick()

    def _as_stored(self, source: bytes) -> EncodedImage:
        """A picture as it is to be stored. Raises RejectedImage."""
        stored = encode(source, self.options.policy)
        if self.options.format == "ffcv" and len(stored.jpeg) > beton.PAGE_SIZE:
            raise RejectedImage(
                f"as a JPEG it has {len(stored.jpeg):,} bytes, and a page of an FFCV file {beton.PAGE_SIZE:,}: "
                "--format wds or a smaller --max-side keeps it"
            )
        return stored

    def _contents(self) -> Generator[Callable[[], bytes], None, None]:
        """What gives the content of each picture, or raises RejectedImage; of those that lie far, the next are read."""
        reads = (partial(_read, self.split, int(i)) for i in self.rows)
        return read_ahead(reads) if self.split.addresses else (read for read in reads)

    def is_done(self) -> bool:
        """Whether shard and part are there as they were written, with all pictures that can be used.

        A picture that was rejected may have been mended since.
        """
        note = self._note()
        if note is None:
            return False
        shard, index = note["shard"], note["shard"].pop("index", None)
        for entry in [shard, index] if index else [shard]:
            file = self.path.parent / entry["name"]
            if not file.is_file() or manifest.file_entry(file) != entry:
                return False
        return not any(self._is_mended(entry["position"]) for entry in note["rejected"])

    def _is_mended(self, position: int) -> bool:
        with contextlib.suppress(RejectedImage):
            self._as_stored(_read(self.split, int(self.rows[position])))
            return True
        return False

    def rejected(self) -> list[manifest.Rejected]:
        """What was rejected when the shard was made, if it was."""
        note = self._note()
        return [manifest.Rejected(entry["key"], entry["reason"]) for entry in note["rejected"]] if note else []

    def _note(self) -> dict | None:
        """What the part says of its shard besides the rows; None if it is missing, or not as it was written."""
        try:
            part = pq.read_table(self.part, page_checksum_verification=True)
            return json.loads(part.schema.metadata[b"part"])
        except (OSError, pa.ArrowException, LookupError, TypeError, ValueError):
            return None

    def _writer(self) -> AbstractContextManager[BetonWriter | TarWriter]:
        if self.options.format == "ffcv":
            return BetonWriter.open(self.path, len(self.rows), None if self.split.labels is None else "clean_label")
        return TarWriter.open(self.path, self.shard, None)


def _read(split: SplitListing, i: int) -> bytes:
    try:
        return split.read(i)
    except KeyError:
        raise RejectedImage("missing from the source") from None
    except OSError as error:
        raise RejectedImage(f"cannot be read: {error.strerror or error}") from None
