"""The listing of a source: its splits, and what else lies there, without unpacking it.

Listing reads names and targets only; picture bytes are read one at a time, later, by the conversion's workers.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np

from datasets_prep.texts import Texts, repeated
from fastpt.errors import FastptError
from fastpt.storage.kind import Storage
from fastpt.storage.opened import Stamp

Beside = Mapping[str, Counter[str]]
"""What lies beside pictures, counted: {"hidden or system": {"@eaDir": 12}, "no picture": {".txt": 3}}."""


@dataclass(frozen=True)
class SplitListing:
    """The listing of one split.

    `keys` are unique, stable names of the samples (for files, the path inside the source). `labels` is int64 [N] into
    `classes`, or None; `captions` is N strings, or None; at least one of the two is there. `class_names` are the
    readable names of `classes` (the same where the source has none). `read(i)` returns the encoded picture of row i
    as it lies in the source; it must be safe after a fork and independent of other calls. `is_train` says whether
    models are trained on this split, so that noise plans are wanted for it. `rejected` names the pictures that the
    listing itself had to drop, `pictureless` the targets that have no picture of their own (a row of a list whose file
    is missing, or a second one of one file), as (key, reason). `note` is what the user should know of the listing;
    `settings` is how it was made, as far as the user chose. `groups`, int64 [N], numbers the pieces of the source that
    are read at once, such as the row groups of parquet files; None if any row can be read by itself. `noisy_labels`
    are what others than the clean labels say. `addresses` are the places that are reached over a network, each at its
    revision; pictures from there are read ahead, several at once.
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
    pictureless: tuple[tuple[str, str], ...] = ()
    note: str = ""
    settings: dict = field(default_factory=dict)
    groups: np.ndarray | None = None
    noisy_labels: "NoisyLabels | None" = None
    addresses: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.keys)

    def packed(self) -> "SplitListing":
        """The same with its texts in Arrow's memory. Raises FastptError for a text that UTF-8 cannot hold."""
        try:
            return replace(
                self, keys=_packed(self.keys), captions=None if self.captions is None else _packed(self.captions)
            )
        except UnicodeEncodeError as error:
            raise FastptError(
                f"split {self.name}: a key or caption is not UTF-8 ({error.object!a}). Mend the source."
            ) from None

    def take(self, rows: np.ndarray, name: str, is_train: bool) -> "SplitListing":
        """The listing of some rows only, as a split called `name`."""
        rows = np.asarray(rows)
        return replace(
            self,
            name=name,
            keys=_taken(self.keys, rows),
            labels=None if self.labels is None else self.labels[rows],
            captions=None if self.captions is None else _taken(self.captions, rows),
            read=take(rows) if (take := getattr(self.read, "take", None)) else _Taken(self.read, rows),
            groups=None if self.groups is None else self.groups[rows],
            noisy_labels=self.noisy_labels and self.noisy_labels.take(rows),
            is_train=is_train,
            rejected=(),
            pictureless=(),
        )


def _packed(texts: Sequence[str]) -> Texts[str]:
    return texts if isinstance(texts, Texts) else Texts(texts)


def _taken(texts: Sequence[str], rows: np.ndarray) -> Texts[str]:
    return Texts(texts[int(i)] for i in rows)


@dataclass(frozen=True)
class NoisyLabels:
    """Labels of annotators beside the clean ones, which become a noise plan."""

    name: str  # of the column
    source: str  # where they are from
    labels: np.ndarray  # int64 [N] into the classes, -1 where the clean label stays

    def take(self, rows: np.ndarray) -> "NoisyLabels":
        return replace(self, labels=self.labels[rows])


@dataclass(frozen=True)
class _Taken:
    read: Callable[[int], bytes]
    rows: np.ndarray

    def __call__(self, i: int) -> bytes:
        return self.read(int(self.rows[i]))


@runtime_checkable
class Stamped(Protocol):
    """What a `read` of a `SplitListing` may tell of the files that its pictures are in."""

    def holder(self, i: int) -> str:
        """The file that row i is in."""
        ...

    def stamps(self) -> dict[str, Stamp]:
        """By what each file is known again, as it was when it was listed."""
        ...


@dataclass(frozen=True)
class Reader:
    """`read` of a `SplitListing` whose pictures are files: row i is the file `names[i]`."""

    files: Storage
    names: list[str]

    def __call__(self, i: int) -> bytes:
        return self.files.read(self.names[i])

    def holder(self, i: int) -> str:
        return self.files.holder(self.names[i])

    def stamps(self) -> dict[str, Stamp]:
        return {self.files.holder(name): self.files.stamp(name) for name in self.names}

    def take(self, rows: Iterable[int]) -> "Reader":
        names = [self.names[i] for i in rows]
        return Reader(self.files.only(names), names)


@dataclass(frozen=True)
class Found:
    """What a source found: its splits, and everything else that lies there.

    `files` is the number of files (of rows, in tables) that the source came across, counted by itself: each is a
    picture of a split, or one that the listing rejected, or it is `beside`. `warnings` are what the user should know
    before a picture is read, one line each; `layout` is how the source lies there, as far as it had to be recognised.
    """

    splits: list[SplitListing]
    files: int
    beside: Beside = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    layout: str = ""

    @classmethod
    def only(cls, splits: list[SplitListing]) -> "Found":
        """These splits, beside which there is nothing."""
        return cls(splits, sum(len(split) + len(split.rejected) for split in splits))

    def check(self) -> None:
        """Raise FastptError unless every file is accounted for, and every key is the only one of its split."""
        pictures = sum(len(split) + len(split.rejected) for split in self.splits)
        others = sum(map(Counter.total, self.beside.values()))
        if self.files != pictures + others:
            raise FastptError(
                f"{self.files:,} files were found, but {pictures:,} pictures and {others:,} others are accounted for. "
                "That is a fault of the source. Please report it."
            )
        for split in self.splits:
            if (twice := repeated(split.keys)) is not None:
                raise FastptError(
                    f"two samples of split {split.name} are called {twice}. That is a fault of the source. "
                    "Please report it."
                )


def merged(founds: Sequence[Found]) -> Found:
    """What several sources found, as one."""
    beside: dict[str, Counter[str]] = {}
    for found in founds:
        for what, counts in found.beside.items():
            beside[what] = beside.get(what, Counter()) + counts
    return Found(
        [split for found in founds for split in found.splits],
        sum(found.files for found in founds),
        beside,
        tuple(warning for found in founds for warning in found.warnings),
        "; ".join(dict.fromkeys(found.layout for found in founds if found.layout)),
    )
