"""Short-range order: how many first neighbours of each species the atoms have.

With b_ij the number of bonds between atoms of unequal species i and j, in a system of n sites,

    delta_ij = 3 b_ij / n - 8/3,    delta_ii = -(delta_ij + delta_ik):

the mean number of j among the eight first neighbours of an i, less what it is in a random alloy of
equal parts. Three sums are zero by definition. Counted by themselves the delta_ii of an alloy with
vacancies differ from it by the vacancies' bonds and by unequal numbers of atoms, 0.01 for one
vacancy in 1,024 sites.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from macrodyn.systems.nbmota.crystal import SPECIES, VACANCY

Array = NDArray[np.float64]

PAIRS = tuple((a, b) for a in range(3) for b in range(a, 3))
"""Species of each parameter, from 0."""
NAMES = tuple(f"{SPECIES[a]}_{SPECIES[b]}" for a, b in PAIRS)
RANDOM = 8.0 / 3.0
"""Neighbours of a species in a random alloy of equal parts."""
_UNLIKE = ((0, 1), (0, 2), (1, 2))
# A corner's neighbours are the centres of its own cell and of those before it.
_CELLS = tuple(product((0, -1), repeat=3))


def sum_rules() -> tuple[Array, Array]:
    """Relations A z = b of the six parameters, A of shape [3, 6]."""
    matrix = np.zeros((3, len(PAIRS)))
    for column, (a, b) in enumerate(PAIRS):
        matrix[a, column] = matrix[b, column] = 1.0
    return matrix, np.zeros(3)


def six_of(unlike: Array) -> Array:
    """All six parameters, or changes of them, from those of Nb-Mo, Nb-Ta and Mo-Ta: [..., 6]."""
    by_pair = dict(zip(_UNLIKE, np.moveaxis(unlike, -1, 0), strict=True))

    def of(a: int, b: int) -> Array:
        if a != b:
            return by_pair[a, b]
        return -sum(value for pair, value in by_pair.items() if a in pair)

    return np.stack([of(a, b) for a, b in PAIRS], axis=-1)


def bonds(states: NDArray, counted: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Bonds between unequal species in periodic blocks.

    Args:
        states: Shape [batch, 2, *cells].
        counted: Cells whose sites' bonds are counted, each bond once, shape [*cells]; all by
            default. A bond counts if one of its ends does.

    Returns:
        Of Nb-Mo, Nb-Ta and Mo-Ta, shape [batch, 3].
    """
    found = np.zeros((len(states), len(_UNLIKE)), np.int64)
    kinds = _kind_table()
    for cell in _CELLS:
        shift = tuple(-c for c in cell)
        centre = np.roll(states[:, 1], shift, axis=(1, 2, 3))
        kind = kinds[states[:, 0], centre]
        if counted is not None:
            both = counted | np.roll(counted, shift, axis=(0, 1, 2))
            kind = kind[:, both]
        flat = kind.reshape(len(states), -1)
        for k in range(len(_UNLIKE)):
            found[:, k] += (flat == k).sum(axis=1)
    return found


def inner_bonds(patches: NDArray) -> tuple[NDArray[np.int64], int]:
    """Bonds within blocks with ends, and how many bonds of any kind a block has.

    Args:
        patches: Shape [batch, 2, *cells].
    """
    found = np.zeros((len(patches), len(_UNLIKE)), np.int64)
    kinds = _kind_table()
    total = 0
    for cell in _CELLS:
        corners = tuple(slice(1, None) if c else slice(None) for c in cell)
        centres = tuple(slice(None, -1) if c else slice(None) for c in cell)
        kind = kinds[patches[:, 0][:, *corners], patches[:, 1][:, *centres]]
        flat = kind.reshape(len(patches), -1)
        total += flat.shape[1]
        for k in range(len(_UNLIKE)):
            found[:, k] += (flat == k).sum(axis=1)
    return found, total


def _kind_table() -> NDArray[np.int8]:
    """Number of the pair of two species, -1 of pairs that are not counted."""
    table = np.full((len(SPECIES) + 1, len(SPECIES) + 1), -1, np.int8)
    for k, (a, b) in enumerate(_UNLIKE):
        table[a + 1, b + 1] = table[b + 1, a + 1] = k
    assert (table[VACANCY] == -1).all()
    return table
