"""Sources: what people have on their disks, listed without unpacking.

A source module offers a function that returns a list of `SplitListing`, one for each split it finds. Listing reads
names and labels only; picture bytes are read one at a time, later, by the conversion's worker processes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fastpt.errors import FastptError


@dataclass(frozen=True)
class SplitListing:
    """The listing of one split.

    `keys` are unique, stable names of the samples (for files, the path inside the source). `labels` is int64 [N] into
    `classes`, or None; `captions` is N strings, or None; at least one of the two is there. `class_names` are the
    readable names of `classes` (the same where the source has none). `read(i)` returns the encoded picture of row i
    as it lies in the source; it must be safe after a fork and independent of other calls. `trains` says whether models
    are trained on this split, so that noise plans are wanted for it. `left_out` names what the listing itself had to
    drop: (key, reason); `remark` is what the user should know of the listing; `settings` is how it was made, as far as
    the user chose. `groups`, int64 [N], numbers the pieces of the source that are read at once, such as the row groups
    of parquet files; None if any row can be read by itself.
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
            read=self.read.take(rows) if hasattr(self.read, "take") else _Taken(self.read, rows),
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


def with_same_classes(splits: list[SplitListing]) -> list[SplitListing]:
    """The splits of sources that were listed apart, with one list of classes; labels are renumbered where needed."""
    if len({tuple(split.classes) for split in splits}) < 2:
        return splits
    longest = max((split.classes for split in splits), key=len)
    known = set(longest)
    if all(known.issuperset(split.classes) for split in splits):
        classes = longest
    else:
        classes = sorted({name for split in splits for name in split.classes})
    readable = {name: said for split in splits for name, said in zip(split.classes, split.class_names, strict=True)}
    number = {name: i for i, name in enumerate(classes)}
    return [
        replace(
            split,
            classes=classes,
            class_names=[readable[name] for name in classes],
            labels=np.array([number[name] for name in split.classes], np.int64)[split.labels],
        )
        if split.labels is not None
        else split
        for split in splits
    ]


def hold_out(split: SplitListing, share: float, seed: int) -> list[SplitListing]:
    """Split off a seeded `share` of the samples as `val`; the rest is `train`. For sources that have one split only."""
    if not 0 < share < 1:
        raise FastptError(f"--holdout must be a share between 0 and 1, found {share}")
    rows = np.random.default_rng(seed).permutation(len(split))
    cut = round(share * len(split))
    if cut == 0 or cut == len(split):
        raise FastptError(f"--holdout {share} of {len(split)} samples leaves a split empty; choose another share")
    train = split.take(np.sort(rows[cut:]), name="train", is_train=True)
    val = split.take(np.sort(rows[:cut]), name="val", is_train=False)
    return [replace(train, rejected=split.rejected), val]
