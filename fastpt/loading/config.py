"""The recipe's `data`: what is read, in which order, and how a picture is cut."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, Strict

from fastpt.config import Pair, Section
from fastpt.errors import FastptError, suggestion
from fastpt.jpeg import Interpolation
from fastpt.loading.decoders import DECODERS
from fastpt.storage.address import ADDRESS, RemotePath

# What is secret of an address is kept for this process, and is in no recipe that is recorded.
SplitPath = Annotated[str, AfterValidator(lambda path: str(RemotePath.parse(path)) if ADDRESS.match(path) else path)]
"""Folder of a prepared split, or its address."""
IntPair = Annotated[tuple[int, int], Strict(False)]  # YAML has lists only


class TrainSplit(Section):
    """One of several prepared splits that are trained on as one."""

    path: SplitPath
    """Folder of the prepared split."""
    weight: int = Field(default=1, ge=1)
    """How many times an epoch each of its samples comes, with other crops."""


class Data(Section):
    """What is trained on, and how a picture is cut."""

    train: SplitPath | Annotated[list[TrainSplit], Field(min_length=2)]
    """Folder of the prepared split to train on; or several splits with weights, as one: of the same classes, where
    labels are learned."""
    val: SplitPath | None = None
    """Folder of the prepared split to evaluate on."""
    prep: str | None = None
    """The command that makes the splits, told where one is missing."""
    noise: float | str | None = None
    """Noise plan of the training split, or of each: a rate from 0 to below 1, or a plan's name. None or 0 is clean."""
    keep: Literal["all", "right"] = "all"
    """Train on all samples, or on those alone whose target the noise plan leaves `right`, for as many steps: epochs of
    the schedule stay those of all samples. What wrong labels do is then told from what fewer labels do."""
    decoder: str = "cpu"
    """Which decoder reads the pictures: cpu, dali, or synthetic, which makes grey ones at no cost, to time the rest."""
    size: int = Field(default=224, ge=8, le=16384)
    """Side of the training crops, pixels."""
    sizes: list[IntPair] | None = None
    """Progressive size: pairs of an epoch (from 0) and the side that holds from it on, such as [[0, 160], [13, 192]];
    the last side is `size`."""
    eval_size: int | None = Field(default=None, ge=8, le=16384)
    """Side of the evaluation crops, pixels; by default `size`."""
    crop_fraction: float = Field(default=0.95, gt=0, le=1)
    """Share of the picture's short side that evaluation keeps (its centre crop)."""
    interpolation: Interpolation = "area"
    """Resampling filter for training crops."""
    eval_interpolation: Interpolation = "bicubic"
    """Resampling filter for evaluation crops."""
    scale: Pair = (0.08, 1.0)
    """Random crops cover from scale[0] to scale[1] of the picture's area."""
    flip: bool = True
    """Mirror half of the training crops."""
    order: Literal["random", "quasi_random"] = "random"
    """Order of an epoch: wholly random, or `quasi_random` for disks that want large sequential reads."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """Decoding threads a process; by default one for each core it may use."""

    def size_in(self, epoch: int) -> int:
        """Side of the training crops in an epoch, pixels."""
        return [side for start, side in self.sizes if start <= epoch][-1] if self.sizes else self.size

    def check_there(self) -> None:
        """Raise FastptError if a split is missing here of which `prep` says how it is made."""
        train = [self.train] if isinstance(self.train, str) else [split.path for split in self.train]
        here = [path for path in dict.fromkeys([*train, self.val]) if path and not ADDRESS.match(path)]
        missing = [path for path in here if not Path(path).exists()]
        if missing and self.prep:
            there, it = ("is", "it") if len(missing) == 1 else ("are", "them")
            raise FastptError(f"{' and '.join(missing)} {there} not there. Prepare {it}: {self.prep}")

    def problems(self) -> Iterable[str]:
        if isinstance(self.noise, float | int) and not 0 <= self.noise < 1:
            yield f"data.noise is {self.noise:g}; a rate lies from 0 to below 1 (5 % is 0.05)."
        if self.keep == "right" and not self.noise:
            yield "data.keep is right, which leaves out what a noise plan changes, but data.noise is none. Give one."
        if self.decoder not in DECODERS.names():
            yield f"data.decoder is {self.decoder!r}; {suggestion(self.decoder, DECODERS.names())}"
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            yield f"data.scale is {list(self.scale)}; it must rise within 0 to 1, such as [0.08, 1.0]."
        if self.sizes is not None:
            starts, sides = [start for start, _ in self.sizes], [side for _, side in self.sizes]
            if starts[:1] != [0] or starts != sorted(set(starts)) or min(sides) < 8 or sides[-1] != self.size:
                yield (
                    f"data.sizes is {[list(pair) for pair in self.sizes]}; it needs rising epochs from 0 with sides of "
                    f"at least 8 pixels, the last of them data.size, which is {self.size}."
                )
