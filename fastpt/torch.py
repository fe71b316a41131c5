"""Prepared splits for training loops of others: `torch.utils.data` datasets over the loader's order, crops and noise.

    data = FastptDataset("data/imagenet/train", 256, 224, seed=0, noise=0.05)
    for images, targets, sample_ids in DataLoader(data, batch_size=None): ...

`FastptDataset` gives the batches of `fastpt.Loader`, whose native threads do what workers would; `FastptMapDataset` has
one sample under each index, for samplers and workers of others. docs/howto/loops.md has complete loops.
"""

import io
import operator
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
import torch.distributed as dist
from torch.utils import data as torch_data
from torch.utils.data._utils.collate import default_collate_fn_map

from fastpt.augment.transforms import normalize
from fastpt.data.dataset import Dataset
from fastpt.data.plan import Targets
from fastpt.errors import FastptError
from fastpt.loading.loader import Loader

SPLIT_BY = ("DataLoaderDispatcher", "IterableDatasetShard")  # accelerate's, which deal batches out to processes


class TensorBatch(NamedTuple):
    """B samples for a training step."""

    images: torch.Tensor  # uint8 [B, 3, H, W], or float32 if normalised; channels last in memory
    targets: torch.Tensor | list[str]  # int64 [B] labels, or B captions, as the noise plan shows them
    sample_ids: torch.Tensor  # int64 [B], rows of the dataset


def _refuse(batches: list[TensorBatch], **_: Any) -> NoReturn:
    raise FastptError("FastptDataset gives whole batches, which would be batched again. Write batch_size=None.")


default_collate_fn_map[TensorBatch] = _refuse  # of a DataLoader that has a batch_size, as torch's default is


