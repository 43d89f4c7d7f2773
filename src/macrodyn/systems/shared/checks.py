"""What compiled functions take for granted of states and coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def particle_states(states: NDArray[np.floating], components: int) -> NDArray[np.float64]:
    """Return states of particles as contiguous float64.

    Args:
        states: Shape [batch, particle, component].
        components: How many components there are.

    Raises:
        ValueError: If they have another shape.
    """
    if states.ndim != 3 or states.shape[1] == 0 or states.shape[2] != components:
        raise ValueError(
            f"states of shape {states.shape} should be [batch, particle, {components}]"
        )
    return np.ascontiguousarray(states, dtype=np.float64)


def chosen_coordinates(
    coordinates: NDArray[np.integer], states: NDArray[np.floating]
) -> NDArray[np.int64]:
    """Return numbers of coordinates as contiguous int64.

    Args:
        coordinates: Numbers of p coordinates of each state, shape [batch, p].
        states: Shape [batch, particle, component].

    Raises:
        ValueError: If they have another shape.
        IndexError: If there is no such coordinate.
    """
    if coordinates.ndim != 2 or len(coordinates) != len(states):
        raise ValueError(
            f"coordinates of shape {coordinates.shape} should be [{len(states)}, p]: some of each "
            "state"
        )
    highest = states.shape[1] * states.shape[2] - 1
    if coordinates.size and not (coordinates.min() >= 0 and coordinates.max() <= highest):
        raise IndexError(
            f"coordinates {coordinates.min()} to {coordinates.max()} of a state whose coordinates "
            f"are 0 to {highest}"
        )
    return np.ascontiguousarray(coordinates, dtype=np.int64)


def macrostates(values: Any, names: tuple[str, ...], batch: int) -> NDArray[np.float64]:
    """Return initial macrostates as float64.

    Args:
        values: Shape [batch, component].
        names: Names of the components.
        batch: How many states there are.

    Raises:
        ValueError: If they have another shape.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.shape != (batch, len(names)):
        raise ValueError(
            f"initial macrostates of shape {found.shape} should be {(batch, len(names))}: "
            f"{' and '.join(names)} of each state"
        )
    return found
