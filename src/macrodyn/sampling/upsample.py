"""Step 2: large snapshots from small ones, level by level, each level relaxed patch by patch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from macrodyn.lattice import PatchGeometry, Shape, Tiling, gather_each, scatter, upsampling_levels
from macrodyn.sampling.cost import Cost
from macrodyn.sampling.relax import Relaxation, relax
from macrodyn.streams import generator, seeds
from macrodyn.systems import System

Method = Literal["tile", "replicate"]


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


def tile(pool: NDArray, shape: Shape, number: int, rng: np.random.Generator) -> NDArray:
    """Put larger states together from periodic states of a pool, each randomly shifted.

    Args:
        pool: States of one group and time, [member, channel, *small].
        shape: The larger lattice.
        number: How many to make.
        rng: Chooses members, without repeats as far as the pool reaches, and shifts.

    Returns:
        Shape [number, channel, *shape].
    """
    small = pool.shape[2:]
    tiling = Tiling(shape, small)
    wanted = number * tiling.number
    rounds = -(-wanted // len(pool))
    members = np.concatenate([rng.permutation(len(pool)) for _ in range(rounds)])[:wanted]
    shifts = np.stack([rng.integers(0, side, wanted) for side in small], axis=-1)
    pieces = gather_each(pool[members], shifts[:, None, :], small)[:, 0]
    states = np.empty((number, pool.shape[1], *shape), dtype=pool.dtype)
    scatter(states, tiling.origins(), pieces.reshape(number, tiling.number, *pieces.shape[1:]))
    return states


def replicate(pool: NDArray, shape: Shape, number: int, rng: np.random.Generator) -> NDArray:
    """Make larger states by repeating each site along every axis.

    Args:
        pool: States of one group and time, [member, channel, *small].
        shape: The larger lattice.
        number: How many to make.
        rng: Chooses members, without repeats as far as the pool reaches.

    Returns:
        Shape [number, channel, *shape].
    """
    counts = Tiling(shape, pool.shape[2:]).counts
    rounds = -(-number // len(pool))
    members = np.concatenate([rng.permutation(len(pool)) for _ in range(rounds)])[:number]
    states = pool[members]
    for axis, count in enumerate(counts):
        states = np.repeat(states, count, axis=2 + axis)
    return states


METHODS = {"tile": tile, "replicate": replicate}


def upsample_pools(
    system: System,
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
                METHODS[method](pool, size, count, rng)
                for pool, rng in zip(states, rngs, strict=True)
            ]
        )
        keys = np.concatenate([seeds(seed, "relax", *name, i, index=count) for name in names])
        flat = relax(system, raw.reshape(-1, *raw.shape[2:]), patch, relaxation, keys, cost)
        states = flat.reshape(raw.shape)
        yield Level(size, raw, states)
