"""What the noise of a patch does beyond its edge.

The increment of the whole is the sum of those of its K patches, and so is its variance the sum over
patches of the covariance of a patch's increment with the whole's:

    Var(sum_J d_J) = sum_I Cov(d_I, sum_J d_J).

To first order in dt only J = I counts, and Var is K times a patch's. Over a longer dt the noise of
a patch reaches its neighbours: a site near the edge follows one on the other side. Patches that
evolve in frozen surroundings cannot show that by being added up. A buffer that evolves with the
patch does: with J restricted to patch and buffer, and b_I what the buffer's sites have made of
the observables,

    Var = sum_I Cov(d_I, d_I + b_I).

The increments are multiplied by a lower triangular matrix that gives them this covariance, pooled
over the data; so the variables keep their order, and what depends on z stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from macrodyn.dynamics.latents import LatentArrays
from macrodyn.dynamics.regression import affordable_features, fitted, standardise

Floats = NDArray[np.float64]

# Of the polynomials in z that stand for the means of the increments.
DEGREE = 3
# A direction's variance is changed by no more than this factor.
_MOST = 4.0
# Least eigenvalue, over the largest, of variables that no linear relation binds.
_SINGULAR = 1e-10


@dataclass(frozen=True, kw_only=True)
class BufferNoise:
    """Increments with the covariance of the whole's noise.

    Attributes:
        increment: Increments of each patch, shape [N, m, d].
        variance: Variance of these over that of the increments of the patch alone, shape [d].
        known: Which variables' increments by the buffer are known, shape [d].
    """

    increment: Floats
    variance: Floats
    known: NDArray[np.bool_]


def count_buffer(arrays: LatentArrays, mean: Floats | None = None) -> BufferNoise | None:
    """Give increments the covariance that they have with patch and buffer together.

    A change of a direction's variance is shrunk towards none by its standard error over the groups
    (positive-part James-Stein): of few data it finds nothing but accidents.

    Args:
        arrays: Latent pairs, their increments those of which the covariance is learned.
        mean: Increments averaged over the patches that hold less noise, if there are any, shape
            [N, d].

    Returns:
        None where no buffer has evolved, no variable's increments by it are known, the patches
        evolved for different times, or there are fewer than two groups.
    """
    beyond = arrays.beyond
    groups, group = np.unique(arrays.group, return_inverse=True)
    if beyond is None or not arrays.synchronous or len(groups) < 2:
        return None
    known: NDArray[np.bool_] = np.asarray(np.isfinite(beyond).all(axis=(0, 1)))
    if not known.any():
        return None
    inputs = np.concatenate([arrays.z, arrays.conditions], axis=1)
    features = affordable_features(standardise(inputs)[0], DEGREE, 20)[0]
    root = np.sqrt(arrays.elapsed[..., None])
    target = arrays.increment.mean(axis=1) if mean is None else mean
    centre = fitted(features, target / arrays.elapsed[:, :1])[:, None] * arrays.elapsed[..., None]
    # Whitened by the square root of the time, all pairs have one covariance.
    own = ((arrays.increment - centre) / root)[..., known]
    spill = beyond[..., known] / root
    spill = spill - fitted(features, spill.mean(axis=1))[:, None]
    basis = _range(np.einsum("nmi,nmj->ij", own, own))
    if not basis.shape[1]:
        return None
    own, spill = own @ basis, spill @ basis
    alone = np.einsum("nmi,nmj->ij", own, own) / own[..., 0].size
    factor = np.linalg.cholesky(alone)
    inverse = np.linalg.inv(factor)
    whitened, across = own @ inverse.T, spill @ inverse.T
    products = np.einsum("nmi,nmj->nij", whitened, across) / own.shape[1]
    products = 0.5 * (products + products.transpose(0, 2, 1))
    changes, vectors = np.linalg.eigh(products.mean(axis=0))
    along = np.einsum("ik,nij,jk->nk", vectors, products, vectors) - changes
    by_group = np.stack([np.bincount(group, column) for column in along.T])
    error = np.square(by_group).sum(axis=1) * len(groups) / (len(groups) - 1) / len(own) ** 2
    shrunk = np.maximum(1.0 - error / np.maximum(np.square(changes), 1e-300), 0.0)
    scale = np.clip(1.0 + shrunk * changes, 1.0 / _MOST, _MOST)
    made = factor @ (vectors * np.sqrt(scale))
    together = made @ made.T
    matrix = np.eye(len(known))
    change = basis @ (np.linalg.cholesky(together) @ inverse) @ basis.T
    matrix[np.ix_(known, known)] = change
    variance = np.ones(len(known))
    before, after = (np.diag(basis @ each @ basis.T) for each in (alone, together))
    variance[known] = np.where(before > 0, after / np.where(before > 0, before, 1.0), 1.0)
    increment = centre + (arrays.increment - centre) @ matrix.T
    return BufferNoise(increment=increment, variance=variance, known=known)


def _range(square: Floats) -> Floats:
    """Basis of what varies: the variables themselves, unless linear relations bind them.

    Then the change must keep these, which it does in coordinates along what varies.
    """
    size = np.sqrt(np.diag(square))
    if (size > 0).all():
        values = np.linalg.eigvalsh(square / np.outer(size, size))
        if values[0] > _SINGULAR * values[-1]:
            return np.eye(len(square))
    values, vectors = np.linalg.eigh(square)
    found: Floats = vectors[:, values > _SINGULAR * max(values.max(), 0.0)]
    return found
