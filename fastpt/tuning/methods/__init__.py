"""Tuning methods: how classes are learned on what a pre-trained encoder makes of pictures. A method is a file here.

A new one is a file, a line in `METHODS` and a test; or an installed package names it under the entry point group
`fastpt.methods`. Its module is also imported for the sake of the attributes alone: it imports torch and the like inside
its functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import click

from fastpt.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    import torch

    from fastpt.data.concat import ConcatDataset
    from fastpt.data.dataset import Dataset
    from fastpt.tuning.encoders.encoder import Encoder

BASELINE = "lp"
"""The method that is always among those asked for, and that the others are compared with."""
HEADS = ("lp", "mlp", "nmtune")
"""The methods that one trainer serves (head_training.py), on the features or with the encoder; also the default."""
FINETUNING = ("lora", "full")
"""How the encoder is trained with a head: the method is then called HEAD+FINETUNING."""


TrainsOn = Literal["features", "images", "names"] | int
"""`names`: on the classes' names alone. A number is that of augmented views: the features of so many random crops of
each picture."""


@dataclass(frozen=True, eq=False)
class HeadSpec:
    """What one head has to itself."""

    seed: int
    """Of all that is random in its training."""
    lr: float | None = None
    reg_weight: float | None = None
    """Where one was chosen for this head; None: the method's."""
    rows: np.ndarray | None = None
    """Samples it trains on, int64 [n], of those of the training data; None: all."""


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """The pictures of the training data."""

    encoder: Encoder
    """Pre-trained; its `model` is there."""
    dataset: Dataset | ConcatDataset
    sample_ids: np.ndarray
    """int64 [N], of the pictures that could be decoded."""
    decoder: str
    threads: int


@dataclass(frozen=True, eq=False)
class ClassNames:
    """What the classes are called, and what an encoder makes of words."""

    encoder: Encoder
    """It has a text tower."""
    names: list[str]
    """A word or more for each class."""


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What heads of one downstream set are trained on. Nothing of a test is in it."""

    features: torch.Tensor
    """float32 [N, D], finite; for a method that trains on V views float32 [V, N, D], each of another augmentation."""
    labels: np.ndarray
    """int64 [N] in [0, classes)."""
    classes: int
    images: TrainingImages | None = None
    """There for a method that trains on images."""
    names: ClassNames | None = None
    """There for a method that trains on names."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """Trained heads, H of them."""

    settings: list[dict[str, Any]]
    """What was chosen for each of the H heads, by name: numbers or texts, as the results record them."""
    logits: Callable[[torch.Tensor], torch.Tensor]
    """Features float32 [N, D] on the device of the training -> scores [H, N, K]: the largest is a head's answer."""
    transformed: Callable[[torch.Tensor, int], torch.Tensor] | None = None
    """Features float32 [N, D] and the number of a head -> float32 [N, D'], what its linear classifier sees, where that
    is not the features: the results have its spectrum."""
    encoder: Encoder | None = None
    """The fine-tuned encoder that makes the features of the tests; None: the pre-trained one."""
    validation: list[float | None] | None = None
    """Of a probe, a method that answers on the features as they are: for each head the share of right answers that
    what was chosen for it had on the validation part of its training rows (`subsets.validation_part`), None where no
    sample could be held out. The probe that is best there is what other methods are compared with."""
    has_probabilities: bool = False
    """Whether the softmax of the scores is what a head holds each class's probability to be. Of other scores there is
    no calibration error and no likelihood."""


class Method(Protocol):
    """A way to learn classes. What it is given as `options` are values of its own options, by name, and no others."""

    label: str
    """As tables and figures have it; the results carry it along."""
    colour: str
    """`#rrggbb`, that of its lines in figures."""
    summary: str
    """A line of help of the flag `fastpt tune --NAME`; empty where only `--method NAME` asks for it, as for any."""
    options: tuple[click.Option, ...]
    """Its own options of `fastpt tune`, each with a default; methods that share one share the object."""

    def check(self, **options: Any) -> None:
        """Raise FastptError if the options cannot be run, before any work is done."""
        ...

    def trains_on(self, **options: Any) -> TrainsOn:
        """What the training data must hold; images and names come with features."""
        ...

    def settings(self, **options: Any) -> dict[str, Any]:
        """All that heads are trained with under the options, defaults filled in, as the results record it: JSON values
        by name. `tried` is how many settings are compared on the validation part, at most. Results of which one differs
        are never averaged or compared."""
        ...

    def fit(
        self, data: TrainingData, heads: Sequence[HeadSpec], device: torch.device, **options: Any
    ) -> Iterable[Fitted]:
        """Train the heads of all seeds and shares of the data: together the parts have them in the order given.

        A head is a function of its own spec and the data: the same in any company. Where heads have encoders of their
        own, each is a part, made when it is asked for, so that they need not all be in memory. `data.features` may
        lie on another device. Raises FastptError if the data cannot be trained on or training diverges.
        """
        ...


# From the lightest to train to the heaviest: sets train the heaviest first, lest one be left to the end.
METHODS: Registry[Method] = Registry(
    "tuning method",
    {
        "lp": "fastpt.tuning.methods.linear_probe:METHOD",
        "lp-gce": "fastpt.tuning.methods.robust_probes:GCE",
        "lp-sce": "fastpt.tuning.methods.robust_probes:SCE",
        "lp-smoothed": "fastpt.tuning.methods.robust_probes:SMOOTHED",
        "lp-elr": "fastpt.tuning.methods.robust_probes:ELR",
        "lp-filtered": "fastpt.tuning.methods.filtered_probe:METHOD",
        "knn": "fastpt.tuning.methods.knn:METHOD",
        "ridge": "fastpt.tuning.methods.ridge:METHOD",
        "logistic": "fastpt.tuning.methods.logistic:METHOD",
        "zero-shot": "fastpt.tuning.methods.zero_shot:METHOD",
        "mlp": "fastpt.tuning.methods.mlp:METHOD",
        "nmtune": "fastpt.tuning.methods.nmtune:METHOD",
        "lp+lora": "fastpt.tuning.methods.finetune:LP_LORA",
        "mlp+lora": "fastpt.tuning.methods.finetune:MLP_LORA",
        "nmtune+lora": "fastpt.tuning.methods.finetune:NMTUNE_LORA",
        "lp+full": "fastpt.tuning.methods.finetune:LP_FULL",
        "mlp+full": "fastpt.tuning.methods.finetune:MLP_FULL",
        "nmtune+full": "fastpt.tuning.methods.finetune:NMTUNE_FULL",
    },
    "fastpt.methods",
    Method,
)