class FastptDataset(torch_data.IterableDataset[TensorBatch]):
    """The batches of `fastpt.Loader` for a `DataLoader(..., batch_size=None)`, split over ranks by itself.

    A pass is an epoch. A new iterator is the next epoch, or, once `load_state_dict` was called, goes on in place: the
    rest is what an uninterrupted pass would have given, at any number of ranks with the same global batch.

    Rank and world size are those of `torch.distributed` where it runs, otherwise those of the launcher. So nothing else
    may split: in worker processes, and behind accelerate's `prepare` with several processes, iterating raises
    FastptError. Leave the DataLoader out of `prepare`, or give `world_size=1` and accelerate splits whole batches.
    """

    def __init__(
        self,
        dataset: Dataset | Path | str,
        batch_size: int,
        size: int,
        *,
        seed: int,
        noise: float | str | None = None,
        of: Targets | None = None,
        normalize: tuple[Sequence[float], Sequence[float]] | None = None,
        rank: int = 0,
        world_size: int | None = None,
        **settings: Any,
    ):
        """
        Args:
            dataset: a prepared split, or its folder.
            batch_size: pictures a batch of this rank.
            size: height and width of the pictures, pixels.
            seed: of order, boxes and flips, 0 or more.
            noise: what the samples are shown: None (clean), a rate or a plan, see `Dataset.targets`.
            of: "labels" or "captions", where the split has both.
            normalize: (mean, std) of three colours from 0 to 1, for float32 pictures; otherwise they are uint8.
            rank: with `world_size`, which part of each global batch is this process's; by default found when used.
            settings: further ones of `Loader`: crop, scale, interpolation, order, decoder, threads, drop_last, ...

        Raises FastptError as `Loader` and `Dataset.targets` do.
        """
        self.dataset = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
        self.of: Targets = of or self.dataset.default_targets
        self.targets = torch.from_numpy(self.dataset.targets(noise, self.of))  # int64 [N]: labels, or rows of captions
        self._shown = self.dataset.shown(noise, self.of)
        plan = self.dataset.noise_plan(noise, self.of)
        self._noise = {"of": self.of, "array_sha256": plan.identity if plan else None}
        self._normalize, self._place = normalize, None if world_size is None else (rank, world_size)
        self._settings = {"batch_size": batch_size, "size": size, "seed": seed, **settings}
        self._made = self._make(_place())
        self._goes_on = False  # where a state was loaded, in the next iteration

    @property
    def bad_samples(self) -> dict[int, int]:
        """How often each damaged picture met by this rank was replaced or left out, by sample id."""
        return self._loader.bad_samples

    def __len__(self) -> int:
        """Batches of an epoch, the same on every rank."""
        return len(self._loader)

    def __iter__(self) -> Iterator[TensorBatch]:
        self._check_alone()
        return self._batches()

    def set_epoch(self, epoch: int) -> None:
        """Begin with `epoch` next time, or, with a state of that epoch loaded, go on within it."""
        if not (self._goes_on and self._loader.epoch == epoch):
            self._begin(epoch)

    def state_dict(self) -> dict:
        """Where the dataset is, in batches delivered, and all that decides what comes next; plain JSON.

        After the last batch of an epoch it is at the start of the next.
        """
        state = self._loader.state_dict()
        if -(-state["position"] // self._loader.global_batch) >= len(self):
            state |= {"epoch": state["epoch"] + 1, "position": 0}
        return {**state, "noise": self._noise}

    def load_state_dict(self, state: dict) -> None:
        """Go on where `state` was taken. Raises FastptError if other samples or targets would come there."""
        if not isinstance(state, dict):
            raise FastptError(f"the dataset's state is a {type(state).__name__}. Give what state_dict() returned.")
        state = dict(state)
        if (noise := state.pop("noise", None)) != self._noise:
            raise FastptError(
                f"the state of {self.dataset} was taken under the noise {noise!r}, and here it is {self._noise!r}. "
                "Resume with the same noise plan, or start a new run."
            )
        self._loader.load_state_dict(state)
        self._goes_on = True

    def __getstate__(self) -> dict:
        return {**vars(self), "_made": self._made.state_dict()}

    def __setstate__(self, attributes: dict) -> None:
        state = attributes.pop("_made")
        vars(self).update(attributes)
        self._made = self._make(_place())
        self._go_to(state)

    def _batches(self) -> Iterator[TensorBatch]:
        loader, mean_std = self._loader, self._normalize
        if not self._goes_on and loader.state_dict()["position"]:
            self._begin(loader.epoch + 1)  # an epoch that was broken off is over, as with a DataLoader of torch's
        self._goes_on = False
        for batch in loader:
            images = batch.images.permute(0, 3, 1, 2) if mean_std is None else normalize(batch.images, *mean_std)
            targets = self.targets[batch.sample_ids]
            shown = self.dataset.captions(targets.numpy()) if self.of == "captions" else targets
            yield TensorBatch(images, shown, batch.sample_ids)

    @property
    def _loader(self) -> Loader:
        """This rank's loader; made anew where `torch.distributed` was started since."""
        if (place := self._place or _place()) != (self._made.rank, self._made.world_size):
            state, self._made = self._made.state_dict(), self._make(place)
            self._go_to(state)
        return self._made

    def _go_to(self, state: dict) -> None:
        """Where another loader was; at the start of an epoch that may be one of another global batch."""
        if state["position"]:
            self._made.load_state_dict(state)
            self._goes_on = True
        else:
            self._made.set_epoch(state["epoch"])

    def _make(self, place: tuple[int, int]) -> Loader:
        rank, world_size = self._place or place
        return Loader(self._shown, rank=rank, world_size=world_size, **self._settings)

    def _begin(self, epoch: int) -> None:
        self._loader.load_state_dict({**self._loader.state_dict(), "epoch": epoch, "position": 0})
        self._goes_on = False

    def _check_alone(self) -> None:
        """Raise FastptError where batches would be split a second time, so that some came twice and others never."""
        if torch_data.get_worker_info() is not None:
            raise FastptError(
                "FastptDataset is iterated in a worker of a DataLoader, but loads with threads of its own. Set "
                "num_workers=0 and choose its threads, or use FastptMapDataset."
            )
        if self._loader.world_size > 1 and _accelerate_splits():
            raise FastptError(
                "accelerate would split the batches of FastptDataset, which are split by rank already. Leave its "
                "DataLoader out of accelerator.prepare(), or give FastptDataset(..., world_size=1)."
            )


class FastptMapDataset(torch_data.Dataset[tuple[Any, int | str]]):
    """`dataset[i]` is (picture, target) of sample i: a PIL image in RGB, or what `transform` makes of it.

    The target is the label, or the caption, that the noise plan shows. It may be pickled, and read by the workers of a
    DataLoader. Raises DamagedData where a picture's bytes are not those that were stored.
    """

    def __init__(
        self,
        dataset: Dataset | Path | str,
        noise: float | str | None = None,
        of: Targets | None = None,
        transform: Callable[[Any], Any] | None = None,
    ):
        """`noise` and `of` are those of `Dataset.targets`, and raise what it raises."""
        self.dataset = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
        self.of: Targets = of or self.dataset.default_targets
        self.targets = self.dataset.targets(noise, self.of)  # int64 [N]: labels, or rows of captions
        self._shown = self.dataset.shown(noise, self.of)
        self.transform = transform

    @property
    def classes(self) -> list[str]:
        """Their names, by label."""
        return self.dataset.class_names

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, int | str]:
        from PIL import Image

        index = range(len(self))[operator.index(index)]  # negative ones count from the end; an IndexError beyond it
        (jpeg,) = self._shown.jpegs(np.array([index]), checked=True)
        with Image.open(io.BytesIO(jpeg.tobytes()), formats=["JPEG"]) as image:
            picture = image.convert("RGB")
        target = int(self.targets[index])
        shown = self.dataset.captions([target])[0] if self.of == "captions" else target
        return (self.transform(picture) if self.transform else picture), shown


def _place() -> tuple[int, int]:
    """Rank and world size of this process."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:  # of torchrun, before the process group is made
        return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return 0, 1


def _accelerate_splits() -> bool:
    """Whether what iterates is a loader of accelerate that splits: it tells a dataset nothing, but is on the stack."""
    frame = sys._getframe()
    while frame := frame.f_back:
        by_accelerate = frame.f_globals.get("__name__") == "accelerate.data_loader"
        if by_accelerate and frame.f_code.co_qualname.split(".")[0] in SPLIT_BY:
            return True
    return False
