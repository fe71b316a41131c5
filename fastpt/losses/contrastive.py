"""Losses of pairs of embeddings."""

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive(
    images: Tensor, texts: Tensor, all_images: Tensor, all_texts: Tensor, scale: Tensor, first: int = 0
) -> Tensor:
    """CLIP's loss (Radford et al. 2021, figure 3) of some pairs, each set against all; the mean over them, a scalar.

    images, texts: unit features, float [n, D], of pairs that are the rows from `first` on of all_images, all_texts,
    [N, D]; scale: of their cosines, [1]. Two tables of [n, N] logits are made, not [N, N].
    """
    own = torch.arange(first, first + len(images), device=images.device)
    return (F.cross_entropy(scale * images @ all_texts.T, own) + F.cross_entropy(scale * texts @ all_images.T, own)) / 2
