"""The stationary density of two variables: the Fokker-Planck equation on a grid of cells.

With drift mu and covariance rate D of dz = mu dt + D^(1/2) dB in a box whose sides reflect,

    0 = -div J,   J_i = mu_i p - 1/2 sum_j d(D_ij p)/dz_j.

Between two cells the flux of the diagonal terms is that of constant coefficients, exactly
(Scharfetter and Gummel): no numerical diffusion is added, which would swamp the slow drift between
two wells. The off-diagonal terms are central differences.

Source: Scharfetter and Gummel (1969); Gardiner (2009), section 6.2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, eye_array
from scipy.sparse.linalg import splu

MOST_VARIABLES = 2
"""Variables of which a stationary density is solved for, not sampled."""

Floats = NDArray[np.float64]
Cells = NDArray[np.int64]

# Relative to the fastest rate: far below any rate between two wells, far above rounding.
_SHIFT = 1e-13
_ITERATIONS = 4


def stationary_density(x: Floats, y: Floats, drift: Floats, covariance: Floats) -> Floats:
    """Density p at the middles of cells, shape [nx, ny], of sum 1 over the cells' areas.

    Args:
        x: Middles of the cells along the first variable, evenly spaced, shape [nx].
        y: Along the second, shape [ny].
        drift: mu there, shape [nx, ny, 2].
        covariance: D there, positive definite, shape [nx, ny, 2, 2].

    Raises:
        ValueError: If an axis has fewer than three cells or is uneven, shapes do not agree, or
            there are values that are not finite or noise that is not positive.
    """
    steps = (_step(x), _step(y))
    shape = (len(x), len(y))
    if drift.shape != (*shape, 2) or covariance.shape != (*shape, 2, 2):
        raise ValueError(
            f"on {shape} cells the drift has the shape {drift.shape} and the covariance "
            f"{covariance.shape}, not {(*shape, 2)} and {(*shape, 2, 2)}"
        )
    if not (np.isfinite(drift).all() and np.isfinite(covariance).all()):
        raise ValueError("drift or covariance is not finite on all cells")
    if not (np.diagonal(covariance, axis1=-2, axis2=-1) > 0).all():
        raise ValueError("the covariance is not positive on all cells")
    rates = _generator(drift, covariance, steps)
    number = shape[0] * shape[1]
    # Inverse iteration: what is not stationary shrinks by the shift over its own rate.
    shift = _SHIFT * np.abs(rates.diagonal()).max()
    solver = splu((rates - shift * eye_array(number)).tocsc())
    p = np.full(number, 1.0 / number)
    for _ in range(_ITERATIONS):
        p = solver.solve(p)
        p /= p.sum()
    # Central differences leave specks below zero where there is next to nothing.
    p = np.maximum(p, 0.0).reshape(shape)
    found: Floats = p / (p.sum() * steps[0] * steps[1])
    return found


def _step(values: Floats) -> float:
    gaps = np.diff(values)
    if len(values) < 3 or not (gaps > 0).all() or np.ptp(gaps) > 1e-6 * gaps.mean():
        raise ValueError("cells need three middles or more, evenly spaced")
    return float(gaps.mean())


def _generator(drift: Floats, covariance: Floats, steps: tuple[float, float]) -> csr_array:
    """Rates of change of the cells' contents, [cells, cells]; columns sum to zero."""
    shape = drift.shape[:2]
    cell = np.arange(shape[0] * shape[1]).reshape(shape)
    cross = 0.5 * covariance[..., 0, 1].ravel()
    rows: list[Cells] = []
    columns: list[Cells] = []
    values: list[Floats] = []

    def add(into: Cells, of: Cells, rate: Floats) -> None:
        rows.append(into.ravel())
        columns.append(of.ravel())
        values.append(rate.ravel())

    for axis in (0, 1):
        h, other = steps[axis], steps[1 - axis]
        left, right = (np.take(cell, range(*ends), axis) for ends in _sides(shape[axis]))
        low, high = (np.take(drift[..., axis], range(*ends), axis) for ends in _sides(shape[axis]))
        d = 0.5 * covariance[..., axis, axis]
        d_low, d_high = (np.take(d, range(*ends), axis) for ends in _sides(shape[axis]))
        between = 0.5 * (d_low + d_high)
        # In Ito's sense: what pushes is the drift less the slope of D/2.
        push = (0.5 * (low + high) - (d_high - d_low) / h) * h / between
        ahead, back = between / h**2 * _bernoulli(-push), between / h**2 * _bernoulli(push)
        for into, sign in ((left, -1.0), (right, 1.0)):
            add(into, left, sign * ahead)
            add(into, right, -sign * back)
        # The mean of both cells' slopes along the other axis; at a side the cell's own value.
        along = np.arange(shape[1 - axis])
        for mine in (left, right):
            for turn in (1, -1):
                near = np.take(mine, np.clip(along + turn, 0, along[-1]), 1 - axis)
                flux = -turn * cross[near] / (4.0 * other * h)
                add(left, near, -flux)
                add(right, near, flux)
    places = (np.concatenate(rows), np.concatenate(columns))
    return coo_array((np.concatenate(values), places), shape=(cell.size, cell.size)).tocsr()


def _sides(number: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The cells below and above each face between two."""
    return (0, number - 1), (1, number)


def _bernoulli(w: Floats) -> Floats:
    """Compute w / (exp(w) - 1)."""
    w = np.clip(w, -600.0, 600.0)
    small = np.abs(w) < 1e-6
    found: Floats = np.where(small, 1.0 - 0.5 * w, w / np.where(small, 1.0, np.expm1(w)))
    return found
