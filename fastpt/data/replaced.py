"""A split some of whose pictures are those of another split: open-set noise, as a loader reads it."""

import hashlib
import os
import posixpath
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastpt.data.plan import NoisePlan
from fastpt.data.samples import Samples
from fastpt.errors import FastptError
from fastpt.storage.address import ADDRESS

if TYPE_CHECKING:
    from fastpt.data.dataset import Dataset


class Replaced:
    """The samples of `dataset`, some of which have a picture of `other`. Nothing is copied.

    rows: int64 [N], the row of `other` whose picture a sample has, -1 where it has its own. Sample ids, and so order,
    crops and targets, are those of `dataset`.
    """

    def __init__(self, dataset: "Dataset", other: "Dataset", rows: np.ndarray):
        self.path, self.name, self.split = dataset.path, dataset.name, dataset.split
        self.block, self.samples_id = dataset.block, dataset.samples_id
        digest = hashlib.sha256(f"{dataset.images_id} {other.images_id} ".encode())
        digest.update(rows.astype("<i8").data)
        self.images_id = digest.hexdigest()
        self._dataset, self._other, self._rows = dataset, other, rows

    def __len__(self) -> int:
        return len(self._dataset)

    def __repr__(self) -> str:
        return f"{self._dataset}, {(self._rows >= 0).sum()} of them with pictures of {self._other}"

    @property
    def keys(self) -> list[str]:
        """Those of `dataset`."""
        return self._dataset.keys

    @property
    def shard_count(self) -> int:
        """Shards of both, those of `dataset` first."""
        return self._dataset.shard_count + self._other.shard_count

    @property
    def shard_sums(self) -> list[str | dict]:
        """Those of both; see `Dataset.shard_sums`."""
        return [*self._dataset.shard_sums, *self._other.shard_sums]

    @cached_property
    def samples(self) -> Samples:
        """Where the pictures lie."""
        replaced = self._rows >= 0
        columns = {name: getattr(self._dataset.samples, name).copy() for name in Samples.COLUMNS}
        columns["shard"] = columns["shard"].astype(np.uint32)
        for name, column in columns.items():
            column[replaced] = getattr(self._other.samples, name)[self._rows[replaced]]
        columns["shard"][replaced] += np.uint32(self._dataset.shard_count)
        return Samples(**columns)

    def jpegs(self, sample_ids: np.ndarray, checked: bool = False) -> list[np.ndarray]:
        """The stored JPEGs of samples, int64 [K]: K times uint8 [size]; see `Dataset.jpegs`."""
        rows = self._rows[sample_ids]
        own, theirs = np.flatnonzero(rows < 0), np.flatnonzero(rows >= 0)
        found = dict(zip(own.tolist(), self._dataset.jpegs(sample_ids[own], checked), strict=True))
        found |= zip(theirs.tolist(), self._other.jpegs(rows[theirs], checked), strict=True)
        return [found[place] for place in range(len(sample_ids))]

    def shard(self, index: int) -> int:
        """The file descriptor of a shard; see `Dataset.shard`."""
        dataset, own = self._of_shard(index)
        return dataset.shard(own)

    def shard_name(self, index: int) -> str:
        """The file name of a shard."""
        dataset, own = self._of_shard(index)
        return dataset.shard_name(own)

    def _of_shard(self, index: int) -> tuple["Dataset", int]:
        first = self._dataset.shard_count
        return (self._dataset, index) if index < first else (self._other, index - first)


def pictures_of(dataset: "Dataset", plan: NoisePlan) -> "Dataset":
    """The split that the pictures of a plan of `dataset` are of.

    Raises FastptError if it is not where it was when the plan was made, or another one.
    """
    where, anew = _place_of(dataset, plan), f"delete {dataset.path / 'noise' / plan.name} (.json and .npy) and make it"
    try:
        other = type(dataset)(where)
    except FastptError as error:
        raise FastptError(
            f"the pictures of noise plan {plan.name} are those of {plan.source} at {where}, which cannot be opened: "
            f"{str(error).rstrip('.')}. Put the split there again, or {anew} with the place where it is now."
        ) from None
    if other.identity != plan.source_sha256 or plan.array.max() >= len(other):
        raise FastptError(
            f"the pictures of noise plan {plan.name} were those of another {plan.source} than lies at {where} now: its "
            f"samples or pictures differ. Put back what was there, or {anew} anew."
        )
    return other


def way_to(dataset: "Dataset", other: "Dataset") -> str:
    """Where `other` lies, as a plan of `dataset` says it: its address, or its folder as from that of `dataset`."""
    if other.address:
        return str(other.address)
    return Path(os.path.relpath(other.path.resolve(), dataset.path.resolve())).as_posix()


def _place_of(dataset: "Dataset", plan: NoisePlan) -> str:
    """An address or a folder; as long as both splits are moved together, it is found."""
    way = str(plan.pictures)
    if ADDRESS.match(way):
        return way
    if dataset.address is None:
        return os.path.normpath(dataset.path.resolve() / way)
    scheme, _, rest = str(dataset.address).partition("://")
    return f"{scheme}://{posixpath.normpath(posixpath.join(rest, way))}"
