"""Several prepared splits trained on as one, such as CC12M and YFCC15M."""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from fastpt.data.classes import misnamed
from fastpt.data.dataset import Dataset
from fastpt.data.plan import NoisePlan, Targets
from fastpt.data.samples import ImageDataset, Samples
from fastpt.errors import FastptError


class ConcatDataset:
    """Splits behind one another, for a loader and a training as one `Dataset` would be.

    A split of weight w comes w times an epoch, each time with crops of its own. Sample ids count through all splits
    once, then through the repeats; the ids of the first round are the rows that caption targets name.

    Its classes are those of its splits where all have the same in the same order; otherwise it has none. Raises
    FastptError if a weight is below 1.
    """

    split = "train"

    def __init__(self, paths: Sequence[Path | str], weights: Sequence[int]):
        self.parts = [Dataset(path) for path in paths]
        for path, weight in zip(paths, weights, strict=True):
            if weight < 1:
                raise FastptError(f"the weight of {path} is {weight}; it is a whole number from 1, the times an epoch.")
        alike = len({tuple(part.classes) for part in self.parts}) == 1
        self.classes: list[str] = self.parts[0].classes if alike else []
        self.class_names: list[str] = self.parts[0].class_names if alike else []
        self.path = " and ".join(str(part.path) for part in self.parts)  # for messages
        self.name = "+".join(part.name for part in self.parts)
        self.has_labels = all(part.has_labels for part in self.parts)
        self.block = min(part.block for part in self.parts)
        identity = [f"{part.samples_id} {weight}" for part, weight in zip(self.parts, weights, strict=True)]
        self.samples_id = _sha256(identity)
        self.images_id = _sha256([part.images_id for part in self.parts])
        repeats = [index for index, weight in enumerate(weights) for _ in range(weight - 1)]
        self._segments = [*range(len(self.parts)), *repeats]  # the part of each run of sample ids
        lengths = [len(part) for part in self.parts]
        self._starts = np.cumsum([0, *(lengths[index] for index in self._segments)])
        self._first_rows = np.cumsum([0, *lengths])
        self._pictures: list[ImageDataset] = [*self.parts]
        self._number_shards()

    def _number_shards(self) -> None:
        self._first_shards = np.cumsum([0, *(part.shard_count for part in self._pictures)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __repr__(self) -> str:
        return f"ConcatDataset({self.name}, {len(self)} samples)"

    @cached_property
    def samples(self) -> Samples:
        """Where the pictures lie, as of a `Dataset`; shards are counted through all splits."""
        parts = [self._pictures[index].samples for index in self._segments]
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in Samples.COLUMNS}
        first = self._first_shards[self._segments].astype(np.uint32)
        columns["shard"] = np.concatenate([part.shard + one for part, one in zip(parts, first, strict=True)])
        return Samples(**columns)

    def jpegs(self, sample_ids: np.ndarray, checked: bool = False) -> list[np.ndarray]:
        """The stored JPEGs of samples, int64 [K]: K times uint8 [size]; see `Dataset.jpegs`."""
        segments = np.searchsorted(self._starts, sample_ids, side="right") - 1
        found: dict[int, np.ndarray] = {}
        for segment in np.unique(segments):
            places = np.flatnonzero(segments == segment)
            jpegs = self._pictures[self._segments[segment]].jpegs(sample_ids[places] - self._starts[segment], checked)
            found |= zip(places.tolist(), jpegs, strict=True)
        return [found[place] for place in range(len(sample_ids))]

    def shard(self, index: int) -> int:
        """The file descriptor of a shard, counted through all splits; see `Dataset.shard`."""
        part, own = self._part_of_shard(index)
        return part.shard(own)

    def shard_name(self, index: int) -> str:
        """The file name of a shard, counted through all splits."""
        part, own = self._part_of_shard(index)
        return part.shard_name(own)

    @property
    def shard_count(self) -> int:
        return int(self._first_shards[-1])

    def _part_of_shard(self, index: int) -> tuple[ImageDataset, int]:
        part = int(np.searchsorted(self._first_shards, index, side="right")) - 1
        return self._pictures[part], index - int(self._first_shards[part])

    def targets(self, noise: float | str | None = None, of: Targets = "captions") -> np.ndarray:
        """int64 [N], the label that each sample is shown, or the row whose caption; `noise` names a plan of each split.

        Raises FastptError if labels are asked for and the splits differ in their classes.
        """
        firsts = self._first_rows if of == "captions" else np.zeros_like(self._first_rows)
        shown = [part.targets(noise, of) + first for part, first in zip(self.parts, firsts, strict=False)]
        if of == "labels" and not self.classes:
            raise FastptError(
                f"{self.path} differ in their classes ({', '.join(str(len(part.classes)) for part in self.parts)}), so "
                "their labels cannot be trained on as one. Prepare them with the same classes in the same order."
            )
        for part in self.parts[1:] if of == "labels" else ():
            if problem := misnamed(self.parts[0], part, range(len(self.classes))):
                raise FastptError(f"{problem}. Prepare them from one source.")
        return np.concatenate([shown[index] for index in self._segments])

    @property
    def keys(self) -> list[str]:
        """The source's name of each sample, behind that of its split, as the names of two splits may be the same."""
        names = [[f"{part.split}/{key}" for key in part.keys] for part in self.parts]
        return [name for index in self._segments for name in names[index]]

    def first_rows(self) -> list[int]:
        """The sample id of each split's first sample."""
        return self._first_rows[:-1].tolist()

    def wrong(self, noise: float | str | None = None, of: Targets = "captions") -> np.ndarray:
        """bool [N], the samples that are shown another target, or another's picture; see `Dataset.wrong`."""
        wrong = [part.wrong(noise, of) for part in self.parts]
        return np.concatenate([wrong[index] for index in self._segments])

    def shown(self, noise: float | str | None = None, of: Targets = "captions") -> "ConcatDataset":
        """The same with the pictures under the noise plan of each split; see `Dataset.shown`."""
        shown = copy.copy(self)
        shown._pictures = [part.shown(noise, of) for part in self.parts]
        if shown._pictures == self.parts:
            return self
        shown.__dict__.pop("samples", None)
        shown._number_shards()
        shown.images_id = _sha256([part.images_id for part in shown._pictures])
        return shown

    @cached_property
    def clean_labels(self) -> np.ndarray:
        """int64 [N], the labels of the sources. Raises FastptError as `targets`, or if a split has none."""
        return self.targets(None, "labels")

    def noise_plan(self, noise: float | str | None, of: Targets = "captions") -> NoisePlan | None:
        """The plans of all splits as one; its checksum is over theirs.

        Raises FastptError if one has none, or if they are different ones: of other kinds or seeds.
        """
        plans = [plan for part in self.parts if (plan := part.noise_plan(noise, of))]
        if not plans:
            return None
        changed = {plan.of for plan in plans}
        if len(changed) > 1:
            raise FastptError(f"the noise plans of {self.path} change {' and '.join(sorted(changed))}. Choose by name.")
        if len(names := dict.fromkeys(plan.name for plan in plans)) > 1:
            raise FastptError(f"the noise plans of {self.path} are {' and '.join(names)}. Choose one by name.")
        sources = dict.fromkeys(plan.source_sha256 for plan in plans if plan.source_sha256)
        of_pictures = [plans[index].array for index in self._segments] if changed == {"pictures"} else []
        array = np.concatenate(of_pictures) if of_pictures else self.targets(noise, of)
        realised = sum(plans[index].realised_rate * len(self.parts[index]) for index in self._segments) / len(self)
        # What is made from a file of each has no rate that was asked for, but that of the file.
        rates, files = {plan.rate for plan in plans}, dict.fromkeys(plan.source for plan in plans if plan.source)
        return replace(
            plans[0],
            rate=plans[0].rate if len(rates) == 1 else realised,
            source=", ".join(files) or None,
            realised_rate=realised,
            source_sha256=_sha256([*sources]) if len(sources) > 1 else plans[0].source_sha256,
            array=array,
            array_sha256=_sha256([plan.identity for plan in plans]),
        )


def _sha256(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
