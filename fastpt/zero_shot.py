"""CLIP's classifier from the names of classes (Radford et al. 2021, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def classifier_of(
    embed: Callable[[list[str]], Tensor], names: Sequence[str], templates: str | Sequence[str] = "simple"
) -> Tensor:
    """Unit weights float32 [K, D]: of each name the mean of the unit embeddings of all templates with it, made a unit.

    `embed` makes them, float32 [T, D] of T texts. `templates` are texts with {} where the name goes, or open_clip's:
    `openai`, 80 for ImageNet, and `simple`, 7 of them.
    """
    import open_clip
    from torch.nn.functional import normalize

    known = {"openai": open_clip.OPENAI_IMAGENET_TEMPLATES, "simple": open_clip.SIMPLE_IMAGENET_TEMPLATES}
    chosen = known[templates] if isinstance(templates, str) else [text.format for text in templates]
    embedded = embed([template(name) for name in names for template in chosen])
    return normalize(embedded.view(len(names), len(chosen), -1).mean(1), dim=1)
