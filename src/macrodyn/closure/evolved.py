"""Patches of states that have evolved, and blocks of the states in which they have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrodyn.lattice import PatchGeometry, Shape, gather_each, site_index


@dataclass(frozen=True)
class EvolvedPatches:
    """Patches of states after they have evolved, the rest of the state frozen.

    Attributes:
        states: The states before, shape [batch, channel, *lattice].
        periodic: Whether the lattice closes on itself.
        geometry: Geometry of the patches.
        origins: First sites of M patches of each state, shape [batch, M, dimension].
        moved: The patches with their buffers afterwards, shape
            [batch, M, lag, channel, *geometry.active].
    """

    states: NDArray
    periodic: bool
    geometry: PatchGeometry
    origins: NDArray[np.int64]
    moved: NDArray

    @property
    def lattice(self) -> Shape:
        """Sites along each axis of the lattice."""
        return self.states.shape[2:]

    @property
    def before(self) -> NDArray:
        """The patches before, without buffers, shape [batch, M, channel, *patch]."""
        return gather_each(self.states, self.origins, self.geometry.shape, self.periodic)

    @property
    def after(self) -> NDArray:
        """The patches afterwards, without buffers, shape [batch, M, lag, channel, *patch]."""
        width = self.geometry.buffer
        inner: tuple[Any, ...] = (
            ...,
            *(slice(width, width + side) for side in self.geometry.shape),
        )
        return np.ascontiguousarray(self.moved[inner])

    def shifted(self, change: NDArray) -> EvolvedPatches:
        """The patches as if that had been added to them, before they evolved.

        Args:
            change: Shape [batch, M, lag, channel, *geometry.active].
        """
        corners = self.origins - self.geometry.buffer
        still = gather_each(self.states, corners, self.geometry.active, self.periodic)
        return replace(self, moved=(still[:, :, None] + change).astype(self.states.dtype))

    def chunks(self, each: int) -> Iterator[tuple[slice, EvolvedPatches]]:
        """Yield the patches of a few states at a time, with the rows of these states."""
        for begin in range(0, len(self.states), each):
            rows = slice(begin, begin + each)
            yield rows, self.select(rows)

    def select(self, rows: slice | NDArray[np.intp]) -> EvolvedPatches:
        """Return the patches of some of the states."""
        return replace(
            self,
            states=self.states[rows],
            origins=self.origins[rows],
            moved=self.moved[rows],
        )


class Blocks:
    """A block around each patch: as it was, and with what has moved put into it.

    Args:
        evolved: The patches.
        corners: First site of each block, shape [batch, M, dimension].
        shape: Sites along each axis of a block.

    Attributes:
        still: The blocks before, shape [batch, M, channel, *shape].
    """

    def __init__(self, evolved: EvolvedPatches, corners: NDArray[np.int64], shape: Shape) -> None:
        self._evolved = evolved
        lattice, periodic = evolved.lattice, evolved.periodic
        patch, origins = evolved.geometry, evolved.origins
        self.still = gather_each(evolved.states, corners, shape, periodic)
        sites = site_index(lattice, corners, shape, periodic).reshape(*corners.shape[:2], -1)
        self._core = _places_in(lattice, origins, patch.shape, sites, periodic)
        self._active = (
            _places_in(lattice, origins - patch.buffer, patch.active, sites, periodic)
            if patch.buffer
            else self._core
        )

    def moved(self, lag: int) -> NDArray:
        """The blocks after patch and buffer have moved."""
        return _replaced(self.still, self._active, self._evolved.moved[:, :, lag])

    def patch_moved(self, lag: int) -> NDArray:
        """The blocks after the patch has moved, its buffer as it was."""
        return _replaced(self.still, self._core, self._evolved.after[:, :, lag])

    def buffer_moved(self, lag: int) -> NDArray:
        """The blocks after the buffer has moved, the patch as it was."""
        return _replaced(self.moved(lag), self._core, self._evolved.before)


def _places_in(
    lattice: Shape,
    origins: NDArray[np.int64],
    shape: Shape,
    sites: NDArray[np.int64],
    periodic: bool,
) -> NDArray[np.int64]:
    """Where the sites of blocks stand in a part that replaces some of them.

    Args:
        lattice: Sites along each axis.
        origins: First sites of the parts, shape [batch, number, dimension].
        shape: Sites along each axis of a part.
        sites: Flat sites of the blocks, shape [batch, number, site].
        periodic: Whether the lattice closes on itself.

    Returns:
        Flat numbers inside the part, -1 for sites that stay, shape [batch, number, site].
    """
    at = np.stack(np.unravel_index(sites, lattice), axis=-1) - origins[:, :, None]
    if periodic:
        at %= np.array(lattice)
    within = ((at >= 0) & (at < np.array(shape))).all(axis=-1)
    flat = np.ravel_multi_index(tuple(np.moveaxis(at, -1, 0)), shape, mode="clip")
    return np.where(within, flat, -1)


def _replaced(blocks: NDArray, places: NDArray[np.int64], part: NDArray) -> NDArray:
    """Put parts into blocks: copies of [batch, number, channel, *block]."""
    flat = blocks.reshape(*blocks.shape[:3], -1)
    parts = part.reshape(*part.shape[:3], -1)
    new = np.take_along_axis(parts, np.maximum(places, 0)[:, :, None], axis=3)
    return np.where(places[:, :, None] >= 0, new, flat).reshape(blocks.shape)
