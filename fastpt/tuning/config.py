"""What a plan of tuning asks for, trained on arrays: which heads, on which rows, with which settings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fastpt.errors import FastptError
from fastpt.noise.kinds.symmetric import symmetric
from fastpt.tuning.fit import PROTOCOLS, HeadSpec, Variant, fit, protocol, select
from fastpt.tuning.heads import Heads, Precision
from fastpt.tuning.losses import Weights
from fastpt.tuning.methods.ridge import fit_ridge
from fastpt.tuning.subsets import subset

METHODS = ("lp", "ridge", "mlp", "nmtune")
"""LP, MLP tuning and NMTune by AdamW, as in the paper; `ridge` is the linear baseline in closed form."""
FINE_TUNED = tuple(f"{head}+{kind}" for kind in ("lora", "full") for head in PROTOCOLS)
"""The same heads, trained together with the encoder; see finetune.py."""


@dataclass(frozen=True)
class TuningConfig:
    """Methods and the settings they are trained in. LP, the baseline, is always among the methods."""

    methods: Sequence[str] = tuple(PROTOCOLS)
    seeds: Sequence[int] = (0,)
    fractions: Sequence[float] = (1.0,)
    """Shares of each class of the training split; every head is trained on each."""
    lrs: Sequence[float] = ()
    """Learning rates to choose from on a validation part of the training data; none: the protocol's."""
    reg_weights: Sequence[float] = ()
    """λ of NMTune to choose from on a validation part of the training data; none: the protocol's."""
    label_noise: float = 0.0
    """Share of training labels flipped to another class, exactly that of each class, the same for every head."""
    variant: Variant = "paper"
    terms: Sequence[str] = Weights._fields
    """Terms of NMTune's regulariser that are kept."""
    epochs: int | None = None
    head_precision: Precision = "fp32"
    """Of the matrix products that train heads on features; those of a fine-tuned encoder's are fp32."""

    def __post_init__(self):
        known = (*METHODS, *FINE_TUNED)
        if unknown := [method for method in self.methods if method not in known]:
            raise FastptError(f"There is no tuning method {unknown[0]!r}. The methods are {', '.join(known)}.")
        if not self.seeds or not self.fractions or len(set(self.fractions)) < len(self.fractions):
            raise FastptError(
                f"the fractions {list(self.fractions)} of the training data cannot be run. Give at least one, such as "
                "1, and none twice."
            )
        ordered = tuple(method for method in known if method in {"lp", *self.methods})
        object.__setattr__(self, "methods", ordered)
        for rate in self.lrs:
            protocol("lp", lr=rate)
        for reg_weight in self.reg_weights:
            protocol("nmtune", reg_weight=reg_weight)
        protocol("nmtune", self.variant, self.terms, epochs=self.epochs, precision=self.head_precision)
        if self.fine_tuned and (self.variant != "paper" or len(self.lrs) > 1 or len(self.reg_weights) > 1):
            raise FastptError(
                "Fine-tuning has the variant of the paper only, and chooses nothing on a validation part. "
                "Give at most one learning rate and one penalty, and leave --variant out."
            )

    @property
    def frozen(self) -> tuple[str, ...]:
        """The methods that train heads on features."""
        return tuple(method for method in self.methods if method in METHODS)

    @property
    def fine_tuned(self) -> tuple[str, ...]:
        """The methods that train the encoder, too."""
        return tuple(method for method in self.methods if method in FINE_TUNED)

    def describe(self) -> dict:
        """What the results record of it."""
        return {
            "fractions": list(self.fractions),
            "lrs": list(self.lrs),
            "reg_weights": list(self.reg_weights),
            "label_noise": self.label_noise,
            "variant": self.variant,
            "terms": list(self.terms),
            "epochs": protocol("lp", epochs=self.epochs).epochs,
            "head_precision": self.head_precision,
        }


@dataclass(frozen=True)
class Trained:
    """Heads of one method, and what each was trained with: seed, fraction, and lr and penalty, or l2."""

    heads: Heads
    settings: list[dict]


def train(
    plan: TuningConfig, method: str, features: Tensor, labels: np.ndarray, classes: int, device: torch.device | str
) -> Trained:
    """Heads of every seed and fraction. Choices see the training arrays given here only. Raises FastptError.

    features: [N, D] or [V, N, D]; labels: int64 [N], as they are before the plan's noise.
    """
    labels = noisy(labels, classes, plan.label_noise)
    keys = [(seed, fraction) for fraction in plan.fractions for seed in plan.seeds]
    heads = [HeadSpec(seed, rows=None if share == 1 else subset(labels, share, seed)) for seed, share in keys]
    settings = [{"seed": seed, "fraction": fraction} for seed, fraction in keys]
    if method == "ridge":
        trained, chosen = fit_ridge(features, labels, heads, classes, device)
        return Trained(trained, [{**one, "l2": l2} for one, l2 in zip(settings, chosen, strict=True)])
    base = protocol(method, plan.variant, plan.terms, epochs=plan.epochs, precision=plan.head_precision)
    reg_weights = (plan.reg_weights or [base.reg_weight]) if method == "nmtune" else [base.reg_weight]
    heads = select(features, labels, base, heads, plan.lrs or [base.lr], reg_weights, classes, device)
    settings = [
        {**one, "lr": head.lr, "reg_weight": head.reg_weight} for one, head in zip(settings, heads, strict=True)
    ]
    return Trained(fit(features, labels, base, heads, classes, device), settings)


def noisy(labels: np.ndarray, classes: int, rate: float) -> np.ndarray:
    """Labels int64 [N] with exactly round(rate · n_c) of each class flipped uniformly to another; keyed by row."""
    if rate == 0:
        return labels
    return symmetric([str(row) for row in range(len(labels))], labels, classes, rate, seed=0).astype(np.int64)
