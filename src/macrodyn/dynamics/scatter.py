"""The scatter of the patches' increments of a snapshot around their mean.

The mean of m increments and their scatter around it are independent, if the patches are, and
together hold all that the increments say. The scatter S (a sum of squares with m - 1 degrees of
freedom) is kept as a triangular factor of S over the elapsed time, which exists for a singular S
(m <= d) too, and which a likelihood can use without a root.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
# Snapshots that are decomposed at once: a bound on memory.
_CHUNK = 65536


def scatter_factor(increment: Array, elapsed: Array) -> Array:
    """Triangular factor of the scatter per unit time.

    Args:
        increment: Increments of the m patches, shape [N, m, d].
        elapsed: Physical time of each snapshot, the same for its patches, shape [N].

    Returns:
        Lower triangular C with C C^T = S / elapsed and a diagonal that is not negative, shape
        [N, d, d]; S = sum over I of (D_I - mean)(D_I - mean)^T.
    """
    n, m, d = increment.shape
    factor = np.zeros((n, d, d))
    for begin in range(0, n, _CHUNK):
        rows = slice(begin, begin + _CHUNK)
        part = increment[rows]
        deviation = part - part.mean(axis=1, keepdims=True)
        deviation /= np.sqrt(elapsed[rows])[:, None, None]
        # With X = Q R, X^T X = R^T R, whether X has full rank or not.
        triangle: Array = np.asarray(np.linalg.qr(deviation, mode="r"))
        factor[rows, :, : min(m, d)] = triangle.transpose(0, 2, 1)
    diagonal = np.diagonal(factor, axis1=1, axis2=2)
    factor *= np.where(diagonal < 0, -1.0, 1.0)[:, None, :]
    return factor


def roots(covariance: Array) -> Array:
    """Symmetric roots of covariances that may be singular.

    Args:
        covariance: Shape [N, d, d].

    Returns:
        R with R R^T the covariance, shape [N, d, d].
    """
    values, vectors = np.linalg.eigh(covariance)
    found: Array = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    return found


def lower_triangle(rows: Tensor) -> Tensor:
    """Lower triangular C with C C^T = X^T X and a diagonal that is not negative.

    Args:
        rows: X, at least as many rows as columns, shape [N, m, d].

    Returns:
        C, shape [N, d, d].
    """
    # Of full rank or not, X^T X = R^T R.
    factor = torch.linalg.qr(rows, mode="r")[1].mT
    negative = factor.diagonal(dim1=-2, dim2=-1) < 0
    return factor.where(~negative[..., None, :], -factor)
