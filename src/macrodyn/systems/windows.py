"""Patches cut out of whole states, with what surrounds them, and put back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrodyn.lattice import PatchGeometry, Surroundings, gather, gather_each, sites_outside
from macrodyn.systems.patch_system import PatchSystem


def cut_windows(
    system: PatchSystem, states: NDArray, origins: NDArray[np.int64], patch: PatchGeometry
) -> tuple[NDArray, Surroundings]:
    """Cut the windows of patches out of states, and find out what surrounds them.

    Args:
        system: The system, which knows whether the lattice has ends and what a patch sees of the
            rest.
        states: Shape [batch, channel, *lattice].
        origins: First sites of M patches, shape [M, dimension] for the same patches of every state,
            or [batch, M, dimension].
        patch: Geometry of the patches.

    Returns:
        Windows, shape [batch * M, channel, *patch.window], the patches of a state side by side, and
        their surroundings.
    """
    corners = origins - patch.margin
    cut = gather if origins.ndim == 2 else gather_each
    windows = cut(states, corners, patch.window, system.periodic)
    batch, number = windows.shape[:2]
    flat = windows.reshape(batch * number, *windows.shape[2:])
    if patch.boundary == "periodic":
        return flat, Surroundings()
    outside = rest = None
    if not system.periodic:
        beyond = sites_outside(states.shape[2:], corners, patch.window)
        outside = np.broadcast_to(beyond, (batch, number, *beyond.shape[-2:]))
        outside = outside.reshape(batch * number, -1, 2)
    moving: tuple[Any, ...] = (..., *patch.moving)
    measured = system.rest(states, windows[moving])
    if measured is not None:
        rest = measured.reshape(batch * number, -1)
    return flat, Surroundings(outside, rest)


def whole_window(
    system: PatchSystem, states: NDArray
) -> tuple[NDArray, PatchGeometry, Surroundings]:
    """Take whole states for patches that have no other beside them.

    Args:
        system: The system.
        states: Shape [batch, channel, *lattice].

    Returns:
        Windows, shape [batch, channel, *patch.window], their geometry and their surroundings.
    """
    lattice = states.shape[2:]
    if system.periodic:
        return states, PatchGeometry(lattice, boundary="periodic"), Surroundings()
    patch = PatchGeometry(lattice, system.halo)
    origin = np.zeros((1, len(lattice)), dtype=np.int64)
    windows, around = cut_windows(system, states, origin, patch)
    return windows, patch, around
