"""Numbers of a fluid's pairs that no exchange of atoms changes, and their rates of change.

With the cubic B-spline B of unit knots, radii c_k and the spacing h::

    g_k = 1/N Σ_{i<j} B_k(r_ij),                     B_k(r) = B((r - c_k) / h)
    w_k = 1/N Σ_{i<j} B_k'(r_ij) r̂_ij · (v_i - v_j)

so that w_k is the rate of change of g_k. Both are twice, or once, continuously differentiable:
every B_k vanishes with two derivatives within the cutoff.

Source: radial symmetry functions, Behler, J. Chem. Phys. 134, 074106 (2011), with splines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from macrodyn.systems.lennard_jones.cells import CellList, cell_along

# Lowest radius at which a spline begins, in units of σ: atoms hardly come closer.
CLOSEST = 0.8


@dataclass(frozen=True, kw_only=True)
class RadialSplines:
    """Cubic B-splines of equal spacing between the closest distance and the cutoff.

    Attributes:
        number: How many.
        cutoff: Distance at which the last one ends.
    """

    number: int
    cutoff: float

    @property
    def spacing(self) -> float:
        """Distance h of neighbouring splines; each reaches 2 h to both sides."""
        return (self.cutoff - CLOSEST) / (self.number + 3)

    @property
    def radii(self) -> NDArray[np.float64]:
        """Radius c_k of each spline's maximum, shape [number]."""
        return np.asarray(CLOSEST + self.spacing * np.arange(2, self.number + 2), np.float64)

    def values(self, cells: CellList, velocities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute g, then w.

        Args:
            cells: All atoms.
            velocities: Their velocities, shape [atom, 3].

        Returns:
            Shape [2 number].
        """
        return self._sums(cells, velocities, rows=False)[0]

    def rows(self, cells: CellList, velocities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Differentiate g and w by positions and velocities; see `values`.

        Returns:
            Shape [2 number, atom, 6].
        """
        return self._sums(cells, velocities, rows=True)[1]

    def _sums(
        self, cells: CellList, velocities: NDArray[np.float64], *, rows: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        n = len(cells.atom)
        values = np.zeros(2 * self.number)
        found = np.zeros((2 * self.number, n if rows else 0, 6))
        _sum_splines(
            values,
            found,
            np.ascontiguousarray(velocities, dtype=np.float64),
            *cells.arrays,
            min(self.cutoff, cells.cutoff),
            CLOSEST,
            self.spacing,
        )
        return values / n, found / n


@njit(inline="always")
def _spline(t: float) -> tuple[float, float, float]:
    """The cubic B-spline, and its first and second derivative."""
    a = abs(t)
    if a >= 2.0:
        return 0.0, 0.0, 0.0
    sign = 1.0 if t > 0 else -1.0
    if a < 1.0:
        return 2.0 / 3.0 - a * a + 0.5 * a * a * a, sign * (1.5 * a * a - 2.0 * a), 3.0 * a - 2.0
    b = 2.0 - a
    return b * b * b / 6.0, -0.5 * sign * b * b, b


@njit(cache=True, error_model="numpy")
def _sum_splines(
    values: NDArray,
    rows: NDArray,
    velocities: NDArray,
    wrapped: NDArray,
    atom: NDArray,
    first: NDArray,
    counts: NDArray,
    reach: NDArray,
    box: NDArray,
    cutoff: float,
    closest: float,
    spacing: float,
) -> None:
    """Add up values and, where there is room, rows, of N times g and w; see `RadialSplines`."""
    number, differentiate = len(values) // 2, rows.shape[1] > 0
    m0, m1, m2 = counts[0], counts[1], counts[2]
    for i in range(len(wrapped)):
        x, y, z = wrapped[i, 0], wrapped[i, 1], wrapped[i, 2]
        c0 = cell_along(x, m0 / box[0], m0)
        c1 = cell_along(y, m1 / box[1], m1)
        c2 = cell_along(z, m2 / box[2], m2)
        for q0 in range(c0 - reach[0], c0 + reach[0] + 1):
            for q1 in range(c1 - reach[1], c1 + reach[1] + 1):
                for q2 in range(c2 - reach[2], c2 + reach[2] + 1):
                    # A cell beyond an edge is one inside, some whole boxes further.
                    i0, i1, i2 = q0 // m0, q1 // m1, q2 // m2
                    cell = ((q0 - i0 * m0) * m1 + q1 - i1 * m1) * m2 + q2 - i2 * m2
                    for place in range(first[cell], first[cell + 1]):
                        j = atom[place]
                        dx = x - i0 * box[0] - wrapped[j, 0]
                        dy = y - i1 * box[1] - wrapped[j, 1]
                        dz = z - i2 * box[2] - wrapped[j, 2]
                        r = np.sqrt(dx * dx + dy * dy + dz * dz)
                        if r >= cutoff or r == 0.0:
                            continue
                        ux, uy, uz = dx / r, dy / r, dz / r
                        vx = velocities[i, 0] - velocities[j, 0]
                        vy = velocities[i, 1] - velocities[j, 1]
                        vz = velocities[i, 2] - velocities[j, 2]
                        radial = ux * vx + uy * vy + uz * vz
                        place_of = (r - closest) / spacing
                        # Of splines 2, 3, ... spacings from the closest distance, four at most.
                        lowest = max(int(np.ceil(place_of)) - 4, 0)
                        for k in range(lowest, min(int(place_of), number - 1) + 1):
                            b, slope, bend = _spline(place_of - 2.0 - k)
                            slope, bend = slope / spacing, bend / spacing**2
                            # Each pair is met from both of its ends.
                            values[k] += 0.5 * b
                            values[number + k] += 0.5 * slope * radial
                            if not differentiate:
                                continue
                            side, turn = slope / r, (bend - slope / r) * radial
                            g, w = rows[k, i], rows[number + k, i]
                            g[0] += slope * ux
                            g[1] += slope * uy
                            g[2] += slope * uz
                            w[0] += turn * ux + side * vx
                            w[1] += turn * uy + side * vy
                            w[2] += turn * uz + side * vz
                            w[3] += slope * ux
                            w[4] += slope * uy
                            w[5] += slope * uz
