"""The partial likelihood: Gaussian log density of the increments of m of K patches.

The mean of the m increments has a density, and so has their scatter around it. For independent
patches their product is the joint density of all m increments.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def forward_substitution(cholesky: Tensor, right: Tensor) -> Tensor:
    """Solve L y = r for lower triangular L.

    Written out over the few variables: for d of 1 to 6 this is much faster than a batched
    triangular solve of as many tiny matrices.

    Args:
        cholesky: Lower triangular L, shape [..., d, d].
        right: Right-hand side r, shape [..., d].

    Returns:
        y, shape [..., d].
    """
    solution: list[Tensor] = []
    for i in range(right.shape[-1]):
        value = right[..., i]
        for j, known in enumerate(solution):
            value = value - cholesky[..., i, j] * known
        solution.append(value / cholesky[..., i, i])
    return torch.stack(solution, dim=-1)


def partial_log_likelihood(
    increment: Tensor,
    drift: Tensor,
    cholesky: Tensor,
    elapsed: Tensor,
    *,
    factor: float | Tensor = 1.0,
) -> Tensor:
    """Log density of the mean increment over m of K patches.

    The increment is Gaussian with mean mu * elapsed and covariance factor * Sigma * elapsed,
    factor = K/m for independent patches.

    Args:
        increment: Increment of z averaged over the m patches, shape [..., batch, d].
        drift: mu per unit time, shape [..., batch, d].
        cholesky: L with Sigma = L L^T, covariance rate of the whole, shape [..., batch, d, d].
        elapsed: Physical time of each sample, shape [..., batch].
        factor: Covariance of the increment over that of the whole system.

    Returns:
        Log density, shape [..., batch], natural logarithm, in the units of the increment.

    Source: eq. (6) of arXiv:2511.12842.
    """
    d = increment.shape[-1]
    variance = factor * elapsed
    residual = (increment - drift * elapsed[..., None]) / variance.sqrt()[..., None]
    whitened = forward_substitution(cholesky, residual)
    log_determinant = cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    constant = 0.5 * d * math.log(2.0 * math.pi)
    return -0.5 * whitened.square().sum(-1) - log_determinant - 0.5 * d * variance.log() - constant


def scatter_log_likelihood(
    scatter: Tensor,
    cholesky: Tensor,
    elapsed: Tensor,
    *,
    patches: int,
    within: float | Tensor = 1.0,
) -> Tensor:
    """Log density of the scatter of m patches' increments around their mean.

    With S the scatter, it is -1/2 {tr((within Sigma elapsed)^-1 S)
    + (m - 1) log det(2 pi within Sigma elapsed)} - d/2 log m. Added to `partial_log_likelihood`
    with the factor within/m it is the log density of m independent increments, each of mean
    mu * elapsed and covariance within * Sigma * elapsed.

    Args:
        scatter: Lower triangular C with C C^T = S / elapsed, shape [..., batch, d, d].
        cholesky: L with Sigma = L L^T, covariance rate of the whole, shape [..., batch, d, d].
        elapsed: Physical time of each sample, shape [..., batch].
        patches: Number of patches m, at least 1; the density of one patch's scatter is 1.
        within: Expected S / (m - 1) over the covariance of the whole system; K in theory.

    Returns:
        Log density, shape [..., batch], natural logarithm.

    Raises:
        ValueError: If there is no patch.

    Source: the Gaussian of eq. (6) of arXiv:2511.12842 for each patch, less that of the mean.
    """
    if patches < 1:
        raise ValueError(f"patches is {patches}: a scatter is that of at least one patch")
    d = scatter.shape[-1]
    columns = forward_substitution(cholesky[..., None, :, :], scatter.mT)
    trace = columns.square().sum((-2, -1)) / within
    log_determinant = 2.0 * cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    log_determinant = log_determinant + d * (2.0 * math.pi * within * elapsed).log()
    return -0.5 * (trace + (patches - 1) * log_determinant + d * math.log(patches))
