"""What features F [M, D] are like, by which the paper tells what label noise did to an encoder; and how alike two are.

With σ_1 >= σ_2 >= ... the singular values of F (not centred) and p_i = σ_i / Σ_j σ_j:
SVE = −Σ p_i log p_i (how flat the spectrum is) and LSVR = −log p_1 (how little the first direction dominates).
Both are in nats, from 0 (one direction) to log min(M, D) (all directions alike).
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from fastpt.errors import FastptError
from fastpt.losses.nmtune import singular_values as gram_singular_values
from fastpt.tuning.arrays import checked_features

MOST_PAIRED = 8192
"""Samples whose pairs `uniformity` looks at; of more, as many at even distances."""


def singular_values(F: np.ndarray | Tensor) -> np.ndarray:
    """Singular values of F [M, D], largest first: float64 [min(M, D)]. One below 1e-6 σ_1 may be given as 0.

    Raises FastptError if F is empty or holds NaN or infinity.
    """
    return gram_singular_values(checked_features(F, dtype=torch.float64)).cpu().numpy()


def singular_value_entropy(sigma: np.ndarray) -> float:
    """SVE of singular values. Raises FastptError if all are 0."""
    p = _shares(sigma)
    p = p[p > 0]  # p log p -> 0 as p -> 0
    return float(-(p * np.log(p)).sum())


def largest_singular_value_ratio(sigma: np.ndarray) -> float:
    """LSVR of singular values. Raises FastptError if all are 0."""
    return float(-np.log(_shares(sigma).max()))


def effective_rank(sigma: np.ndarray) -> float:
    """exp(SVE), how many equal singular values are as flat (Roy & Vetterli 2007). Raises FastptError if all are 0."""
    return math.exp(singular_value_entropy(sigma))


def class_alignment(F: np.ndarray | Tensor, labels: np.ndarray) -> float | None:
    """Mean ‖f − f'‖² of two samples of one class, features of length 1 (Wang & Isola 2020, equation 9, α = 2).

    Theirs are two views of one picture; labelled tests have pictures of one class. From 0 (a point a class) to some 2.
    F: [M, D], labels: int64 [M]. Over all pairs, by ‖Σ f‖² of each class. None if no class has two samples.
    """
    unit = normalize(checked_features(F, dtype=torch.float64), dim=-1)
    where = torch.as_tensor(labels, device=unit.device)
    counts = torch.bincount(where).double()
    pairs = counts @ (counts - 1)
    if pairs == 0:
        return None
    sums = unit.new_zeros(len(counts), unit.shape[1]).index_add_(0, where, unit)
    cosines = sums.square().sum() - unit.square().sum()
    return float(2 - 2 * cosines / pairs)


def uniformity(F: np.ndarray | Tensor) -> float | None:
    """log of the mean exp(−2 ‖f − f'‖²) over pairs of features of length 1 (Wang & Isola 2020, equation 10, t = 2).

    0 if all point one way, the lower the more evenly they are spread; at least −8. F: [M, D], of which at most
    `MOST_PAIRED` rows are paired. None of a single row.
    """
    unit = normalize(checked_features(F), dim=-1)
    if len(unit) > MOST_PAIRED:
        unit = unit[torch.arange(MOST_PAIRED, device=unit.device) * len(unit) // MOST_PAIRED]
    if len(unit) < 2:
        return None
    total = sum(torch.exp(4 * (rows @ unit.T).double() - 4).sum() for rows in unit.split(1024))
    itself = torch.exp(4 * unit.square().sum(1).double() - 4).sum()
    return float(torch.log((total - itself) / (len(unit) * (len(unit) - 1))))


def linear_cka(X: np.ndarray | Tensor, Y: np.ndarray | Tensor) -> float | None:
    """Linear CKA = ‖YᵀX‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F), X and Y centred (Kornblith et al. 2019, section 3): 0 to 1.

    How alike two encoders see the same samples, whatever rotation and scale lie between. X: [M, D], Y: [M, E]. None
    where one gives the same features for all samples. Raises FastptError if they are not of the same number of samples.
    """
    x, y = (checked_features(F, dtype=torch.float64) for F in (X, Y))
    if len(x) != len(y):
        raise FastptError(f"CKA compares features of the same samples; found {len(x)} and {len(y)}.")
    x, y = x - x.mean(0), y - y.mean(0)
    if len(x) < max(x.shape[1], y.shape[1]):  # ‖YᵀX‖²_F = ⟨XXᵀ, YYᵀ⟩
        x, y = x @ x.T, y @ y.T
        alike, own = (x * y).sum(), x.norm() * y.norm()
    else:
        alike, own = (y.T @ x).square().sum(), (x.T @ x).norm() * (y.T @ y).norm()
    return float(alike / own) if own > 0 else None


def _shares(sigma: np.ndarray) -> np.ndarray:
    total = sigma.sum()
    if total == 0:
        raise FastptError("The features are all zeros and have no spectrum. Look for the fault in the encoder.")
    return sigma / total
