"""Losses of a classifier, those that bear wrong labels among them. Softmax cross entropy is torch's own."""

import torch
import torch.nn.functional as F
from torch import Tensor


def binary_cross_entropy(
    logits: Tensor, targets: Tensor, smoothing: float = 0.0, threshold: float | None = None
) -> Tensor:
    """The mean binary cross entropy over rows and classes (Wightman et al. 2021, section 2.2); a scalar.

    logits: float [N, K]; targets: labels int64 [N], or shares of classes, float [N, K]. With a `threshold`, shares
    above it count as 1, others as 0. Then targets t become (1 - smoothing) t + smoothing / K. timm smooths before it
    compares with the threshold, which leaves nothing of the smoothing.
    """
    if targets.ndim == 1:
        targets = F.one_hot(targets, logits.shape[1])
    if threshold is not None:
        targets = targets.gt(threshold)
    targets = targets.to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, targets * (1.0 - smoothing) + smoothing / logits.shape[1])


def generalized_cross_entropy(logits: Tensor, labels: Tensor, q: float = 0.7) -> Tensor:
    """L_q = (1 − p_y^q) / q (Zhang & Sabuncu 2018, equation 6): cross entropy for q → 0, mean absolute error for q = 1.

    logits: float [..., K]; labels: int64 [...], y; p is their softmax. One value a row, [...].
    """
    return -torch.expm1(q * _log_likelihood(logits, labels)) / q


def symmetric_cross_entropy(
    logits: Tensor, labels: Tensor, alpha: float = 0.1, beta: float = 1.0, log_zero: float = -4.0
) -> Tensor:
    """α CE + β RCE (Wang et al. 2019, equation 7), where RCE = −Σ_k p_k log q_k of the one-hot q is −A (1 − p_y).

    A, `log_zero`, stands for log 0. logits: float [..., K]; labels: int64 [...], y. One value a row, [...].
    """
    log_p = _log_likelihood(logits, labels)
    return -alpha * log_p + beta * log_zero * torch.expm1(log_p)


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.1) -> Tensor:
    """Cross entropy against (1 − ε) one-hot + ε / K (Szegedy et al. 2016; on wrong labels Lukasik et al. 2020).

    logits: float [..., K]; labels: int64 [...]. One value a row, [...].
    """
    return -(1 - smoothing) * _log_likelihood(logits, labels) - smoothing * logits.log_softmax(-1).mean(-1)


def early_learning_penalty(logits: Tensor, running: Tensor, weight: float = 3.0) -> Tensor:
    """λ log(1 − ⟨p, t⟩) beside the cross entropy (ELR, Liu et al. 2020, equation 6): hold to what was predicted early.

    logits: float [..., K]; running: float [..., K], t, the running mean of a sample's own predictions, which gets no
    gradient. One value a row, [...].
    """
    agreement = (logits.softmax(-1) * running.detach()).sum(-1)
    return weight * torch.log((1 - agreement).clamp(min=1e-4))


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """How far the label's logit lies above the largest other one (Pleiss et al. 2020, equation 1); below 0 if another
    is predicted.

    logits: float [..., K]; labels: int64 [...]. One value a row, [...].
    """
    own = labels.unsqueeze(-1)
    return logits.gather(-1, own).squeeze(-1) - logits.scatter(-1, own, -torch.inf).amax(-1)


def _log_likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.log_softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
