"""Each head of the one trainer, trained together with the encoder: by LoRA, or all of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import click

from fastpt.errors import FastptError
from fastpt.tuning.methods import Fitted, HeadSpec, TrainingData, TrainsOn, linear_probe, mlp, nmtune
from fastpt.tuning.methods.head_training import HeadMethod, HeadTraining, Variant

if TYPE_CHECKING:
    import torch

LR, WEIGHT_DECAY = 0.001, 1e-4
"""Of the head, of all methods: the learning rate of 0.1 of linear probing would destroy the encoder's features. The
authors' code has the same rate by default, of all that is trained; its README has the decay, of its other methods."""


@dataclass(frozen=True)
class FineTuned:
    """A head trained together with the encoder, on augmented pictures; each head has an encoder of its own."""

    label: str
    colour: str
    head: HeadMethod
    kind: Literal["lora", "full"]
    """Low-rank adapters are trained, or all weights."""
    summary: ClassVar[str] = ""  # --finetune asks for it

    @property
    def options(self) -> tuple[click.Option, ...]:
        return self.head.options

    def check(self, views: int | None = None, budget: int | None = None, **options: Any) -> None:
        grids = [values for name in ("lrs", "reg_weights") if len(values := options.get(name, ())) > 1]
        if grids or (budget or 1) > 1:
            raise FastptError(
                "Fine-tuning chooses nothing on a validation part. Give at most one learning rate and one "
                "regularisation weight, and leave --budget out."
            )
        if self.head is mlp.METHOD and options.get("variant") == "reference-code":
            raise FastptError(
                f"{self.label} cannot be run as in the authors' code, which fine-tunes with an MLP only where one was "
                "trained before. Leave --mlp out (--lp --nmtune ask for the others), or --variant."
            )
        self.head.check(**options)

    def trains_on(self, **options: Any) -> TrainsOn:
        return "images"

    def settings(self, **options: Any) -> dict[str, Any]:
        training = self.training_of(**options)
        variant = {"variant": options["variant"]} if options.get("variant", "paper") != "paper" else {}
        known = {"encoder": self.kind, **variant, **asdict(training), "weights": training.weights._asdict()}
        return known | {"tried": 1}

    def fit(
        self,
        data: TrainingData,
        heads: Sequence[HeadSpec],
        device: torch.device,
        lrs: Sequence[float] = (),
        reg_weights: Sequence[float] = (),
        ablate: Sequence[str] = (),
        epochs: int | None = None,
        variant: Variant = "paper",
        **options: Any,
    ) -> Iterator[Fitted]:
        from fastpt.tuning.finetune import finetune

        training = self.training_of(lrs, reg_weights, ablate, epochs, variant)
        assert data.images is not None  # it trains on images
        for head in heads:
            rows = slice(None) if head.rows is None else head.rows
            images = replace(data.images, sample_ids=data.images.sample_ids[rows])
            encoder, tuned = finetune(images, data.labels[rows], data.classes, self.kind, training, head.seed, variant)
            settings = [{"lr": training.lr, "reg_weight": training.reg_weight}]
            yield Fitted(settings, tuned.logits, tuned.transformed, encoder, has_probabilities=True)

    def training_of(
        self,
        lrs: Sequence[float] = (),
        reg_weights: Sequence[float] = (),
        ablate: Sequence[str] = (),
        epochs: int | None = None,
        variant: Variant = "paper",
        **_: Any,
    ) -> HeadTraining:
        """How the head, and with it the encoder, is trained under the options of `fastpt tune`."""
        lr, reg_weight = (*lrs, LR)[0], (*reg_weights, None)[0]
        training = self.head.configured(
            variant, ablate, epochs=epochs, lr=lr, reg_weight=reg_weight, weight_decay=WEIGHT_DECAY
        )
        if variant == "paper":
            return training
        # Its classifier stands on the encoder's features, and nothing holds on to those of pre-training.
        return replace(training, mlp=None, weights=training.weights._replace(consistency=0.0))


LP_LORA = FineTuned("LP+LoRA", "#4c9ed9", linear_probe.METHOD, "lora")
MLP_LORA = FineTuned("MLP+LoRA", "#dca64a", mlp.METHOD, "lora")
NMTUNE_LORA = FineTuned("NMTune+LoRA", "#45b592", nmtune.METHOD, "lora")
LP_FULL = FineTuned("LP+full", "#004b76", linear_probe.METHOD, "full")
MLP_FULL = FineTuned("MLP+full", "#855500", mlp.METHOD, "full")
NMTUNE_FULL = FineTuned("NMTune+full", "#005f45", nmtune.METHOD, "full")
