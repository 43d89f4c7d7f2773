"""Stationary densities and mean first-passage times of one variable, by quadrature.

With drift mu and covariance rate D of dz = mu dt + D^(1/2) dB between two reflecting ends,

    p(z) = exp(-U(z)) / Z,   U(z) = log D(z) - 2 int^z mu / D,

and the mean time T(z) until z has reached b > z, the lower end a reflecting,

    T(z) = 2 int_z^b dy / (D(y) p(y)) int_a^y p(x) dx,

and likewise from above. Both are integrals of what the model says, as exact as the grid.

Source: Gardiner (2009), sections 5.2.6 and 5.5.2; noise in the sense of Ito.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def potential(grid: Floats, drift: Floats, covariance: Floats) -> Floats:
    """U = -log p but for a constant, zero at its least, shape [..., N].

    Args:
        grid: Increasing values of z, shape [N].
        drift: mu there, shape [..., N].
        covariance: D there, positive, shape [..., N].
    """
    slope = 2.0 * drift / covariance
    found = np.log(covariance) - _integral(grid, slope)
    return found - found.min(axis=-1, keepdims=True)


def stationary_density(grid: Floats, drift: Floats, covariance: Floats) -> Floats:
    """Density p on the grid, of integral 1, shape [..., N]; arguments as of `potential`."""
    weight = np.exp(-potential(grid, drift, covariance))
    return weight / _integral(grid, weight)[..., -1:]


def mean_passage(grid: Floats, drift: Floats, covariance: Floats) -> Floats:
    """Mean time from each point of the grid to its last point, the first one reflecting.

    For the way down turn grid and drift around: -grid[::-1] and -drift[::-1].

    Args:
        grid: Increasing values of z, shape [N].
        drift: mu there, shape [..., N].
        covariance: D there, positive, shape [..., N].

    Returns:
        Shape [..., N]; 0 at the last point.
    """
    well = potential(grid, drift, covariance)
    below = _integral(grid, np.exp(-well))
    outer = 2.0 * below * np.exp(well) / covariance
    summed = _integral(grid, outer)
    return summed[..., -1:] - summed


def _integral(grid: Floats, values: Floats) -> Floats:
    """Integral from the first point, by the trapezoidal rule, shape [..., N]."""
    parts = 0.5 * (values[..., 1:] + values[..., :-1]) * np.diff(grid)
    zero = np.zeros((*values.shape[:-1], 1))
    return np.concatenate([zero, np.cumsum(parts, axis=-1)], axis=-1)
