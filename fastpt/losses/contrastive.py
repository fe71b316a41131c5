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


def sigmoid_contrastive(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, first: int = 0) -> Tensor:
    """SigLIP's loss (Zhai et al. 2023, equation 1) of some pictures against all texts; a sum over the texts, the mean
    over the pictures, a scalar: each pair of a picture and a text is told by itself whether it belongs together.

    −(1/n) Σ_ij log σ(z_ij (scale x_i · y_j + bias)), where z is 1 for a picture's own text and −1 for others. images:
    unit features, float [n, D], whose texts are the rows from `first` on of texts, [N, D]; scale, bias: [1]. One table
    of [n, N] logits is made.
    """
    logits = scale * images @ texts.T + bias
    # −log σ(−l) = softplus(l), and −log σ(l) = softplus(l) − l.
    return (F.softplus(logits).sum() - logits.diagonal(first).sum()) / len(images)
