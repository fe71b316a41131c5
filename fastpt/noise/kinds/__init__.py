"""Kinds of noise: which samples are shown a wrong target, and which. A kind is an object in a file of this room.

A new one is a file here, a line in `KINDS` and a test, which starts with `fastpt.testing.assert_makes_noise`; or an
entry point `fastpt.noise_kinds` of an installed package. Beside the object stands the pure function that it calls.
Modules are also imported for the sake of what `fastpt noise --help` shows: they import pyarrow and the like inside
their functions. docs/internals/noise.md defines each kind and compares it with other generators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fastpt.data.plan import Changed, Targets
from fastpt.registry import Registry

if TYPE_CHECKING:
    import numpy as np

    from fastpt.data.dataset import Dataset
    from fastpt.data.plan import NoisePlan


class Made(NamedTuple):
    """The noise of a split."""

    array: np.ndarray
    """What each sample is shown: int32 [N] labels, int64 [N] rows whose caption is shown, or, of pictures, int64 [N]
    rows of the split whose picture is shown, each once, -1 for a sample's own."""
    warnings: Sequence[str] = ()
    """What the user should know of the file that it was made from: "it ...", one line each."""


class NoiseKind(Protocol):
    """A kind of noise. Its plans are called after it, their rate and seed, or their file."""

    summary: str
    """What it does to which targets, in a line of help."""
    of: frozenset[Changed]
    """What it can change: targets, or the pictures that they stand under."""
    takes_rate: bool = True
    """Whether a rate and a seed are asked for; if not, the rate is what its file comes to."""
    even: bool = True
    """Whether each class gets its share of a rate of wrong labels; if so, those that miss it are told."""
    files: Mapping[str, str] = {}
    """Options that name the file it is made from, such as `matrix`, each with its help; of several, one is given.

    Of a kind that changes pictures, the one option names the prepared split that these are of.
    """

    def make(self, dataset: Dataset, of: Changed, rate: float, seed: int, files: Mapping[str, Path]) -> Made:
        """The noise of a split: a function of keys, clean targets, rate, seed and the file that an option names.

        `rate` is in [0, 1), and 0 where none is taken. Ranks and draws come from hashes of the keys (see `ranking`), so
        that rows do not matter. Raises FastptError if the rate cannot be reached, or if the file is of no use.
        """
        ...

    def check(self, plan: NoisePlan, dataset: Dataset) -> list[str]:
        """What this kind promises of every plan and `plan` does not keep: "does not ...", one for each thing.

        The file that it was made from may be gone. Where there was none, it has been made again and compared.
        """
        ...


KINDS: Registry[NoiseKind] = Registry(
    "kind of noise",
    {
        "symmetric": "fastpt.noise.kinds.symmetric:KIND",
        "asymmetric": "fastpt.noise.kinds.asymmetric:KIND",
        "instance": "fastpt.noise.kinds.instance:KIND",
        "swap": "fastpt.noise.kinds.swap:KIND",
        "pairswap": "fastpt.noise.kinds.pairswap:KIND",
        "external": "fastpt.noise.kinds.external:KIND",
        "open-set": "fastpt.noise.kinds.open_set:KIND",
    },
    "fastpt.noise_kinds",
    NoiseKind,
)
DEFAULTS: Mapping[Targets, str] = {"labels": "symmetric", "captions": "swap"}
"""The kind that is meant where only a rate is asked for."""
