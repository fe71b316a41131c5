"""Each head of the one trainer, trained together with the encoder: by LoRA, or all of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import click

from fastpt.errors import FastptError
from fastpt.tuning.methods import Fitted, HeadSpec, TrainingData, TrainsOn, linear_probe, mlp, nmtune
from fastpt.tuning.methods.head_training import HeadMethod, HeadTraining

if TYPE_CHECKING:
    import torch

LR, WEIGHT_DECAY = 0.001, 1e-4
"""Of the head, of all methods: the learning rate of 0.1 of linear probing would destroy the encoder's features."""


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
        if grids or (budget or 1) > 1 or options.get("variant", "paper") != "paper":
            raise FastptError(
                "Fine-tuning has the variant of the paper only, and chooses nothing on a validation part. "
                "Give at most one learning rate and one regularisation weight, and leave --variant and --budget out."
            )
        self.head.check(**options)

    def trains_on(self, **options: Any) -> TrainsOn:
        return "images"

    def settings(self, **options: Any) -> dict[str, Any]:
        training = self._training(**options)
        return {"encoder": self.kind, **asdict(training), "weights": training.weights._asdict(), "tried": 1}

    def fit(
        self,
        data: TrainingData,
        heads: Sequence[HeadSpec],
        device: torch.device,
        lrs: Sequence[float] = (),
        reg_weights: Sequence[float] = (),
        ablate: Sequence[str] = (),
        epochs: int | None = None,
        **options: Any,
    ) -> Iterator[Fitted]:
        from fastpt.tuning.finetune import finetune

        training = self._training(lrs, reg_weights, ablate, epochs)
        assert data.images is not None  # it trains on images
        for head in heads:
            rows = slice(None) if head.rows is None else head.rows
            images = replace(data.images, sample_ids=data.images.sample_ids[rows])
            encoder, tuned = finetune(images, data.labels[rows], data.classes, self.kind, training, head.seed)
            settings = [{"lr": training.lr, "reg_weight": training.reg_weight}]
            yield Fitted(settings, tuned.logits, tuned.transformed, encoder, has_probabilities=True)

    def _training(
        self,
        lrs: Sequence[float] = (),
        reg_weights: Sequence[float] = (),
        ablate: Sequence[str] = (),
        epochs: int | None = None,
        **_: Any,
    ) -> HeadTraining:
        lr, reg_weight = (*lrs, LR)[0], (*reg_weights, None)[0]
        return self.head.configured(
            ablate=ablate, epochs=epochs, lr=lr, reg_weight=reg_weight, weight_decay=WEIGHT_DECAY
        )


LP_LORA = FineTuned("LP+LoRA", "#4c9ed9", linear_probe.METHOD, "lora")
MLP_LORA = FineTuned("MLP+LoRA", "#dca64a", mlp.METHOD, "lora")
NMTUNE_LORA = FineTuned("NMTune+LoRA", "#45b592", nmtune.METHOD, "lora")
LP_FULL = FineTuned("LP+full", "#004b76", linear_probe.METHOD, "full")
MLP_FULL = FineTuned("MLP+full", "#855500", mlp.METHOD, "full")
NMTUNE_FULL = FineTuned("NMTune+full", "#005f45", nmtune.METHOD, "full")
