"""The regularisers of NMTune (Chen et al., ICLR 2024) in exact Gram forms.

F [..., B, D] are the frozen encoder's features of a batch, Z [..., B, D] what the MLP makes of them. Leading dimensions
are independent heads: every function returns one value a head, of shape [...] and of Z's dtype, and is differentiable.

The covariance matrix and the singular values are O(B D²) when computed as they are written. Both depend on Z only
through a Gram matrix of its smaller side, Z Zᵀ [B, B] or Zᵀ Z [D, D], which costs O(B D min(B, D)). It is formed in
float64: squaring halves the digits, and in float32 a singular value of 1e-4 σ₁ would be lost.
"""

import torch
from torch import Tensor

from fastpt.errors import FastptError


def consistency_loss(F: Tensor, Z: Tensor) -> Tensor:
    """L_MSE = mean over the batch of ‖f/‖f‖ − z/‖z‖‖²: keep the direction of the pre-trained feature.

    A row of zeros has no direction: it counts as the zero vector and gets no gradient.
    Raises FastptError if the shapes of F and Z do not agree in [B, D].
    """
    _check(Z)
    if F.shape[-2:] != Z.shape[-2:]:
        raise FastptError(
            f"F is {list(F.shape)} and Z is {list(Z.shape)}: the consistency loss compares them row by row. "
            "Give both the same last two dimensions [B, D]."
        )
    return (_directions(F) - _directions(Z)).square().sum(-1).mean(-1)


def covariance_loss(Z: Tensor) -> Tensor:
    """L_COV = (1/D) Σ_{i≠j} C_ij², C = Zcᵀ Zc / (B−1), Zc = Z − its mean over the batch: decorrelate the features.

    A batch of one sample has no covariance: 0.
    """
    _check(Z)
    centred, _ = _centre(Z)
    return _covariance(centred, _gram(centred)).to(Z.dtype)


def dominant_singular_value_loss(Z: Tensor) -> Tensor:
    """L_SVD = −σ₁ / Σ_j σ_j, with σ the singular values of Z (not centred): strengthen the dominant direction.

    Z of nothing but zeros has no singular values: 0, with no gradient.
    """
    _check(Z)
    return _dominance(_gram(Z.double()), max(Z.shape[-2:])).to(Z.dtype)


def nmtune_regularizer(F: Tensor, Z: Tensor) -> Tensor:
    """L_MSE + L_COV + L_SVD, to be weighted by λ (0.01 in the paper) and added to the cross-entropy.

    The Gram matrix of L_SVD follows from that of L_COV by adding what centring took away.
    """
    consistency = consistency_loss(F, Z)
    centred, mean = _centre(Z)
    gram = _gram(centred)
    covariance = _covariance(centred, gram)
    dominance = _dominance(_uncentred_gram(gram, centred, mean), max(Z.shape[-2:]))
    return consistency + (covariance + dominance).to(Z.dtype)


def singular_values(Z: Tensor) -> Tensor:
    """Singular values of Z [..., B, D], largest first: float64 [..., min(B, D)]. One below 1e-6 σ₁ may read 0."""
    _check(Z)
    return _roots(_gram(Z.double()), max(Z.shape[-2:]))


def _covariance(centred: Tensor, gram: Tensor) -> Tensor:
    """(‖G‖²_F / (B−1)² − Σ_j C_jj²) / D, as ‖C‖_F = ‖G‖_F / (B−1) for the Gram matrix G of either side of Zc."""
    batch, dim = centred.shape[-2:]
    freedom = max(batch - 1, 1)
    variances = centred.square().sum(-2) / freedom
    return (gram.square().sum((-2, -1)) / freedom**2 - variances.square().sum(-1)) / dim


def _dominance(gram: Tensor, longer_side: int) -> Tensor:
    sigma = _roots(gram, longer_side)
    total = sigma.sum(-1)
    return -sigma[..., 0] / torch.where(total > 0, total, 1.0)


def _roots(gram: Tensor, longer_side: int) -> Tensor:
    """σ_j = √λ_j(G), largest first.

    An eigenvalue is known to about ε λ₁; one below ε λ₁ max(B, D) is taken as 0, with no gradient, where that of a root
    would be noise or infinite.
    """
    eigenvalues = torch.linalg.eigvalsh(gram).flip(-1)
    floor = torch.finfo(gram.dtype).eps * longer_side * eigenvalues[..., :1].detach()
    known = eigenvalues > floor
    return torch.where(known, torch.where(known, eigenvalues, 1.0).sqrt(), 0.0)


def _centre(Z: Tensor) -> tuple[Tensor, Tensor]:
    """Float64 Zc [..., B, D] and the mean over the batch [..., 1, D]."""
    Z = Z.double()
    mean = Z.mean(-2, keepdim=True)
    return Z - mean, mean


def _gram(Z: Tensor) -> Tensor:
    """The smaller of Z Zᵀ and Zᵀ Z; their eigenvalues agree but for zeros."""
    return Z @ Z.mT if Z.shape[-2] < Z.shape[-1] else Z.mT @ Z


def _uncentred_gram(gram: Tensor, centred: Tensor, mean: Tensor) -> Tensor:
    """The Gram matrix of Z = Zc + 1μᵀ from that of Zc, without a second product of matrices.

    Z Zᵀ = Zc Zcᵀ + Zcμ 1ᵀ + 1 (Zcμ)ᵀ + ‖μ‖² 1 1ᵀ and Zᵀ Z = Zcᵀ Zc + B μ μᵀ.
    """
    batch, dim = centred.shape[-2:]
    if batch < dim:
        cross = centred @ mean.mT
        return gram + cross + cross.mT + mean.square().sum(-1, keepdim=True)
    return gram + batch * mean.mT @ mean


def _directions(X: Tensor) -> Tensor:
    """Rows divided by their length; a row so short that its square reads 0 becomes 0, with a zero gradient."""
    length = torch.linalg.vector_norm(X, dim=-1, keepdim=True)
    return X / torch.where(length > torch.finfo(X.dtype).tiny ** 0.5, length, torch.inf)


def _check(Z: Tensor) -> None:
    if Z.ndim < 2 or not Z.is_floating_point() or 0 in Z.shape:
        raise FastptError(
            f"Z is {list(Z.shape)} of {Z.dtype}; the losses need at least one sample and one feature. "
            "Give a floating-point tensor [..., B, D]."
        )
