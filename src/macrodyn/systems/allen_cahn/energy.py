"""The free energy of a field on a square, with either differences, and its gradient.

Beyond the boundary stand copies of the sites at it, for both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]


def well(u: Field, width: float) -> Field:
    """Energy density (u^2 - 1)^2 / (4 eps^2) of a field."""
    return (u * u - 1.0) ** 2 / (4.0 * width**2)


def consistent_energy(u: Field, width: float) -> NDArray[np.float64]:
    """Energy with differences between neighbours.

    ::

        E = h^2 sum_i (u_i^2 - 1)^2 / (4 eps^2) + (1/2) sum_<ij> (u_i - u_j)^2

    over all sites i and all pairs of neighbours <ij>; h is 1 over the sites along an axis.

    Args:
        u: Fields, shape [batch, side, side].
        width: eps.

    Returns:
        Shape [batch].
    """
    rows, columns = np.diff(u, axis=1), np.diff(u, axis=2)
    pairs = (rows**2).sum(axis=(1, 2)) + (columns**2).sum(axis=(1, 2))
    return well(u, width).mean(axis=(1, 2)) + 0.5 * pairs


def consistent_gradient(u: Field, width: float) -> Field:
    """Gradient of `consistent_energy`: -h^2 times the rate of change du/dt of the field.

    Args:
        u: Fields, shape [batch, side, side].
        width: eps.

    Returns:
        Derivative by each site, shape [batch, side, side].
    """
    found = (u**3 - u) / (width**2 * u[0].size)
    for axis in (1, 2):
        found -= np.diff(u, axis=axis, prepend=_end(u, axis, 0), append=_end(u, axis, -1), n=2)
    return found


def central_energy(u: Field, width: float) -> NDArray[np.float64]:
    """Energy with central differences over two sites, h^2 sum |grad u|^2 / 2.

    Source: the observable of arXiv:2410.23938.

    Args:
        u: Fields, shape [batch, side, side].
        width: eps.

    Returns:
        Shape [batch].
    """
    squares = sum((_central(u, axis) ** 2).sum(axis=(1, 2)) for axis in (1, 2))
    return well(u, width).mean(axis=(1, 2)) + 0.125 * squares


def central_gradient(u: Field, width: float) -> Field:
    """Gradient of `central_energy`.

    A site's value enters the differences at its two neighbours and, at the boundary, its own: the
    transpose of the difference is minus the difference, with the opposite of the end beyond it.

    Args:
        u: Fields, shape [batch, side, side].
        width: eps.

    Returns:
        Derivative by each site, shape [batch, side, side].
    """
    found = (u**3 - u) / (width**2 * u[0].size)
    for axis in (1, 2):
        jumps = _central(u, axis)
        found -= 0.25 * _over_two(jumps, axis, -1.0)
    return found


def _end(u: Field, axis: int, which: int) -> Field:
    """The first or the last sites along an axis."""
    return np.take(u, [which], axis=axis)


def _over_two(u: Field, axis: int, sign: float) -> Field:
    """u_{i+1} - u_{i-1}; beyond an end stands ``sign`` times the end."""
    padded = np.concatenate([sign * _end(u, axis, 0), u, sign * _end(u, axis, -1)], axis=axis)
    last = padded.shape[axis]
    after = np.take(padded, range(2, last), axis=axis)
    return after - np.take(padded, range(last - 2), axis=axis)


def _central(u: Field, axis: int) -> Field:
    """u_{i+1} - u_{i-1}, with copies of the ends beyond them."""
    return _over_two(u, axis, 1.0)
