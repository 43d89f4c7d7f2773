"""What all systems of spins share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from macrodyn.lattice import Shape
from macrodyn.streams import Seeds
from macrodyn.systems.space import Component, Observable

STATE_LABELS: Mapping[int, str] = {-1: "spin down", 1: "spin up"}
MAGNETISATION = Observable("magnetisation", (-1.0, 1.0), "magnetisation $m$")
MEAN_SPIN = Component("magnetisation", -1.0, 1.0)


def independent_spins(
    magnetisation: NDArray[np.float64], shape: Shape, seeds: Seeds
) -> NDArray[np.int8]:
    """Draw independent spins -1 and +1.

    Args:
        magnetisation: Expected mean spin of each state, shape [batch] or [batch, 1].
        shape: Sites along each axis.
        seeds: One stream per state, shape [batch], uint64.

    Returns:
        Shape [batch, 1, *shape].

    Raises:
        ValueError: If there is not one magnetisation for each seed, or one is not in [-1, 1].
    """
    wanted = np.asarray(magnetisation, dtype=np.float64)
    if wanted.shape not in ((len(seeds),), (len(seeds), 1)):
        raise ValueError(
            f"macrostates of {len(seeds)} states have the shape {(len(seeds), 1)}, one "
            f"magnetisation each, not {wanted.shape}"
        )
    impossible = wanted[~(np.abs(wanted) <= 1)]
    if impossible.size:
        raise ValueError(f"initial magnetisations must lie between -1 and 1, not {impossible[0]}")
    states = np.empty((len(seeds), 1, *shape), dtype=np.int8)
    for state, m, key in zip(states, wanted.reshape(-1), seeds, strict=True):
        uniform = np.random.Generator(np.random.Philox(key=int(key))).random(shape)
        state[0] = np.where(uniform < 0.5 * (1.0 + m), 1, -1)
    return states
