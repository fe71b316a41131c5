"""What a decoder gives, and what a Loader yields of it."""

from typing import NamedTuple

import torch


class DecodedBatch(NamedTuple):
    """B pictures, cropped, resized and flipped. The tensors are the batch's own: nothing is written to them later."""

    images: torch.Tensor  # uint8 [B, H, W, 3], RGB
    sample_ids: torch.Tensor  # int64 [B], rows of the dataset
    views: torch.Tensor  # int64 [B], 0 but under repeated augmentation


class Batch(NamedTuple):
    """A `DecodedBatch` with what its pictures draw from in the transforms of `fastpt.augment`."""

    images: torch.Tensor  # uint8 [B, H, W, 3], RGB
    sample_ids: torch.Tensor  # int64 [B], rows of the dataset
    views: torch.Tensor  # int64 [B], 0 but under repeated augmentation
    rng_keys: torch.Tensor  # int64 [B], random bits of (seed, epoch, sample, view)
