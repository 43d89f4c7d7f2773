"""The Allen-Cahn equation on a square grid: forces, and classical Runge-Kutta steps in one sweep.

A step goes through the field once, a block of rows at a time: the stages follow each other, each a
row behind the one before, on rows that are still in the cache of the core. The field is one row
after the other in memory, and a stage of a block is one long loop over it, which the compiler turns
into vector instructions. What it computes between the rows is overwritten or never read.

No operations are fused and none are reordered: neither batch, nor threads, nor the width of a
processor's vectors change a bit of any field.

Layout, in numbers of the field's precision: ``margin`` numbers; then rows ``width`` apart, of which
``side`` are sites. The number after a row's last site, and that before its first, which is the last
of the row before, are copies of these sites; so are the whole rows before the first and after the
last. That is the closed boundary. The first site of each row stands at a multiple of 64 bytes.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

ALIGNMENT = 64  # bytes of a cache line
ROWS = 20  # of a block: 16 to 30 take the same time, fewer are slowed down by what each block costs
# Rows that a stage's window keeps of earlier blocks: the last stage is three rows behind the first,
# and looks at the row before.
KEPT = 4


@njit(parallel=True, cache=True)
def forces(
    states: NDArray, side: int, coordinates: NDArray, steep: float, coupling: float
) -> NDArray:
    """Rates of change of some sites: each is looked at only with its four neighbours.

    Args:
        states: Fields, row by row, shape [batch, side * side].
        side: Sites along an axis.
        coordinates: Numbers of the sites, shape [batch, p]; they must exist.
        steep: 1 / eps^2.
        coupling: 1 / h^2.

    Returns:
        Shape [batch, p].
    """
    found = np.empty(coordinates.shape, dtype=np.float64)
    for b in prange(coordinates.shape[0]):
        u = states[b]
        for k in range(coordinates.shape[1]):
            site = coordinates[b, k]
            row, column = divmod(site, side)
            north = u[site - side] if row > 0 else u[site]
            south = u[site + side] if row < side - 1 else u[site]
            west = u[site - 1] if column > 0 else u[site]
            east = u[site + 1] if column < side - 1 else u[site]
            x = u[site]
            laplacian = (north + south) + (west + east) - 4.0 * x
            found[b, k] = coupling * laplacian + steep * (x - x * x * x)
    return found


@njit(inline="always")
def _change(x, north, south, west, east, c):  # type: ignore[no-untyped-def]
    """Rate of change of a site times a time whose coefficients are c; see `coefficients`."""
    return c[0] * ((north + south) + (west + east)) + x * (c[1] - c[2] * (x * x))


@njit(inline="always")
def _around(u, at, size, width):  # type: ignore[no-untyped-def]
    """Cut out a block of a field and its four shifts."""
    return (
        u[at : at + size],
        u[at - width : at - width + size],
        u[at + width : at + width + size],
        u[at - 1 : at - 1 + size],
        u[at + 1 : at + 1 + size],
    )


@njit(cache=True)
def _first(u, at, point, to, size, width, c):  # type: ignore[no-untyped-def]
    """Write the second point of a step, u + (dt/2) f(u)."""
    here, north, south, west, east = _around(u, at, size, width)
    out = point[to : to + size]
    for j in range(size):
        x = here[j]
        out[j] = x + _change(x, north[j], south[j], west[j], east[j], c)


@njit(cache=True)
def _middle(u, at, points, stage, to, size, width, c):  # type: ignore[no-untyped-def]
    """Write the point after ``stage``, u + (dt/2 or dt) f(point)."""
    here, north, south, west, east = _around(points[stage - 1], to, size, width)
    start, out = u[at : at + size], points[stage][to : to + size]
    for j in range(size):
        out[j] = start[j] + _change(here[j], north[j], south[j], west[j], east[j], c)


@njit(cache=True)
def _last(u, at, points, to, size, width, c, third):  # type: ignore[no-untyped-def]
    """End a step: with the points p, u + ((p1 - u) + 2 (p2 - u) + (p3 - u)) / 3 + (dt/6) f(p3).

    So no slopes are stored. The differences of such close numbers are exact.
    """
    here, north, south, west, east = _around(points[2], to, size, width)
    start = u[at : at + size]
    one, two = points[0][to : to + size], points[1][to : to + size]
    for j in range(size):
        x, y = here[j], start[j]
        twice = two[j] - y
        sum_ = (one[j] - y) + (x - y) + (twice + twice)
        start[j] = y + (sum_ * third + _change(x, north[j], south[j], west[j], east[j], c))


@njit(cache=True)
def _copy(u, source, target, size):  # type: ignore[no-untyped-def]
    """Copy numbers within an array to a place before, or so far behind that they do not overlap."""
    old, new = u[source : source + size], u[target : target + size]
    for j in range(size):
        new[j] = old[j]


@njit(cache=True)
def _close(u, at, rows, side, width):  # type: ignore[no-untyped-def]
    """Set the copies beside the ends of rows, the first of which begins at ``at``."""
    for first in range(at, at + rows * width, width):
        u[first - 1] = u[first]
        u[first + side] = u[first + side - 1]


@njit(cache=True)
def _step(u, points, side, width, margin, c, third):  # type: ignore[no-untyped-def]
    """Make one step of a padded field in place; ``points`` [3, numbers] are windows on its rows."""
    _copy(u, margin + width - 1, margin - 1, width)
    _copy(u, margin + side * width - 1, margin + (side + 1) * width - 1, width)
    for top in range(0, side + 3, ROWS):
        for stage in range(4):
            low, high = max(top - stage, 0), min(top - stage + ROWS, side)
            if low >= high:
                continue
            size = (high - low) * width
            at = margin + (low + 1) * width  # of row ``low`` in the field
            to = margin + (low - top + KEPT) * width  # and in a window
            mine = (c[stage, 0], c[stage, 1], c[stage, 2])
            if stage == 0:
                _first(u, at, points[0], to, size, width, mine)
            else:
                before = points[stage - 1]
                if low == 0:
                    _copy(before, to - 1, to - width - 1, width)
                if high == side:
                    _copy(before, to + size - width - 1, to + size - 1, width)
                if stage < 3:
                    _middle(u, at, points, stage, to, size, width, mine)
                else:
                    _last(u, at, points, to, size, width, mine, third)
            if stage < 3:
                _close(points[stage], to, high - low, side, width)
            else:
                _close(u, at, high - low, side, width)
        for stage in range(3):
            _copy(points[stage], ROWS * width, 0, KEPT * width + margin)


@njit(cache=True)
def _aligned(size: int, like: NDArray) -> NDArray:
    """Make zeros of the type of an array that begin at a multiple of 64 bytes."""
    spare = np.zeros(size + ALIGNMENT // like.itemsize, dtype=like.dtype)
    first = -spare.ctypes.data % ALIGNMENT // spare.itemsize
    return spare[first : first + size]


@njit(cache=True)
def _follow(state, side, steps, coefficients, third, records):  # type: ignore[no-untyped-def]
    """Advance one field and record it; see `advance`."""
    margin = ALIGNMENT // coefficients.itemsize
    width = (side + 2 + margin - 1) // margin * margin
    u = _aligned((side + 2) * width + 2 * margin, coefficients)
    window = (ROWS + KEPT + 1) * width + 2 * margin
    points = _aligned(3 * window, coefficients).reshape(3, window)
    for row in range(side):
        first = margin + (row + 1) * width
        for column in range(side):
            u[first + column] = state[row * side + column]
        _close(u, first, 1, side, width)
    for record in range(steps.size):
        for _ in range(steps[record]):
            _step(u, points, side, width, margin, coefficients[record], third)
        for row in range(side):
            first = margin + (row + 1) * width
            for column in range(side):
                records[record, row * side + column] = u[first + column]


@njit(parallel=True, cache=True)
def advance(
    states: NDArray,
    side: int,
    steps: NDArray,
    coefficients: NDArray,
    third: np.floating,
    records: NDArray,
) -> None:
    """Advance fields by the classical Runge-Kutta scheme of order 4, recording them on the way.

    Args:
        states: Fields, row by row, shape [batch, side * side]; left unchanged.
        side: Sites along an axis.
        steps: Number of steps before each record, shape [time].
        coefficients: Of their stages, shape [time, 4, 3], of the precision to compute with; see
            `coefficients`.
        third: 1/3 in that precision.
        records: Output, shape [batch, time, side * side].
    """
    for b in prange(states.shape[0]):
        _follow(states[b], side, steps, coefficients, third, records[b])


def coefficients(
    lengths: NDArray[np.float64], steep: float, coupling: float, dtype: type[np.floating]
) -> NDArray[np.floating]:
    """Coefficients of what each stage of a step adds.

    Of a time t, the rate of change times t is ``c0 (sum of the neighbours) + u (c1 - c2 u^2)`` with
    c0 = t / h^2, c1 = t (1 / eps^2 - 4 / h^2) and c2 = t / eps^2. The times are dt/2, dt/2, dt and
    dt/6.

    Args:
        lengths: Length dt of the steps before each record, shape [time].
        steep: 1 / eps^2.
        coupling: 1 / h^2.
        dtype: Precision.

    Returns:
        Shape [time, 4, 3].
    """
    times = np.multiply.outer(lengths, [0.5, 0.5, 1.0, 1.0 / 6.0])
    terms = np.array([coupling, steep - 4.0 * coupling, steep])
    return np.multiply.outer(times, terms).astype(dtype)
