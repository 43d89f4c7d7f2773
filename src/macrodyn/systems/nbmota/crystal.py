"""The body-centred cubic lattice: its sites, and the eight jumps of a vacancy.

States are those of conventional cells, ``[channel, i, j, k]``: channel 0 is the corner of a cell,
channel 1 its centre. Distances are counted in half sides of a cell, in which all sites of a channel
have even coordinates, or all odd ones.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

VACANCY = 0
SPECIES = ("Nb", "Mo", "Ta")
"""Species 1, 2 and 3; 0 is a vacancy."""

DIRECTIONS: Ints = np.array(list(product((1, -1), repeat=3)), dtype=np.int64)
"""The eight jumps, in half sides, shape [8, 3]."""


def half_units(shape: tuple[int, ...]) -> Ints:
    """Coordinates of all sites of a block of cells, in the order of its entries.

    Args:
        shape: Cells along each axis.

    Returns:
        Shape [2 n, 3], n the number of cells.
    """
    corners = 2 * np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    corners = corners.reshape(-1, 3)
    return np.concatenate([corners, corners + 1]).astype(np.int64)


def site_number(position: Ints, shape: tuple[int, ...]) -> Ints:
    """Numbers of sites of a periodic block, in the order of `half_units`.

    Args:
        position: Coordinates in half sides, shape [..., 3]; any whole numbers that are all even or
            all odd.
        shape: Cells along each axis.
    """
    channel = position[..., 0] % 2
    cell = (position - channel[..., None]) // 2 % np.array(shape)
    flat = (cell[..., 0] * shape[1] + cell[..., 1]) * shape[2] + cell[..., 2]
    found: Ints = channel * int(np.prod(shape)) + flat
    return found


@cache
def _rotations() -> tuple[Ints, ...]:
    """The 48 operations of the cube, as matrices."""
    found = []
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        for signs in product((1, -1), repeat=3):
            matrix = np.zeros((3, 3), dtype=np.int64)
            matrix[np.arange(3), order] = signs
            found.append(matrix)
    return tuple(found)


def symmetries(direction: Ints) -> list[Ints]:
    """Operations of the cube about a jump's middle that leave its line as it is: D3d.

    Half of them (C3v) leave its direction; the others turn it round.

    Args:
        direction: The jump, shape [3].

    Returns:
        Twelve matrices, the six of C3v first.
    """
    kept = [m for m in _rotations() if np.array_equal(m @ direction, direction)]
    turned = [m for m in _rotations() if np.array_equal(m @ direction, -direction)]
    return kept + turned
