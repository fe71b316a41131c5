"""What a Loader yields."""

from typing import NamedTuple

import torch


class Batch(NamedTuple):
    """B pictures, cropped, resized and flipped. The tensors are the batch's own: nothing is written to them later."""

    images: torch.Tensor  # uint8 [B, H, W, 3], RGB
    sample_ids: torch.Tensor  # int64 [B], rows of the dataset
    views: torch.Tensor  # int64 [B], 0 but under repeated augmentation
    keys: torch.Tensor | None = None  # int64 [B], random bits of (seed, epoch, sample, view): see batch_transforms.py
