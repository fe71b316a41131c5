"""The recipe's `augment`."""

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field, Strict

from fastpt.config import Section, Share
from fastpt.errors import RecipeError

Quadruple = Annotated[tuple[float, float, float, float], Strict(False)]  # YAML has lists only


class Augment(Section):
    """What is done to a training batch beyond crop and flip. Mixup, cutmix, smoothing and repeats: supervised only."""

    randaugment: str | None = None
    """RandAugment as `m7-std0.5`: magnitude 7 of 10 with a normal spread, two operations a picture (timm's
    `rand-m7-mstd0.5-inc1`). A moved picture is filled with the mean colour and interpolated by `data.interpolation`."""
    color_jitter: Quadruple | None = None
    """Colour jitter: how far brightness, contrast, saturation and hue move, such as [0.4, 0.4, 0.4, 0.1]."""
    color_jitter_probability: Share = 1.0
    """Share of the pictures that are jittered."""
    grayscale: Share = 0.0
    """Share of the pictures that are made grey."""
    blur: Share = 0.0
    """Share of the pictures that are blurred, by a Gaussian of 0.1 to 2 pixels."""
    random_erasing: Share = 0.0
    """Random erasing: share of the pictures of which a rectangle of 2 to 33 % becomes noise (timm's `reprob`)."""
    mixup: float = Field(default=0.0, ge=0)
    """Alpha of mixup; 0 is off. With cutmix too, each batch gets one of them at even odds."""
    cutmix: float = Field(default=0.0, ge=0)
    """Alpha of cutmix; 0 is off."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Label smoothing: the share of a target's weight that all classes get. It acts after supervised.bce_threshold."""
    repeated_augmentation: int = Field(default=1, ge=1)
    """Repeated augmentation: each chosen sample comes this many times, with other crops, in different pieces of a step
    where it has as many; epochs keep their length."""

    def problems(self) -> Iterable[str]:
        jitter = self.color_jitter
        if jitter and (min(jitter) < 0 or jitter[3] > 0.5):
            yield (
                f"augment.color_jitter is {list(jitter)}; it holds four shares of 0 or more, the last (hue) at most "
                "0.5."
            )
        if self.color_jitter_probability != 1.0 and jitter is None:
            yield "augment.color_jitter_probability has nothing to jitter; give augment.color_jitter, or remove it."
        if self.randaugment is not None:
            try:
                parse_randaugment(self.randaugment)
            except RecipeError as error:
                yield str(error)


def parse_randaugment(text: str) -> tuple[float, float]:
    """`m7-std0.5` -> magnitude 7.0 and standard deviation 0.5. Raises RecipeError if it reads otherwise."""
    match = re.fullmatch(r"m(\d+(?:\.\d+)?)(?:-std(\d+(?:\.\d+)?))?", text)
    if not match or not 0 <= float(match[1]) <= 10:
        raise RecipeError(f"augment.randaugment is {text!r}; write m<0 to 10>-std<spread>, such as m7-std0.5.")
    return float(match[1]), float(match[2] or 0)
