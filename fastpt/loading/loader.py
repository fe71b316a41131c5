"""The loader: one order and one set of crops for any decoder, any number of threads or ranks, and any restart."""

import os
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import torch

from fastpt import rng
from fastpt.data.pictures import Pictures
from fastpt.data.samples import ImageDataset
from fastpt.errors import FastptError, suggestion
from fastpt.jpeg import Interpolation
from fastpt.loading.batch import Batch, DecodedBatch
from fastpt.loading.crops import center_crops, random_resized_crops
from fastpt.loading.decoders import DECODERS
from fastpt.loading.order import Order, batch_positions, epoch_order, steps_per_epoch
from fastpt.loading.readahead import read_ahead
from fastpt.loading.reading import BadSamples, BatchReader, StaleEntryPoints
from fastpt.processes import cores

STATE_FORMAT = "2.1"
Crop = Literal["random", "center"]


class Loader:
    """Iterates over the batches of an epoch: `for batch in loader` gives each rank's `Batch` (see there).

    Iterating goes on from where the last iteration stopped and ends with the epoch; the next iteration is the next
    epoch. Closing an iterator, by `break` too, ends its threads.

    Which samples are seen when, and their boxes and flips, follow from (dataset, seed, epoch, global batch) alone,
    where the global batch, a step's samples, is `batch_size * gradient_accumulation_steps * world_size`.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        batch_size: int,
        size: int,
        *,
        seed: int,
        crop: Crop = "random",
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        crop_fraction: float = 0.875,
        interpolation: Interpolation = "area",
        flip: bool | None = None,
        decoder: str = "cpu",
        decoder_options: Mapping[str, Any] | None = None,
        device: torch.device | str = "cpu",
        order: Order = "random",
        rank: int = 0,
        world_size: int = 1,
        threads: int | None = None,
        drop_last: bool = True,
        repeats: int = 1,
        gradient_accumulation_steps: int = 1,
    ):
        """
        Args:
            dataset: the prepared split, several as one, or some of its samples.
            batch_size: pictures a batch of this rank.
            size: height and width of the pictures, pixels.
            seed: of order, boxes and flips, 0 or more.
            crop: "random" cuts as torchvision's RandomResizedCrop with `scale` and `ratio`; "center" cuts the central
                square of `crop_fraction` of the shorter side.
            interpolation: how the box is resized: by area, or antialiased bilinear or bicubic. DALI stands in for area
                with its antialiased triangular filter.
            flip: mirror half of the pictures; by default those of random crops.
            decoder: one of `fastpt.loading.decoders`: "cpu" (CPU), "dali" (CPU, or GPU by `device`) or "synthetic"
                (grey pictures, at no cost).
            decoder_options: further ones of this decoder, such as DALI's `hw_decoder_load`.
            device: where the pictures of a batch lie; ids and views are on the CPU. With DALI it also decodes there.
            order: see `fastpt.loading.order.epoch_order`.
            threads: threads that decode; by default this process's share of the cores, see `default_threads`.
            drop_last: for training: an incomplete last global batch is dropped, and a damaged picture is replaced by
                the next good one of the order, so every batch is full. Otherwise, for evaluation: every good sample
                comes exactly once, damaged ones are left out, and batches can be short or, at the end, empty.
            repeats: of a sample in a row, each with its own view (repeated augmentation).
            gradient_accumulation_steps: batches that make this rank's part of a step; only with `drop_last`, which
                then leaves out an incomplete last step. What is in a row is dealt out over them.

        Raises FastptError for settings out of range, if `drop_last` leaves no batch, and if the decoder cannot be had.
        """
        _check_choice("crop", crop, get_args(Crop))
        _check_choice("interpolation", interpolation, get_args(Interpolation))
        _check_choice("order", order, get_args(Order))
        _check_choice("decoder", decoder, DECODERS.names())
        _check("batch_size", batch_size, batch_size >= 1, "1 or more")
        _check_size(size)
        _check("seed", seed, 0 <= seed < 2**64, "a number from 0 to 2**64 - 1")
        _check("scale", scale, 0 < scale[0] <= scale[1] <= 1, "(low, high) with 0 < low <= high <= 1")
        _check("ratio", ratio, 0 < ratio[0] <= ratio[1], "(low, high) with 0 < low <= high")
        _check("crop_fraction", crop_fraction, 0 < crop_fraction <= 1, "over 0 and at most 1")
        _check("rank", rank, 0 <= rank < world_size, f"from 0 to world_size - 1, which is {world_size - 1}")
        threads = default_threads() if threads is None else threads
        _check("threads", threads, threads >= 1, "1 or more")
        _check("repeats", repeats, repeats == 1 or (repeats > 1 and order != "sequential"), "1, or more when shuffled")
        accumulated = gradient_accumulation_steps
        good = accumulated == 1 or (accumulated > 1 and drop_last)
        _check("gradient_accumulation_steps", accumulated, good, "1, or more with drop_last")
        self.dataset, self.batch_size, self.size, self.seed = dataset, batch_size, size, seed
        self.crop, self.scale, self.ratio, self.crop_fraction = crop, scale, ratio, crop_fraction
        self.flip = crop == "random" if flip is None else flip
        self.rank, self.world_size, self.threads = rank, world_size, threads
        self.order: Order = order
        self.drop_last, self.repeats = drop_last, repeats
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.global_batch = batch_size * gradient_accumulation_steps * world_size
        if drop_last and len(self) == 0:
            raise FastptError(
                f"{dataset.path} has {len(dataset)} samples, less than one global batch of {self.global_batch}, and "
                "drop_last leaves nothing. Use a smaller batch_size, or drop_last=False."
            )
        self.epoch = 0
        self._position = 0  # of the next global batch in the epoch's order, in samples
        self._batches: Generator[DecodedBatch, None, None] | None = None  # of the iteration under way
        self._bad, self._stale = BadSamples(dataset), StaleEntryPoints(dataset)
        self._stored = Pictures(dataset.samples)
        kind, options = DECODERS.get(decoder), decoder_options or {}
        for name in options:
            if name not in kind.options:
                raise FastptError(f"decoder {decoder} has no option {name!r}; {suggestion(name, kind.options)}")
        self._reads_ahead = order == "quasi_random" and kind.reads
        self._decoder_of = partial(
            kind,
            interpolation=interpolation,
            threads=threads,
            device=torch.device(device),
            batch_size=batch_size,
            **options,
        )
        self._decoder = self._decoder_of(size)

    @property
    def bad_samples(self) -> dict[int, int]:
        """How often each damaged picture met by this rank was replaced or left out, by sample id."""
        return dict(self._bad.counts)

    @property
    def stale_entry_points(self) -> dict[int, int]:
        """How often each picture was met whose entry points are not those of its data, by sample id: they were decoded
        without. Decoder cpu's; others do not look at entry points."""
        return dict(self._stale.counts)

    def __len__(self) -> int:
        """Batches of a whole epoch, the same on every rank."""
        steps = steps_per_epoch(len(self.dataset), self.global_batch, self.drop_last)
        return steps * self.gradient_accumulation_steps

    def __iter__(self) -> Iterator[Batch]:
        self._retire()
        total, of_all_ranks = len(self.dataset), self.batch_size * self.world_size  # samples of one batch each
        epoch, first = self.epoch, -(-self._position // of_all_ranks)
        accumulated = self.gradient_accumulation_steps
        positions: Iterable[np.ndarray] = (
            batch_positions(number, total, self.batch_size, self.rank, self.world_size, accumulated)
            for number in range(first, len(self))
        )
        reader = self._reader()
        if self._reads_ahead:
            start, own = first // accumulated * self.global_batch, self._drawn_here(reader.sample_ids)
            positions = read_ahead(self.dataset, reader.sample_ids, positions, start, own)
        batches = self._batches = self._decoder.batches(reader, positions)
        with closing(batches):
            for number, batch in enumerate(batches, first):
                self._position = min((number + 1) * of_all_ranks, total)
                yield self._with_rng_keys(batch, epoch)
                if batches is not self._batches:
                    raise FastptError(
                        "this iterator of the loader is out of use: a later iter(), set_epoch(), load_state_dict() or "
                        "close() ended it. Use one iterator at a time, or a second Loader."
                    )
        self._move_to(self.epoch + 1, 0)

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of `epoch`; in the epoch that is under way (after `load_state_dict`, say) stay in place."""
        _check("epoch", epoch, epoch >= 0, "0 or more")
        if epoch != self.epoch:
            self._move_to(epoch, 0)

    def set_size(self, size: int) -> None:
        """Give pictures of `size` x `size` pixels from the next iteration on (progressive resizing).

        Samples, boxes and flips stay what they were, and so does the state. Call it where `set_epoch` is called: an
        iteration under way is ended by a change.
        """
        _check_size(size)
        if size != self.size:
            self.close()
            self.size, self._decoder = size, self._decoder_of(size)

    def state_dict(self) -> dict:
        """Where the loader is, in global samples delivered (not prefetched), and what this position depends on.

        It is the same on every rank, plain JSON, and can be loaded at any world size with the same global batch; where
        it was taken within a step, with as many batches a step.
        """
        place = {"epoch": self.epoch, "position": self._position}
        return {**place, "gradient_accumulation_steps": self.gradient_accumulation_steps, **self._identity()}

    def load_state_dict(self, state: dict) -> None:
        """Go on where `state` was taken. Raises FastptError if it was taken under another order of samples."""
        if not isinstance(state, dict):
            raise FastptError(f"the loader's state is a {type(state).__name__}. Give what state_dict() returned.")
        if state.get("format") != STATE_FORMAT:
            raise FastptError(
                f"the loader's state has format {state.get('format')!r}, and this fastpt reads {STATE_FORMAT!r}. Go on "
                "with the fastpt that wrote it, or start a new run."
            )
        needed = self._identity()
        position = state.get("position")
        if isinstance(position, int) and position % self.global_batch:
            needed["gradient_accumulation_steps"] = self.gradient_accumulation_steps
        for name, here in needed.items():
            if state.get(name) != here:
                raise FastptError(
                    f"the loader's state cannot be resumed: its {name} is {state.get(name)!r}, here it is {here!r}, "
                    "which changes what is seen when. Resume with the same setting, or start a new run."
                )
        most = {"epoch": sys.maxsize, "position": len(self) * self.global_batch}
        for name, last in most.items():
            if type(found := state.get(name)) is not int or not 0 <= found <= last:
                raise FastptError(
                    f"the loader's state has {name} {found!r}, which is no number from 0 to {last}. Go back to a state "
                    "that was written whole, or start a new run."
                )
        self._move_to(state["epoch"], state["position"])

    def close(self) -> None:
        """End the iteration under way with its threads, and free the decoder."""
        self._retire()
        self._decoder.close()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _move_to(self, epoch: int, position: int) -> None:
        self._retire()
        self.epoch, self._position = epoch, position

    def _retire(self) -> None:
        """End the iteration under way, if any: a decoder serves one at a time."""
        if self._batches is not None:
            self._batches.close()
        self._batches = None

    def _identity(self) -> dict:
        """All that decides which samples a position of the order stands for."""
        return {
            "format": STATE_FORMAT,
            "samples_id": self.dataset.samples_id,
            "samples": len(self.dataset),
            "block": self.dataset.block if self.order == "quasi_random" else None,
            "order": self.order,
            "seed": self.seed,
            "repeats": self.repeats,
            "global_batch": self.global_batch,
            "drop_last": self.drop_last,
        }

    def _reader(self) -> BatchReader:
        epoch = self.epoch
        ids, views = epoch_order(len(self.dataset), self.seed, epoch, self.order, self.dataset.block, self.repeats)
        ids = ids.astype(np.uint32)  # kept for the epoch: half the memory
        return BatchReader(
            self.dataset,
            self._stored,
            ids,
            views,
            lambda ids, views: self._crop(ids, views, epoch),
            self.drop_last,
            self._bad,
            self._stale,
        )

    def _with_rng_keys(self, decoded: DecodedBatch, epoch: int) -> Batch:
        images, ids, views = decoded
        keys = rng.bits(rng.AUGMENTATION, self.seed, epoch, ids, views).view(np.int64)
        return Batch(images, *(torch.from_numpy(column) for column in (ids, views, keys)))

    def _drawn_here(self, sample_ids: np.ndarray) -> np.ndarray | None:
        """Which samples the ranks of this machine draw in an epoch of this order: bool [N]. None for all, also where no
        launcher has said how many ranks are here."""
        here = int(os.environ.get("LOCAL_WORLD_SIZE", self.world_size))
        if here >= self.world_size:
            return None
        first = self.rank - int(os.environ.get("LOCAL_RANK", "0"))  # of this machine: ranks are numbered by machine
        own = np.zeros(len(self.dataset), bool)
        own[sample_ids[(np.arange(len(sample_ids)) - first) % self.world_size < here]] = True
        return own

    def _crop(self, ids: np.ndarray, views: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Boxes int32 [B, 4] and flips bool [B] of samples in an epoch."""
        widths, heights = self.dataset.samples.width[ids], self.dataset.samples.height[ids]
        boxes, flips = random_resized_crops(widths, heights, ids, views, self.seed, epoch, self.scale, self.ratio)
        if self.crop == "center":
            boxes = center_crops(widths, heights, self.crop_fraction)
        return boxes, flips & self.flip


def default_threads() -> int:
    """This process's share of the cores that its job may use.

    A launcher may have bound each rank to the cores near its GPU: those are this rank's own. If it has not, the ranks
    of the machine divide the cores that their parent, the launcher, may use.
    """
    of_job = len(os.sched_getaffinity(os.getppid())) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(cores(), of_job))


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    _check(name, value, value in choices, "one of " + ", ".join(choices))


def _check_size(size: int) -> None:
    _check("size", size, size >= 1, "1 or more pixels")


def _check(name: str, value: object, good: bool, wanted: str) -> None:
    if not good:
        raise FastptError(f"the loader's {name} is {value!r}. It must be {wanted}.")
