"""Zero-shot classification, as CLIP's (Radford et al. 2021): a picture is of the class whose name is nearest to it.

    w_k = unit(mean over templates t of unit(text tower(t(name_k)))),    score_k(x) = exp(s) · ⟨unit(f(x)), w_k⟩

with f the image tower and exp(s) the inverse temperature that was learned. No picture is trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import click

from fastpt.tuning.methods import Fitted, HeadSpec, TrainingData

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Templates = Literal["openai", "simple"]
TEMPLATES = click.Option(
    ["--templates"],
    type=click.Choice(["openai", "simple"]),
    default="simple",
    show_default=True,
    help="Texts that class names are put into: open_clip's 80 ImageNet templates, or its 7 simple ones.",
)


class ZeroShot:
    """The class whose name, in templates, has the embedding nearest to the picture's."""

    label, colour = "Zero-shot", "#8a6d3b"
    summary = "CLIP's zero-shot classification by class names."
    options = (TEMPLATES,)

    def check(self, templates: Templates = "simple") -> None:
        """Any templates can be used."""

    def trains_on(self, templates: Templates = "simple") -> Literal["names"]:
        return "names"

    def settings(self, templates: Templates = "simple") -> dict[str, Any]:
        return {"templates": templates, "tried": 1}

    def fit(
        self, data: TrainingData, heads: Sequence[HeadSpec], device: torch.device, templates: Templates = "simple"
    ) -> Iterator[Fitted]:
        """All heads in one part, all alike: neither seeds nor samples change names."""
        from torch.nn.functional import normalize

        from fastpt.zero_shot import classifier_of

        assert data.names is not None  # it trains on names
        encoder = data.names.encoder
        classifier = classifier_of(encoder.embed, data.names.names, templates).to(device)
        scale = encoder.temperature

        def logits(features: Tensor) -> Tensor:
            scores = normalize(features, dim=1) @ classifier.T * (scale or 1)
            return scores.expand(len(heads), -1, -1)

        yield Fitted([{} for _ in heads], logits, has_probabilities=scale is not None)


METHOD = ZeroShot()
