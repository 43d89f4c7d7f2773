"""Geometry of lattices: tilings, patches, halos, gather and scatter.

States are arrays ``[batch, channel, *lattice]``. A *patch* is a rectangular block of sites; its
*window* is the patch with the margin that its evolution needs: a buffer that evolves with it, and a
frozen halo as wide as the interaction's range. A lattice closes on itself (``periodic``) or has
ends; beyond an end stands, wherever something is cut out, the last site inside. Nothing here
depends on the dimension (1, 2, 3), on powers of two or on equal sides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]
Boundary = Literal["frozen", "periodic"]


@dataclass(frozen=True)
class PatchGeometry:
    """The shape of a patch and of what surrounds it.

    Attributes:
        shape: Sites along each axis of the patch.
        halo: Width of the frozen halo: the range of the interaction, in sites.
        buffer: Width of the ring that evolves with the patch but is not counted, in sites.
        boundary: ``frozen``: surrounded by buffer and halo. ``periodic``: wrapped onto itself.
    """

    shape: Shape
    halo: int = 1
    buffer: int = 0
    boundary: Boundary = "frozen"

    def __post_init__(self) -> None:
        if self.boundary == "periodic" and self.buffer:
            raise ValueError("a periodic patch has no surroundings: set buffer to 0")
        if self.buffer < 0 or self.halo < 0 or min(self.shape) < 1:
            raise ValueError(f"impossible patch geometry {self}")

    @property
    def margin(self) -> int:
        """Sites on each side of the patch inside its window."""
        return 0 if self.boundary == "periodic" else self.buffer + self.halo

    @property
    def window(self) -> Shape:
        """Shape of the patch with its margin."""
        return tuple(side + 2 * self.margin for side in self.shape)

    @property
    def active(self) -> Shape:
        """Shape of the part that evolves: the patch with its buffer."""
        return tuple(side + 2 * self.buffer for side in self.shape)

    @property
    def moving(self) -> tuple[slice, ...]:
        """Slices that cut the part that evolves out of the last axes of a window."""
        halo = self.margin - self.buffer
        return tuple(slice(halo, halo + side) for side in self.active)

    @property
    def core(self) -> tuple[slice, ...]:
        """Slices that cut the patch out of the last axes of a window."""
        return tuple(slice(self.margin, self.margin + side) for side in self.shape)

    def cut(self, windows: NDArray) -> NDArray:
        """Cut the patch out of windows ``[..., *window]``: ``[..., *patch]``."""
        index: tuple[Any, ...] = (..., *self.core)
        return windows[index]

    def attribute(
        self, measure: Callable[[NDArray], NDArray], before: NDArray, after: NDArray
    ) -> NDArray:
        """Change of a measure by the moves of the patch itself, not by those of its buffer.

        Where patch and buffer have both moved, the patch's share of what they share (pairs across
        the edge) is the average of moving it first, in the old surroundings, and last, in the new
        ones. The shares of all patches of a tiling add up to the change of the whole; and a move
        counts in full for the patch it is in.

        Args:
            measure: Maps windows [batch, channel, *window] to values [batch, ...]; pairs across
                the patch's edge count in full.
            before: Windows before.
            after: Windows after.

        Returns:
            The patch's share of the change, [batch, ...].
        """
        if self.buffer == 0:
            return measure(after) - measure(before)
        core: tuple[Any, ...] = (..., *self.core)
        first, last = before.copy(), after.copy()
        first[core], last[core] = after[core], before[core]
        return 0.5 * (measure(first) - measure(before) + measure(after) - measure(last))

    def check(self, lattice: Shape, periodic: bool = True) -> None:
        """Check that windows of this geometry fit into the lattice.

        On a periodic lattice a wider window would overlap itself: sites that move would stand in
        its halo as well, frozen. Beyond the ends of a lattice that has some nothing stands twice.

        Args:
            lattice: Sites along each axis.
            periodic: Whether the lattice closes on itself.

        Raises:
            ValueError: If they do not fit.
        """
        if len(lattice) != len(self.shape):
            raise ValueError(f"patch {self.shape} and lattice {lattice} differ in dimension")
        sides = zip(self.active, self.window, lattice, strict=True)
        for axis, (active, window, length) in enumerate(sides):
            if active > length:
                raise ValueError(
                    f"the patch with its buffer is wider ({active}) than the lattice ({length}) "
                    f"along axis {axis}: choose a smaller patch or buffer"
                )
            if periodic and window > length:
                raise ValueError(
                    f"the patch with its buffer and a halo of {self.halo} on either side is wider "
                    f"({window}) than the lattice ({length}) along axis {axis}, and would overlap "
                    "itself: choose a smaller patch or buffer"
                )


@dataclass(frozen=True)
class Surroundings:
    """What of the surroundings of windows is not in the windows themselves.

    Attributes:
        outside: Sites of each window that lie beyond the low and the high end of a lattice with
            ends, along each axis, shape [batch, dimension, 2]. They hold copies of the last site
            inside, are no part of the system, and are ignored when the window is put back. None:
            no window reaches beyond an end.
        rest: What the system measured of each state beyond the window (`System.rest`), shape
            [batch, quantity], frozen. None: the windows tell all.
    """

    outside: NDArray[np.int64] | None = None
    rest: NDArray[np.float64] | None = None


ALONE = Surroundings()
"""Windows with nothing beyond them."""


@dataclass(frozen=True)
class Tiling:
    """A lattice cut into equal patches.

    Attributes:
        lattice: Sites along each axis of the lattice.
        patch: Sites along each axis of a patch; must divide the lattice.
        periodic: Whether the lattice closes on itself.
    """

    lattice: Shape
    patch: Shape
    periodic: bool = True

    def __post_init__(self) -> None:
        if len(self.lattice) != len(self.patch):
            raise ValueError(f"patch {self.patch} and lattice {self.lattice} differ in dimension")
        if any(p < 1 or n % p for n, p in zip(self.lattice, self.patch, strict=True)):
            raise ValueError(f"patch {self.patch} does not divide the lattice {self.lattice}")

    @property
    def counts(self) -> Shape:
        """Patches along each axis."""
        return tuple(n // p for n, p in zip(self.lattice, self.patch, strict=True))

    @property
    def number(self) -> int:
        """K, the number of patches."""
        return math.prod(self.counts)

    def origins(self, offset: Shape | None = None) -> NDArray[np.int64]:
        """Return the first site of each patch, shape [number, dimension], in row-major order.

        Args:
            offset: Shift of the whole tiling, below the patch's sides; patches of a shifted tiling
                overlap those of the original one. On a periodic lattice origins are wrapped. On
                one with ends there is then one patch more along the axis, and the first and the
                last reach beyond the ends.
        """
        along = [np.array(starts, dtype=np.int64) for starts in self._starts(offset)]
        grid = np.array(list(product(*along)), dtype=np.int64)
        return grid % np.array(self.lattice) if self.periodic else grid

    def colours(self, offset: Shape | None = None) -> Iterator[NDArray[np.int64]]:
        """Yield sets of numbers of patches such that no two of a set touch, even at a corner.

        Patches of one set can be evolved at the same time, each with frozen surroundings, as if one
        after the other. Along an axis with one patch there is nothing to keep apart; an odd number
        of patches on a periodic lattice needs a third colour for the last one.

        Args:
            offset: As for `origins`, whose patches are numbered in its order.
        """
        axes = []
        for starts in self._starts(offset):
            count = len(starts)
            colour = np.arange(count) % 2
            if self.periodic and count % 2 and count > 1:
                colour[-1] = 2
            axes.append(colour)
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
        for key in np.unique(grid, axis=0):
            yield np.flatnonzero((grid == key).all(axis=1))

    def overlapping_offsets(self) -> list[Shape]:
        """Offsets of the 2^d tilings shifted by zero or half a patch along each axis.

        The first is the tiling itself, the second is shifted along all axes; used in turn they move
        every patch's edge into the middle of another patch.
        """
        halves = [
            (0, p // 2) if n > p else (0,) for n, p in zip(self.lattice, self.patch, strict=True)
        ]
        offsets = sorted(product(*halves), key=sum)
        return [offsets[0], *offsets[:0:-1]]

    def _starts(self, offset: Shape | None) -> list[range]:
        """First sites of the patches along each axis, not wrapped."""
        starts = []
        for n, p, shift in zip(
            self.lattice, self.patch, offset or (0,) * len(self.patch), strict=True
        ):
            if self.periodic:
                starts.append(range(shift, n + shift, p))
            else:
                starts.append(range(shift - p if shift else 0, n, p))
        return starts


def fitting_origins(lattice: Shape, patch: Shape) -> NDArray[np.int64]:
    """First sites of as many whole patches as fit side by side, from the first site on.

    Where the patch divides the lattice, they are those of its tiling.

    Returns:
        Shape [number, dimension], in row-major order.
    """
    along = (range(0, n - p + 1, p) for n, p in zip(lattice, patch, strict=True))
    return np.array(list(product(*along)), dtype=np.int64).reshape(-1, len(lattice))


def sites_outside(lattice: Shape, origins: NDArray[np.integer], shape: Shape) -> NDArray[np.int64]:
    """Count the sites of blocks that lie beyond the ends of a lattice.

    Args:
        lattice: Sites along each axis.
        origins: First site of each block, shape [..., dimension]; any integers, not wrapped.
        shape: Sites along each axis of a block.

    Returns:
        Beyond the low and the high end along each axis, shape [..., dimension, 2].
    """
    first = np.asarray(origins, dtype=np.int64)
    beyond = first + np.array(shape) - np.array(lattice)
    return np.stack([np.maximum(-first, 0), np.maximum(beyond, 0)], axis=-1)


def site_index(
    lattice: Shape, origins: NDArray[np.integer], shape: Shape, periodic: bool = True
) -> NDArray[np.int64]:
    """Flat site numbers of blocks of a lattice.

    Args:
        lattice: Sites along each axis.
        origins: First site of each block, shape [..., dimension]; any integers.
        shape: Sites along each axis of a block; may exceed the lattice.
        periodic: Whether what reaches beyond the lattice wraps around; otherwise the last site
            inside stands there.

    Returns:
        Row-major site numbers, shape [..., *shape].
    """
    origins = np.asarray(origins)
    lead = origins.shape[:-1]
    flat = np.zeros((*lead, *(1 for _ in shape)), dtype=np.int64)
    for axis, (length, side) in enumerate(zip(lattice, shape, strict=True)):
        along = origins[..., axis, None] + np.arange(side)
        along = along % length if periodic else np.clip(along, 0, length - 1)
        flat = flat * length + along.reshape(
            *lead, *(side if a == axis else 1 for a in range(len(shape)))
        )
    return flat


def gather(
    states: NDArray, origins: NDArray[np.integer], shape: Shape, periodic: bool = True
) -> NDArray:
    """Copy the same blocks out of every state.

    Args:
        states: ``[batch, channel, *lattice]``.
        origins: First sites of M blocks, shape [M, dimension].
        shape: Sites along each axis of a block.
        periodic: Whether the lattice closes on itself, see `site_index`.

    Returns:
        Blocks, shape [batch, M, channel, *shape].
    """
    batch, channels, *lattice = states.shape
    index = site_index(tuple(lattice), origins, shape, periodic)
    blocks = np.take(states.reshape(batch, channels, -1), index, axis=2)
    return np.ascontiguousarray(np.moveaxis(blocks, 1, 2))


def gather_each(
    states: NDArray, origins: NDArray[np.integer], shape: Shape, periodic: bool = True
) -> NDArray:
    """Copy blocks of its own out of each state.

    Args:
        states: ``[batch, channel, *lattice]``.
        origins: First sites of M blocks for each state, shape [batch, M, dimension].
        shape: Sites along each axis of a block.
        periodic: Whether the lattice closes on itself, see `site_index`.

    Returns:
        Blocks, shape [batch, M, channel, *shape].
    """
    batch, channels, *lattice = states.shape
    blocks = origins.shape[1]
    index = site_index(tuple(lattice), origins, shape, periodic).reshape(batch, 1, -1)
    flat = np.take_along_axis(states.reshape(batch, channels, -1), index, axis=2)
    flat = flat.reshape(batch, channels, blocks, -1).swapaxes(1, 2)
    return np.ascontiguousarray(flat).reshape(batch, blocks, channels, *shape)


def scatter(
    states: NDArray, origins: NDArray[np.integer], blocks: NDArray, periodic: bool = True
) -> None:
    """Write disjoint blocks back into every state, in place.

    Args:
        states: C-contiguous ``[batch, channel, *lattice]``.
        origins: First sites of M blocks, shape [M, dimension].
        blocks: ``[batch, M, channel, *shape]``.
        periodic: Whether the lattice closes on itself; otherwise what lies beyond its ends is
            left out.
    """
    batch, channels, *lattice = states.shape
    shape = blocks.shape[3:]
    index = site_index(tuple(lattice), origins, shape, periodic)
    view = states.reshape(batch, channels, -1)
    if not np.shares_memory(view, states):
        raise ValueError("scatter writes in place: states must be C-contiguous")
    values = np.moveaxis(blocks, 2, 1)
    if not periodic and sites_outside(tuple(lattice), origins, shape).any():
        inside = np.ones(index.shape, dtype=bool)
        for axis, (length, side) in enumerate(zip(lattice, shape, strict=True)):
            along = np.asarray(origins)[:, axis, None] + np.arange(side)
            kept = (along >= 0) & (along < length)
            inside &= np.expand_dims(kept, tuple(1 + a for a in range(len(shape)) if a != axis))
        view[:, :, index[inside]] = values[:, :, inside]
    else:
        view[:, :, index] = values


def split(states: NDArray, patch: Shape) -> NDArray:
    """Cut every state into whole patches.

    Args:
        states: ``[batch, channel, *lattice]``.
        patch: Sites along each axis of a patch.

    Returns:
        Blocks, shape [batch, number, channel, *patch], at `fitting_origins`: the K patches of the
        tiling where the patch divides the lattice.
    """
    return gather(states, fitting_origins(states.shape[2:], patch), patch)


def upsampling_levels(small: Shape, large: Shape) -> list[Shape]:
    """Sizes that lead from the small lattice to the large one.

    Each level multiplies every axis by the smallest prime that remains of its ratio.

    Returns:
        The sizes after each level, ending with ``large``; empty if the sizes are equal.

    Raises:
        ValueError: If the small lattice does not divide the large one.
    """
    ratios = list(Tiling(large, small).counts)
    size, levels = list(small), []
    while any(r > 1 for r in ratios):
        factors = [smallest_prime(r) for r in ratios]
        ratios = [r // f for r, f in zip(ratios, factors, strict=True)]
        size = [n * f for n, f in zip(size, factors, strict=True)]
        levels.append(tuple(size))
    return levels


def smallest_prime(number: int) -> int:
    """Smallest prime factor of a positive integer; 1 for 1."""
    return next((p for p in range(2, math.isqrt(number) + 1) if number % p == 0), number)
