"""Step 2: large snapshots from small ones, level by level, each level relaxed patch by patch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom

from macrodyn.lattice import PatchGeometry, Shape, Tiling, gather_each, scatter, upsampling_levels
from macrodyn.sampling.cost import Cost
from macrodyn.sampling.relax import Relaxation, relax
from macrodyn.streams import generator, seeds
from macrodyn.systems import PatchSystem

Method = Literal["tile", "replicate", "interpolate"]


@dataclass(frozen=True)
class Level:
    """Snapshots of one level.

    Attributes:
        shape: The lattice at this level.
        raw: As put together, [pool, snapshot, channel, *shape].
        relaxed: After relaxation, the same shape.
    """

    shape: Shape
    raw: NDArray
    relaxed: NDArray


def tile(
    pool: NDArray, shape: Shape, number: int, rng: np.random.Generator, periodic: bool = True
) -> NDArray:
    """Put larger states together from states of a pool.

    Periodic states are shifted at random. States with ends cannot be; every second one along an
    axis is reflected instead, so that equal ends meet.

    Args:
        pool: States of one group and time, [member, channel, *small].
        shape: The larger lattice.
        number: How many to make.
        rng: Chooses members, without repeats as far as the pool reaches, and shifts.
        periodic: Whether the lattices close on themselves.

    Returns:
        Shape [number, channel, *shape].
    """
    small = pool.shape[2:]
    tiling = Tiling(shape, small)
    wanted = number * tiling.number
    members = _choose(pool, wanted, rng)
    if periodic:
        shifts = np.stack([rng.integers(0, side, wanted) for side in small], axis=-1)
        pieces = gather_each(pool[members], shifts[:, None, :], small)[:, 0]
        pieces = pieces.reshape(number, tiling.number, *pieces.shape[1:])
    else:
        pieces = pool[members].reshape(number, tiling.number, *pool.shape[1:])
        places = tiling.origins() // np.array(small)
        for piece, place in enumerate(places):
            odd = tuple(2 + axis for axis, number_along in enumerate(place) if number_along % 2)
            pieces[:, piece] = np.flip(pieces[:, piece], odd)
    states = np.empty((number, pool.shape[1], *shape), dtype=pool.dtype)
    scatter(states, tiling.origins(), pieces)
    return states


def replicate(
    pool: NDArray, shape: Shape, number: int, rng: np.random.Generator, periodic: bool = True
) -> NDArray:
    """Make larger states by repeating each site along every axis.

    Args:
        pool: States of one group and time, [member, channel, *small].
        shape: The larger lattice.
        number: How many to make.
        rng: Chooses members, without repeats as far as the pool reaches.
        periodic: Whether the lattices close on themselves; makes no difference.

    Returns:
        Shape [number, channel, *shape].
    """
    counts = Tiling(shape, pool.shape[2:]).counts
    states = pool[_choose(pool, number, rng)]
    for axis, count in enumerate(counts):
        states = np.repeat(states, count, axis=2 + axis)
    return states


def interpolate(
    pool: NDArray, shape: Shape, number: int, rng: np.random.Generator, periodic: bool = True
) -> NDArray:
    """Make larger fields by linear interpolation between the middles of sites.

    Noise comes out smoother than it is; relaxation roughens it again.

    Args:
        pool: States of one group and time, [member, channel, *small].
        shape: The larger lattice.
        number: How many to make.
        rng: Chooses members, without repeats as far as the pool reaches.
        periodic: Whether the lattices close on themselves; otherwise the outermost half sites hold
            the value of the last middle.

    Returns:
        Shape [number, channel, *shape].
    """
    counts = Tiling(shape, pool.shape[2:]).counts
    mode = "grid-wrap" if periodic else "nearest"
    states = pool[_choose(pool, number, rng)]
    return zoom(states, (1, 1, *counts), order=1, mode=mode, grid_mode=True)


def _choose(pool: NDArray, number: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose members of a pool, each as often as any other, give or take one."""
    rounds = -(-number // len(pool))
    return np.concatenate([rng.permutation(len(pool)) for _ in range(rounds)])[:number]


METHODS = {"tile": tile, "replicate": replicate, "interpolate": interpolate}


def upsample_pools(
    system: PatchSystem,
    pools: NDArray,
    shape: Shape,
    *,
    method: Method,
    number: int,
    patch: PatchGeometry,
    relaxation: Relaxation,
    seed: int,
    names: Sequence[tuple[int | str, ...]],
    cost: Cost,
) -> Iterator[Level]:
    """Upsample pools of small states through all levels.

    Every level holds as many states of each pool as the levels above can use without repeats, but
    no more than the pool has.

    Args:
        system: The system, under the conditions of the pools.
        pools: Small states, [pool, member, channel, *small]; a pool holds the systems of one
            group at one time.
        shape: The large lattice.
        method: How larger states are put together.
        number: Large snapshots to make of each pool.
        patch: Geometry of the patches that are relaxed.
        relaxation: For how long, and in what steps.
        seed: The study's seed.
        names: Names each pool's streams; a pool's result does not depend on the other pools.
        cost: Adds up what it costs.

    Yields:
        The levels, the large lattice last; nothing if the small lattice is the large one.
    """
    states = pools
    members = pools.shape[1]
    for i, size in enumerate(upsampling_levels(pools.shape[3:], shape)):
        above = Tiling(shape, size).number if method == "tile" else 1
        count = max(number, min(members, number * above))
        rngs = [generator(seed, "upsample", *name, i) for name in names]
        raw = np.stack(
            [
                METHODS[method](pool, size, count, rng, system.periodic)
                for pool, rng in zip(states, rngs, strict=True)
            ]
        )
        keys = np.concatenate([seeds(seed, "relax", *name, i, index=count) for name in names])
        flat = relax(system, raw.reshape(-1, *raw.shape[2:]), patch, relaxation, keys, cost)
        states = flat.reshape(raw.shape)
        yield Level(size, raw, states)
