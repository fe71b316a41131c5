"""What a decoder gives, and what a Loader yields of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:  # so that decoders are light
    import torch


class DecodedBatch(NamedTuple):
    """B pictures as a decoder gives them. The arrays are the batch's own: nothing is written to them later."""

    images: torch.Tensor  # uint8 [B, H, W, 3], RGB
    sample_ids: np.ndarray  # int64 [B], rows of the dataset
    views: np.ndarray  # int64 [B]


class Batch(NamedTuple):
    """B pictures, cropped, resized and flipped. The tensors are the batch's own: nothing is written to them later."""

    images: torch.Tensor  # uint8 [B, H, W, 3], RGB
    sample_ids: torch.Tensor  # int64 [B], rows of the dataset
    views: torch.Tensor  # int64 [B], 0 but under repeated augmentation
    rng_keys: torch.Tensor  # int64 [B], random bits of (seed, epoch, sample, view): see fastpt/augment/per_picture.py
