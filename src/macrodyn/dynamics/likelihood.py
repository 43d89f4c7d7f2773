"""The partial likelihood: Gaussian log density of an increment averaged over m of K patches."""

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


def partial_nll(
    increment: Tensor,
    drift: Tensor,
    cholesky: Tensor,
    elapsed: Tensor,
    *,
    factor: float | Tensor = 1.0,
) -> Tensor:
    """Mean negative partial log likelihood over the batch, shape [...], i.e. one per member.

    Arguments as in `partial_log_likelihood`.
    """
    return -partial_log_likelihood(increment, drift, cholesky, elapsed, factor=factor).mean(-1)
