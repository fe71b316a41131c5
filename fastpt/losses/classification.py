"""Losses of a classifier. Softmax cross entropy is torch's own."""

import torch
import torch.nn.functional as F
from torch import Tensor


def binary_cross_entropy(
    logits: Tensor, targets: Tensor, smoothing: float = 0.0, threshold: float | None = None
) -> Tensor:
    """The mean binary cross entropy over rows and classes, as in timm (Wightman et al. 2021, section 2.2); a scalar.

    logits: float [N, K]; targets: labels int64 [N], of whose weight `smoothing` is spread over all classes, or shares
    of classes, float [N, K], which stay as they are. With a `threshold`, shares above it count as 1, others as 0.
    """
    if targets.ndim == 1:
        spread = smoothing / logits.shape[1]
        targets = torch.full_like(logits, spread).scatter_(1, targets[:, None], 1.0 - smoothing + spread)
    if threshold is not None:
        targets = targets.gt(threshold).to(targets.dtype)
    return F.binary_cross_entropy_with_logits(logits, targets)
