"""The regularisers of NMTune (Chen et al., ICLR 2024): values and gradients in closed form, on Gram matrices.

F [..., B, D] are the frozen encoder's features of a batch, Z [..., B, D] what the MLP makes of them. Leading dimensions
are independent heads: every function returns one value a head, of shape [...] and of Z's dtype, and is differentiable
once.

The covariance matrix and the singular values are O(B D²) when computed as they are written. Values and gradients of
both depend on Z only through a Gram matrix G of its smaller side, Z Zᵀ [B, B] or Zᵀ Z [D, D], and two products with it,
which costs O(B D min(B, D)). It is formed in float64: squaring halves the digits, and in float32 a singular value of
1e-4 σ₁ would be lost. With G = U diag(σ²) Uᵀ, a loss L(σ) has the gradient U diag(L'(σ)/σ) Uᵀ Z (or Z U ... Uᵀ), and
‖C‖²_F = ‖G_c‖²_F / (B−1)² the gradient 4 G_c Z_c / (B−1)², where c stands for centred.
"""

import torch
from torch import Tensor

from fastpt.errors import FastptError


def consistency_loss(F: Tensor, Z: Tensor) -> Tensor:
    """L_MSE = mean over the batch of ‖f/‖f‖ − z/‖z‖‖²: keep the direction of the pre-trained feature.

    A row of zeros has no direction: it counts as the zero vector and gets no gradient.
    Raises FastptError if the shapes of F and Z do not agree in [B, D].
    """
    return nmtune_regularizer(F, Z, covariance=0, dominance=0)


def nmtune_regularizer(
    F: Tensor, Z: Tensor, consistency: float = 1.0, covariance: float = 1.0, dominance: float = 1.0, top: int = 1
) -> Tensor:
    """L_MSE + L_COV + L_SVD, each times its weight, to be weighted by λ (0.01 in the paper) beside the cross-entropy.

    - L_MSE: see `consistency_loss`.
    - L_COV = (1/D) Σ_{i≠j} C_ij², C = Zcᵀ Zc / (B−1), Zc = Z − its mean over the batch: decorrelate the features. A
      batch of one sample has no covariance: 0.
    - L_SVD = −σ₁ / Σ_j σ_j, with σ the singular values of Z (not centred): strengthen the dominant direction. Of `top`
      > 1, the mean of that many largest (all, if there are fewer) stands for σ₁. Z of nothing but zeros has no singular
      values: 0, with no gradient.

    A term of weight 0 is not computed. F may lack Z's leading dimensions: it is shared by the heads then. It gets no
    gradient: the encoder is frozen.
    """
    _check(Z)
    _check(F, "F")
    heads, shared = Z.shape[:-2], F.shape[:-2]
    if F.shape[-2:] != Z.shape[-2:] or (shared != heads and any(size > 1 for size in shared)) or F.ndim > Z.ndim:
        raise FastptError(
            f"F is {list(F.shape)} and Z is {list(Z.shape)}: the consistency loss compares them row by row. "
            "Give both the same last two dimensions [B, D], and F the leading dimensions of Z or none."
        )
    if top < 1:
        raise FastptError(f"top is {top}: at least the largest singular value is to dominate. Give 1 or more.")
    return _Regularizer.apply(F.detach(), Z, consistency, covariance, dominance, top)


def singular_values(Z: Tensor) -> Tensor:
    """Singular values of Z [..., B, D], largest first: float64 [..., min(B, D)]. One below 1e-6 σ₁ may read 0.

    They are the roots of the eigenvalues λ of the Gram matrix, each of which is known to about ε λ₁; one below
    ε λ₁ max(B, D) is taken as 0.
    """
    _check(Z)
    return _roots(torch.linalg.eigvalsh(_gram(Z.double())), max(Z.shape[-2:])).flip(-1)


