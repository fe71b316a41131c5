"""How the heads of one trainer (fastpt/tuning/fit.py) are trained: LP, MLP tuning and NMTune are values of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import click

from fastpt.errors import FastptError, suggestion
from fastpt.tuning.methods import HEADS, METHODS, Fitted, HeadSpec, TrainingData, TrainsOn
from fastpt.tuning.methods.budget import BUDGET, about
from fastpt.tuning.methods.numbers import Numbers
from fastpt.tuning.subsets import validation_part

if TYPE_CHECKING:
    import torch

    from fastpt.config import Precision

Variant = Literal["paper", "reference-code"]
Init = Literal["linear", "kaiming"]
Loss = Literal["cross_entropy", "gce", "sce", "smoothed", "elr"]


DEFAULT_VIEWS = 8
"""Of each training picture, for the MLP of the reference code. The authors' code draws two anew in each epoch, 60 in
all. What fewer cost was not measured over seeds."""


class Weights(NamedTuple):
    """Weights of the terms of NMTune's regulariser; a term of weight 0 is left out."""

    consistency: float = 1.0
    covariance: float = 1.0
    dominance: float = 1.0


ALL_TERMS = Weights()

LRS = click.Option(
    ["--lrs"], type=Numbers(), default=(), help="Learning rates to choose from on a part of the training data."
)
REG_WEIGHTS = click.Option(
    ["--reg-weights"], type=Numbers(), default=(), help="NMTune's lambdas to choose from, as with --lrs."
)
VARIANT = click.Option(
    ["--variant"],
    type=click.Choice(["paper", "reference-code"]),
    default="paper",
    show_default=True,
    help="Of linear probing, MLP tuning and NMTune: as in the paper or in its authors' code.",
)
ABLATE = click.Option(
    ["--ablate"],
    type=click.Choice(Weights._fields),
    multiple=True,
    default=(),
    help="A term to leave out of NMTune's regulariser; may be given again.",
)
VIEWS = click.Option(
    ["--views"],
    type=click.IntRange(2, 10**4),
    help=f"Of --variant reference-code: augmented views of each picture, of which each step draws two (default: "
    f"{DEFAULT_VIEWS}).",
)
EPOCHS = click.Option(
    ["--epochs"],
    type=click.IntRange(1, 10**6),
    default=30,
    show_default=True,
    help="Epochs of tuning; the paper has 30.",
)
HEAD_PRECISION = click.Option(
    ["--head-precision"],
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    show_default=True,
    help="Precision of the matrix products that train heads.",
)


@dataclass(frozen=True)
class HeadTraining:
    """AdamW, the rate falling to 0 along a cosine over all steps, no warm-up.

    Raises FastptError if it cannot be run.
    """

    lr: float
    """Learning rate of the first step."""
    weight_decay: float
    """AdamW's decoupled weight decay, on every parameter."""
    mlp: Variant | None
    """The MLP that stands before the linear classifier. That of the reference code sees two views of a sample."""
    classifier_init: Init = "linear"
    """Initial values of the classifier; see `fastpt.tuning.heads.Heads`."""
    loss: Loss = "cross_entropy"
    """What a head minimises on its labels: one of fastpt/losses/classification.py, with its published settings."""
    reg_weight: float = 0.0
    """λ: weight of NMTune's regulariser beside the cross-entropy."""
    weights: Weights = ALL_TERMS
    """Weights of the regulariser's terms, within λ."""
    epochs: int = 30
    batch_size: int = 64
    precision: Precision = "fp32"
    """Of the matrix products of training; see `fastpt.tuning.heads.Heads`."""

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("lr", 0), ("reg_weight", 0), ("weight_decay", 0)):
            value = getattr(self, name)
            if not least <= value < math.inf or (name == "lr" and value == 0):
                raise FastptError(
                    f"{name} {value} cannot be run: epochs and batch_size are at least 1, lr is above 0, reg_weight "
                    "and weight_decay are not below 0, and all are finite."
                )
        if self.precision not in ("fp32", "bf16"):
            raise FastptError(f"There is no precision {self.precision!r}. The precisions are fp32 and bf16.")


