"""The listing of a split: what a source finds, without unpacking it.

Listing reads names and targets only; picture bytes are read one at a time, later, by the conversion's workers.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fastpt.storage.kind import Storage


@dataclass(frozen=True)
class SplitListing:
    """The listing of one split.

    `keys` are unique, stable names of the samples (for files, the path inside the source). `labels` is int64 [N] into
    `classes`, or None; `captions` is N strings, or None; at least one of the two is there. `class_names` are the
    readable names of `classes` (the same where the source has none). `read(i)` returns the encoded picture of row i
    as it lies in the source; it must be safe after a fork and independent of other calls. `is_train` says whether
    models are trained on this split, so that noise plans are wanted for it. `rejected` names what the listing itself
    had to drop: (key, reason); `note` is what the user should know of the listing; `settings` is how it was made, as
    far as the user chose. `groups`, int64 [N], numbers the pieces of the source that are read at once, such as the row
    groups of parquet files; None if any row can be read by itself.
    """

    name: str
    keys: Sequence[str]
    labels: np.ndarray | None
    captions: Sequence[str] | None
    classes: list[str]
    class_names: list[str]
    read: Callable[[int], bytes]
    is_train: bool = False
    rejected: tuple[tuple[str, str], ...] = ()
    note: str = ""
    settings: dict = field(default_factory=dict)
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: np.ndarray, name: str, is_train: bool) -> "SplitListing":
        """The listing of some rows only, as a split called `name`."""
        rows = np.asarray(rows)
        return replace(
            self,
            name=name,
            keys=[self.keys[i] for i in rows],
            labels=None if self.labels is None else self.labels[rows],
            captions=None if self.captions is None else [self.captions[i] for i in rows],
            read=take(rows) if (take := getattr(self.read, "take", None)) else _Taken(self.read, rows),
            groups=None if self.groups is None else self.groups[rows],
            is_train=is_train,
            rejected=(),
        )


@dataclass(frozen=True)
class _Taken:
    read: Callable[[int], bytes]
    rows: np.ndarray

    def __call__(self, i: int) -> bytes:
        return self.read(int(self.rows[i]))


@dataclass(frozen=True)
class Reader:
    """`read` of a `SplitListing` whose pictures are files: row i is the file `names[i]`."""

    files: Storage
    names: list[str]

    def __call__(self, i: int) -> bytes:
        return self.files.read(self.names[i])

    def take(self, rows: Iterable[int]) -> "Reader":
        names = [self.names[i] for i in rows]
        return Reader(self.files.only(names), names)
