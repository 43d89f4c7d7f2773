"""The truncated Lennard-Jones potential: what its pairs do to some atoms.

::

    u(r) = 4 ε ((σ/r)^12 - (σ/r)^6) for r below the cutoff, else 0

Nothing is shifted at the cutoff and no tail is added, as with LAMMPS' ``lj/cut``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from macrodyn.systems.lennard_jones.cells import CellList, cell_along

# Columns of `pair_terms`.
FORCE, ENERGY, VIRIAL, VIRIAL_GRADIENT = slice(0, 3), 3, 4, slice(5, 8)


def lennard_jones_forces(
    positions: NDArray[np.float64] | CellList,
    atoms: NDArray[np.integer],
    box: float | Sequence[float] = (),
    cutoff: float = 2.5,
    *,
    epsilon: float = 1.0,
    sigma: float = 1.0,
) -> NDArray[np.float64]:
    """Compute the Lennard-Jones forces on some atoms of a periodic box.

    Only the neighbours of the chosen atoms are looked at, beside one pass over all positions that
    sorts them into cells. Where forces on several choices are wanted, sort once: make a `CellList`
    and give it in place of positions, box and cutoff. The forces are the same to the last bit
    whichever other atoms are chosen.

    Args:
        positions: Shape [atom, 3], inside of the box or not, or a `CellList`.
        atoms: Numbers of the p chosen atoms, shape [p].
        box: Side of a cubic box, or three sides.
        cutoff: Distance from which on atoms do not interact. A box may be of any size: atoms
            interact with every image, their own included, within the cutoff.
        epsilon: Depth ε of the potential.
        sigma: Length σ of the potential.

    Returns:
        Forces on the chosen atoms, shape [p, 3], in units of ε/σ.

    Raises:
        ValueError: If something is of another shape, or positions are not finite.
        IndexError: If there is no such atom.
        FloatingPointError: If an atom sits on a chosen one.
    """
    cells = positions
    if not isinstance(cells, CellList):
        cells = CellList.of(cells, box if np.size(box) else np.nan, cutoff)
    return pair_terms(cells, atoms, epsilon, sigma)[:, FORCE].copy()


def pair_terms(
    cells: CellList, atoms: NDArray[np.integer], epsilon: float = 1.0, sigma: float = 1.0
) -> NDArray[np.float64]:
    """Sum what the pairs of some atoms contribute.

    With w(r) = -r u'(r), the virial of a pair, and sums over all neighbours j of an atom i:

    =================  ==================================================
    ``FORCE``          f_i = -Σ_j ∇_i u(r_ij)
    ``ENERGY``         Σ_j u(r_ij) / 2
    ``VIRIAL``         Σ_j w(r_ij) / 2
    ``VIRIAL_GRADIENT``  Σ_j ∇_i w(r_ij), the gradient of the whole virial
    =================  ==================================================

    Args:
        cells: All atoms.
        atoms: Numbers of the p chosen atoms, shape [p].
        epsilon: Depth of the potential.
        sigma: Length of the potential.

    Returns:
        Shape [p, 8], by the columns above.

    Raises:
        IndexError: If there is no such atom.
        FloatingPointError: If an atom sits on a chosen one.
    """
    chosen = np.ascontiguousarray(atoms, dtype=np.int64)
    if chosen.ndim != 1:
        raise ValueError(f"numbers of atoms of shape {chosen.shape} should be [p]")
    number = len(cells.atom)
    if len(chosen) and not (0 <= chosen.min() and chosen.max() < number):
        raise IndexError(f"there are {number} atoms: their numbers are 0 to {number - 1}")
    found = _sum_pairs(
        chosen,
        *cells.arrays,
        cells.cutoff**2,
        4.0 * epsilon * sigma**12,
        4.0 * epsilon * sigma**6,
    )
    if not np.isfinite(found).all():
        raise FloatingPointError(
            "the force on an atom is infinite: another is at the same place or too near"
        )
    return found


@njit(cache=True, error_model="numpy")
def _sum_pairs(
    atoms: NDArray,
    wrapped: NDArray,
    atom: NDArray,
    first: NDArray,
    counts: NDArray,
    reach: NDArray,
    box: NDArray,
    cutoff2: float,
    repulsion: float,
    attraction: float,
) -> NDArray:
    """Sum over the pairs of some atoms; see `pair_terms`."""
    found = np.zeros((len(atoms), 8))
    m0, m1, m2 = counts[0], counts[1], counts[2]
    for a in range(len(atoms)):
        i = atoms[a]
        x, y, z = wrapped[i, 0], wrapped[i, 1], wrapped[i, 2]
        c0 = cell_along(x, m0 / box[0], m0)
        c1 = cell_along(y, m1 / box[1], m1)
        c2 = cell_along(z, m2 / box[2], m2)
        fx = fy = fz = energy = virial = gx = gy = gz = 0.0
        # A cell beyond an edge is one inside, some whole boxes further.
        for q0 in range(c0 - reach[0], c0 + reach[0] + 1):
            image0 = q0 // m0
            x_seen = x - image0 * box[0]
            for q1 in range(c1 - reach[1], c1 + reach[1] + 1):
                image1 = q1 // m1
                y_seen = y - image1 * box[1]
                row = ((q0 - image0 * m0) * m1 + q1 - image1 * m1) * m2
                q2, last = c2 - reach[2], c2 + reach[2]
                while q2 <= last:
                    # The atoms of neighbouring cells of a row lie side by side.
                    image2 = q2 // m2
                    z_seen = z - image2 * box[2]
                    end = min(last, (image2 + 1) * m2 - 1)
                    begin = row + q2 - image2 * m2
                    for place in range(first[begin], first[begin + end - q2 + 1]):
                        j = atom[place]
                        dx = x_seen - wrapped[j, 0]
                        dy = y_seen - wrapped[j, 1]
                        dz = z_seen - wrapped[j, 2]
                        r2 = dx * dx + dy * dy + dz * dz
                        if r2 >= cutoff2 or (r2 == 0.0 and j == i):
                            continue
                        inverse = 1.0 / r2
                        r6 = inverse * inverse * inverse
                        twelve, six = repulsion * r6 * r6, attraction * r6
                        w = 12.0 * twelve - 6.0 * six
                        force = w * inverse
                        slope = (36.0 * six - 144.0 * twelve) * inverse
                        fx, fy, fz = fx + force * dx, fy + force * dy, fz + force * dz
                        gx, gy, gz = gx + slope * dx, gy + slope * dy, gz + slope * dz
                        energy, virial = energy + 0.5 * (twelve - six), virial + 0.5 * w
                    q2 = end + 1
        found[a, 0], found[a, 1], found[a, 2] = fx, fy, fz
        found[a, 3], found[a, 4] = energy, virial
        found[a, 5], found[a, 6], found[a, 7] = gx, gy, gz
    return found
