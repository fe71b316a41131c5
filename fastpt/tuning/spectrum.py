"""The singular value spectrum of features F [M, D], by which the paper tells what label noise did to an encoder.

With σ_1 >= σ_2 >= ... the singular values of F (not centred) and p_i = σ_i / Σ_j σ_j:
SVE = −Σ p_i log p_i (how flat the spectrum is) and LSVR = −log p_1 (how little the first direction dominates).
Both are in nats, from 0 (one direction) to log min(M, D) (all directions alike).
"""

import numpy as np
import torch

from fastpt.errors import FastptError
from fastpt.losses.nmtune import singular_values as gram_singular_values
from fastpt.tuning.arrays import checked_features


def singular_values(F: np.ndarray | torch.Tensor) -> np.ndarray:
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


def _shares(sigma: np.ndarray) -> np.ndarray:
    total = sigma.sum()
    if total == 0:
        raise FastptError("The features are all zeros and have no spectrum. Look for the fault in the encoder.")
    return sigma / total