class _Regularizer(torch.autograd.Function):
    """One value a head. The gradient is computed with the value: one Gram matrix and one eigh serve both."""

    @staticmethod
    def forward(ctx, F: Tensor, Z: Tensor, consistency: float, covariance: float, dominance: float, top: int) -> Tensor:
        z = Z.double()
        value, gradient = z.new_zeros(z.shape[:-2]), torch.zeros_like(z) if ctx.needs_input_grad[1] else None
        if consistency:
            value, gradient = _consistency(F.double(), z, consistency, gradient is not None)
        if covariance or dominance:
            more, slope = _spectral(z, covariance, dominance, top, gradient is not None)
            value = value + more
            gradient = None if gradient is None or slope is None else slope.add_(gradient)
        if gradient is not None:
            most = torch.finfo(Z.dtype).max  # which the slope at a row of denormal numbers would pass
            ctx.save_for_backward(gradient.clamp_(-most, most).to(Z.dtype))
        return value.to(Z.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (gradient,) = ctx.saved_tensors
        return None, upstream[..., None, None] * gradient, None, None, None, None


def _consistency(f: Tensor, z: Tensor, weight: float, differentiate: bool) -> tuple[Tensor, Tensor | None]:
    """w · L_MSE and its gradient by z: d‖f̂ − ẑ‖²/dz = −2 (d − ẑ (ẑ·d)) / ‖z‖ with d = f̂ − ẑ."""
    weight /= z.shape[-2]
    scale = _inverse_lengths(z)
    direction = z * scale
    difference = f * _inverse_lengths(f) - direction
    value = weight * difference.square().sum((-2, -1))
    if not differentiate:
        return value, None
    along = torch.linalg.vecdot(direction, difference).unsqueeze(-1)
    return value, difference.sub_(direction.mul_(along)).mul_(-2 * weight * scale)


def _spectral(
    z: Tensor, covariance: float, dominance: float, top: int, differentiate: bool
) -> tuple[Tensor, Tensor | None]:
    """w₁ L_COV + w₂ L_SVD and the gradient by z, which is one product with the Gram matrix's side of z.

    L_COV = (‖G_c‖²_F / (B−1)² − Σ_j C_jj²) / D. The Gram matrix of L_SVD follows from that of L_COV by adding what
    centring took away, without a second product of matrices.
    """
    batch, dim = z.shape[-2:]
    freedom = max(batch - 1, 1)
    mean = z.mean(-2, keepdim=True)
    centred = z - mean
    gram = _gram(centred)
    variances = centred.square().sum(-2, keepdim=True) / freedom
    value, product = z.new_zeros(z.shape[:-2]), None
    if dominance:
        loss, product = _dominance(_uncentred_gram(gram, centred, mean), max(batch, dim), top, differentiate)
        value = dominance * loss
    if covariance:
        off_diagonal = gram.square().sum((-2, -1)) / freedom**2 - variances.square().sum((-2, -1))
        value = value + covariance * off_diagonal / dim
    if not differentiate:
        return value, None
    rows = batch < dim  # which side the Gram matrix is of
    by_gram = (4 * covariance / dim / freedom**2) * gram
    if product is not None:
        product *= dominance
        by_gram += product
    slope = by_gram @ centred if rows else centred @ by_gram
    if product is not None:  # z is not centred
        slope += product.sum(-1, keepdim=True) * mean if rows else mean @ product
    if covariance:
        slope.addcmul_(variances, centred, value=-4 * covariance / dim / freedom)
    return value, slope


def _dominance(gram: Tensor, longer_side: int, top: int, differentiate: bool) -> tuple[Tensor, Tensor | None]:
    """L_SVD = −mean(σ_1..top) / Σσ, and U diag(L'(σ)/σ) Uᵀ, which times Z is its gradient.

    A σ that is taken as 0 has no gradient: that of its root would be noise or infinite.
    """
    # A head that has diverged has no finite entries, which LAPACK would stop at; the loss tells of it.
    gram = torch.where(gram.isfinite(), gram, 0.0)
    eigenvalues, vectors = torch.linalg.eigh(gram) if differentiate else (torch.linalg.eigvalsh(gram), None)
    sigma = _roots(eigenvalues, longer_side)
    top = min(top, sigma.shape[-1])
    total = sigma.sum(-1, keepdim=True)
    total = torch.where(total > 0, total, 1.0)
    share = sigma[..., -top:].sum(-1, keepdim=True) / (top * total)
    if vectors is None:
        return -share[..., 0], None
    slope = (share / total).expand_as(sigma).clone()
    slope[..., -top:] -= 1 / (top * total)
    slope = torch.where(sigma > 0, slope / torch.where(sigma > 0, sigma, 1.0), 0.0)
    return -share[..., 0], (vectors * slope.unsqueeze(-2)) @ vectors.mT


def _roots(eigenvalues: Tensor, longer_side: int) -> Tensor:
    """σ_j of rising eigenvalues, in their order."""
    floor = torch.finfo(eigenvalues.dtype).eps * longer_side * eigenvalues[..., -1:]
    return torch.where(eigenvalues > floor, eigenvalues, 0.0).sqrt()


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


def _inverse_lengths(X: Tensor) -> Tensor:
    """1/‖x‖ of each row [..., B, 1]; 0 for a row so short that its square reads 0."""
    length = torch.linalg.vector_norm(X, dim=-1, keepdim=True)
    return torch.where(length > torch.finfo(X.dtype).tiny ** 0.5, 1 / length, 0.0)


def _check(Z: Tensor, name: str = "Z") -> None:
    if not isinstance(Z, Tensor):
        raise FastptError(f"{name} is a {type(Z).__name__}. Give a floating-point tensor [..., B, D].")
    if Z.ndim < 2 or not Z.is_floating_point() or 0 in Z.shape:
        raise FastptError(
            f"{name} is {list(Z.shape)} of {Z.dtype}; the losses need at least one sample and one feature. "
            "Give a floating-point tensor [..., B, D]."
        )
