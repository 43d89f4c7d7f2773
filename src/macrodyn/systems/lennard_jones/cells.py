"""Cell lists: which atoms of a periodic box are near each other, in O(N)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class CellList:
    """Atoms of a periodic box, sorted by the cell that they are in.

    A cell is no narrower than the cutoff. A box narrower than that is one cell, and as many of its
    images are looked at as the cutoff reaches; so boxes of any size are right.

    Attributes:
        box: Sides of the box, shape [3].
        cutoff: Distance up to which atoms are found.
        counts: Cells along each axis, shape [3].
        reach: Cells that the cutoff reaches to each side, shape [3].
        first: Place of each cell's first atom in ``atom``, shape [cell + 1].
        atom: Atoms, cell by cell, shape [atom].
        wrapped: Positions inside of the box, shape [atom, 3].
    """

    box: NDArray[np.float64]
    cutoff: float
    counts: NDArray[np.int64]
    reach: NDArray[np.int64]
    first: NDArray[np.int32]
    atom: NDArray[np.int32]
    wrapped: NDArray[np.float64]

    @property
    def arrays(self) -> tuple[NDArray, NDArray, NDArray, NDArray, NDArray, NDArray]:
        """What kernels that go through the neighbours of an atom take, in their order."""
        return self.wrapped, self.atom, self.first, self.counts, self.reach, self.box

    @classmethod
    def of(
        cls, positions: NDArray[np.float64], box: float | Sequence[float], cutoff: float
    ) -> CellList:
        """Sort atoms into cells.

        Args:
            positions: Shape [atom, 3 or more], the first three columns; inside of the box or not.
            box: Side of a cubic box, or three sides.
            cutoff: Distance up to which atoms are to be found.

        Raises:
            ValueError: If something is of another shape, not positive or not finite.
        """
        x = np.ascontiguousarray(positions, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] < 3:
            raise ValueError(f"positions of shape {x.shape} should be [atom, 3]")
        sides = np.array(np.broadcast_to(np.asarray(box, dtype=np.float64), (3,)))
        for name, value in (("box", sides), ("cutoff", np.array(cutoff, dtype=np.float64))):
            if not (np.isfinite(value).all() and (value > 0).all()):
                raise ValueError(f"{name} is {value}: it should be positive and finite")
        # A hair wider than the cutoff, so that rounding hides no pair; not many more than atoms.
        most = max(3, 2 * round(len(x) ** (1 / 3)))
        counts = np.clip(np.floor(sides / (cutoff * (1 + 1e-12))), 1, most).astype(np.int64)
        reach = np.ceil(cutoff / (sides / counts)).astype(np.int64)
        wrapped, cell, inside = _wrap(x, sides, counts)
        if not inside:
            raise ValueError("positions are not all finite: the atoms have run away")
        first, atom = _sort(cell, int(counts.prod()))
        return cls(sides, float(cutoff), counts, reach, first, atom, wrapped)


@njit(inline="always")
def cell_along(position: float, per_length: float, count: int) -> int:
    """Find the cell of a wrapped position along one axis; rounding may have put it at an edge."""
    return int(min(max(position * per_length, 0.0), count - 1.0))


@njit(cache=True, error_model="numpy")
def _wrap(x: NDArray, box: NDArray, counts: NDArray) -> tuple[NDArray, NDArray, bool]:
    """Wrap positions: where they are, in which cell, and whether all were finite."""
    n = len(x)
    wrapped, cell = np.empty((n, 3)), np.empty(n, np.int32)
    inside = True
    # Written out axis by axis, which is twice as fast as a loop over them.
    (l0, l1, l2), (m0, m1, m2) = (box[0], box[1], box[2]), (counts[0], counts[1], counts[2])
    inverse0, inverse1, inverse2 = 1.0 / l0, 1.0 / l1, 1.0 / l2
    scale0, scale1, scale2 = m0 / l0, m1 / l1, m2 / l2
    for i in range(n):
        w0 = x[i, 0] - l0 * np.floor(x[i, 0] * inverse0)
        w1 = x[i, 1] - l1 * np.floor(x[i, 1] * inverse1)
        w2 = x[i, 2] - l2 * np.floor(x[i, 2] * inverse2)
        wrapped[i, 0], wrapped[i, 1], wrapped[i, 2] = w0, w1, w2
        # False for what is not finite, too.
        inside &= (
            (abs(w0 - 0.5 * l0) < 0.51 * l0)
            & (abs(w1 - 0.5 * l1) < 0.51 * l1)
            & (abs(w2 - 0.5 * l2) < 0.51 * l2)
        )
        row = cell_along(w0, scale0, m0) * m1 + cell_along(w1, scale1, m1)
        cell[i] = row * m2 + cell_along(w2, scale2, m2)
    return wrapped, cell, inside


@njit(cache=True)
def _sort(cell: NDArray, number: int) -> tuple[NDArray, NDArray]:
    """Sort atoms by their cell: where each cell begins, and the atoms cell by cell."""
    first, atom = np.zeros(number + 1, np.int32), np.empty(len(cell), np.int32)
    for c in cell:
        first[c + 1] += 1
    for c in range(number):
        first[c + 1] += first[c]
    free = first.copy()
    for i in range(len(cell)):
        place = free[cell[i]]
        free[cell[i]] = place + 1
        atom[place] = i
    return first, atom