@dataclass(frozen=True)
class HeadMethod:
    """A method whose heads are trained so on features, all of one call together."""

    label: str
    colour: str
    summary: str
    training: HeadTraining
    """As in the paper."""
    options: tuple[click.Option, ...] = (LRS, BUDGET, VARIANT, EPOCHS, HEAD_PRECISION)
    reference_code: Mapping[str, Any] = field(default_factory=dict)
    """What the authors' published code does otherwise."""
    lrs: tuple[float, ...] = ()
    """Learning rates to choose from where none are given, of a method for which none is published."""

    def configured(self, variant: Variant = "paper", ablate: Sequence[str] = (), **changes: Any) -> HeadTraining:
        """The training in a variant, without some terms of the regulariser, with the changes that are not None.

        Raises FastptError if it cannot be run.
        """
        if variant not in ("paper", "reference-code"):
            raise FastptError(f"There is no variant {variant!r}. The variants are paper and reference-code.")
        if unknown := sorted(set(ablate) - set(Weights._fields)):
            raise FastptError(f"There is no term {unknown[0]!r}; {suggestion(unknown[0], Weights._fields)}")
        chosen = replace(self.training, **(self.reference_code if variant == "reference-code" else {}))
        weights = chosen.weights._replace(**dict.fromkeys(ablate, 0.0))
        return replace(chosen, weights=weights, **{key: value for key, value in changes.items() if value is not None})

    def check(self, views: int | None = None, **options: Any) -> None:
        training = self.training_of(**options)
        lrs, reg_weights = self.grid(**options)
        if views is not None and (views < 2 or training.mlp != "reference-code"):
            raise FastptError(
                f"views {views} cannot be run: the variant reference-code draws two different ones of at least 2, and "
                "that of the paper has none. Leave it out, or give --variant reference-code and 2 or more."
            )
        for changes in (*({"lr": lr} for lr in lrs), *({"reg_weight": weight} for weight in reg_weights)):
            replace(training, **changes)

    def trains_on(self, views: int | None = None, **options: Any) -> TrainsOn:
        return views or DEFAULT_VIEWS if self.training_of(**options).mlp == "reference-code" else "features"

    def settings(self, **options: Any) -> dict[str, Any]:
        training, views = self.training_of(**options), self.trains_on(**options)
        rates, weights = self.grid(**options)
        known = {**asdict(training), "lr": rates, "tried": len(rates) * len(weights)}
        regularizer = {"reg_weight": weights, "weights": training.weights._asdict()} if any(weights) else {}
        known = {name: value for name, value in known.items() if name not in ("reg_weight", "weights")} | regularizer
        return known | ({"views": views} if isinstance(views, int) else {})

    def fit(
        self,
        data: TrainingData,
        heads: Sequence[HeadSpec],
        device: torch.device,
        **options: Any,
    ) -> Iterator[Fitted]:
        """All heads in one part, each with the rate and the λ that do best on a validation part of its own rows."""
        from fastpt.tuning.fit import fit, select

        training = self.training_of(**options)
        grid = self.grid_for(data, heads, **options)
        chosen, validation = select(data.features, data.labels, training, heads, *grid, data.classes, device)
        trained = fit(data.features, data.labels, training, chosen, data.classes, device)
        settings = [{"lr": head.lr, "reg_weight": head.reg_weight} for head in chosen]
        transformed = trained.transformed if training.mlp else None
        of_probe = None if training.mlp else validation
        yield Fitted(settings, trained.logits, transformed, validation=of_probe, has_probabilities=True)

    def grid(
        self,
        lrs: Sequence[float] = (),
        reg_weights: Sequence[float] = (),
        budget: int | None = None,
        **options: Any,
    ) -> tuple[list[float], list[float]]:
        """The learning rates and the λ of which each pair is tried: those given, else the method's own; of a budget as
        many rates about that of its training as it has room for. Raises FastptError if it cannot be kept to.
        """
        training = self.training_of(**options)
        weights = list(reg_weights or [training.reg_weight])
        known = list(self.lrs) or [training.lr]
        rates = list(lrs) or (about(training.lr, budget // len(weights)) if budget else known)
        if budget and len(rates) * len(weights) != budget:
            raise FastptError(
                f"a budget of {budget} settings cannot be kept to by {len(rates) or 'no'} learning rates and "
                f"{len(weights)} regularisation weights. Give as many as multiply to it, or leave --lrs out."
            )
        return rates, weights

    def grid_for(
        self, data: TrainingData, heads: Sequence[HeadSpec], **options: Any
    ) -> tuple[list[float], list[float]]:
        """`grid`; unless rates were asked for, that of the training alone where a head has nothing to validate on."""
        rates, weights = self.grid(**options)
        asked = any(options.get(name) for name in ("lrs", "reg_weights", "budget"))
        labels = [data.labels if head.rows is None else data.labels[head.rows] for head in heads]
        if not asked and any(validation_part(one, head.seed) is None for one, head in zip(labels, heads, strict=True)):
            rates = [self.training_of(**options).lr]
        return rates, weights

    def training_of(
        self,
        variant: Variant = "paper",
        ablate: Sequence[str] = (),
        epochs: int | None = None,
        head_precision: str | None = None,
        **_: Any,
    ) -> HeadTraining:
        """What all heads share under the options of `fastpt tune`; rates, λ and views are not of it."""
        return self.configured(variant, ablate, epochs=epochs, precision=head_precision)


def head_training(method: str, variant: Variant = "paper", ablate: Sequence[str] = (), **changes: Any) -> HeadTraining:
    """How the heads of a method of `HEADS` are trained, changed as in `HeadMethod.configured`. Raises FastptError."""
    if method not in HEADS:
        raise FastptError(f"There is no training of heads {method!r}; {suggestion(method, HEADS)}")
    return cast(HeadMethod, METHODS.get(method)).configured(variant, ablate, **changes)
