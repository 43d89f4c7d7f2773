"""Initial fields of the Allen-Cahn equation: rings with round or rough edges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from macrodyn.streams import Seeds

MODES = 4  # along each axis: the shortest wave of a displacement is 2/3 of the side long


def rings(
    radii: NDArray[np.float64], side: int, width: float, roughness: float, seeds: Seeds
) -> NDArray[np.float64]:
    """Make rings about the centre of the unit square, u near 1 inside a ring and -1 elsewhere.

    ::

        u = tanh((r_1 + g_1 - d) / (sqrt(2) eps)) - tanh((r_2 + g_2 - d) / (sqrt(2) eps)) - 1

    with the distance d from the centre, and displacements g_1 and g_2, see `displacements`.

    Source: without displacements, arXiv:2410.23938.

    Args:
        radii: Outer radius r_1 and inner radius r_2, shape [batch, 2].
        side: Sites along an axis.
        width: eps.
        roughness: Standard deviation of the displacements.
        seeds: One stream per state, shape [batch], uint64; used if there is roughness.

    Returns:
        Shape [batch, side, side].
    """
    x = (np.arange(side) + 0.5) / side - 0.5
    distance = np.hypot(x[:, None], x)
    found = np.empty((len(radii), side, side))
    for field, pair, seed in zip(found, radii, seeds, strict=True):
        edges = np.broadcast_to(pair[:, None, None], (2, side, side))
        if roughness > 0:
            edges = edges + roughness * displacements(side, int(seed))
        outer, inner = np.tanh((edges - distance) / (np.sqrt(2.0) * width))
        field[:] = outer - inner - 1.0
    return found


def displacements(side: int, seed: int) -> NDArray[np.float64]:
    """Draw two independent, smooth Gaussian fields on the unit square.

    They are sums of cos(pi p x) cos(pi q y), p and q from 0 to 3, with independent normal
    coefficients. The mean over the square of their variance is 1. Seed and position alone say what
    they are, whatever the number of sites.

    Args:
        side: Sites along an axis.
        seed: 64-bit key of the stream.

    Returns:
        Shape [2, side, side].
    """
    normal = np.random.Generator(np.random.Philox(key=seed)).standard_normal((2, MODES, MODES))
    x = (np.arange(side) + 0.5) / side
    waves = np.sqrt(2.0 / MODES) * np.cos(np.pi * np.multiply.outer(np.arange(MODES), x))
    waves[0] = 1.0 / np.sqrt(MODES)
    return np.einsum("fpq,px,qy->fxy", normal, waves, waves)
