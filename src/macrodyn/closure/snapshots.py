"""Closure variables of whole states, and how the evolution of one patch changes them.

| encoder        | zhat of a state                              | depends on the tiling's origin |
|----------------|----------------------------------------------|--------------------------------|
| pooled         | mean over all sites of local terms           | no                             |
| strided, dense | mean over the K patches of the tiling, eq. 1 | yes: `origin_share` says how   |

The increment of a patch is K (zhat(state with the patch replaced) - zhat(state)), as for
observables (`System.observable_increment`): local terms that reach over the patch's edge count in
full. Beyond the ends of a lattice that has some stands the last site inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrodyn.closure.model import PatchAutoencoder
from macrodyn.lattice import PatchGeometry, Shape, Tiling, gather, gather_each, site_index, split

Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]

# Sites whose states are held at once, beside the networks' own chunks: a bound on memory.
_SITES = 2**21
# Most sites that the networks read in one piece.
_PIECE = 2**19


def encode_states(
    model: PatchAutoencoder,
    states: NDArray,
    *,
    periodic: bool,
    progress: Progress | None = None,
) -> Floats:
    """Closure variables of patches, small or large states.

    Args:
        model: The closure.
        states: Shape [batch, channel, *lattice]. Where the closure's patch does not divide the
            lattice, a strided or dense encoder leaves out the sites beyond the last whole patch.
        periodic: Whether the lattice closes on itself.
        progress: Called with states done and states in all after each chunk.

    Returns:
        zhat, shape [batch, closure variable].
    """
    out = np.zeros((len(states), model.architecture.closure_dim))
    if model.architecture.closure_dim == 0:
        return out
    each = max(1, _SITES // prod(states.shape[1:]))
    for begin in range(0, len(states), each):
        part = states[begin : begin + each]
        if model.reach is None:
            out[begin : begin + each] = model.encode_snapshot(split(part, model.architecture.patch))
        else:
            out[begin : begin + each] = _mean_of_terms(model, part, periodic)
        if progress is not None:
            progress(begin + len(part), len(states))
    return out


def _mean_of_terms(model: PatchAutoencoder, states: NDArray, periodic: bool) -> Floats:
    """Mean of the local terms over all sites, in pieces of the lattice where it is large."""
    lattice, patch = states.shape[2:], model.architecture.patch
    reach = model.reach or ()
    divides = all(n % p == 0 for n, p in zip(lattice, patch, strict=True))
    piece = patch if prod(lattice) > _PIECE and divides else lattice
    origins = Tiling(lattice, piece).origins() - _before(reach)
    block = tuple(side + width for side, width in zip(piece, reach, strict=True))
    total = np.zeros((len(states), model.architecture.closure_dim))
    for origin in origins:
        blocks = gather(states, origin[None], block, periodic)[:, 0]
        total += model.local_sums(blocks)
    return total / (len(origins) * prod(piece))


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


def encode_increments(
    model: PatchAutoencoder, evolved: EvolvedPatches, progress: Progress | None = None
) -> Floats:
    """Change of the closure variables by the evolution of patches, as if all K changed so.

    A periodic patch is a system of its own. Where a buffer has moved as well, the patch's share is
    that of `PatchGeometry.attribute`.

    Args:
        model: The closure.
        evolved: The patches.
        progress: Called with states done and states in all after each chunk.

    Returns:
        Shape [batch, M, lag, closure variable].
    """
    lead = evolved.moved.shape[:3]
    out = np.zeros((*lead, model.architecture.closure_dim))
    if model.architecture.closure_dim == 0:
        return out
    increments = _alone if _is_alone(model, evolved.geometry) else _in_state
    each = max(1, _SITES // prod(evolved.moved.shape[1:]))
    for begin in range(0, lead[0], each):
        rows = slice(begin, begin + each)
        part = EvolvedPatches(
            evolved.states[rows],
            evolved.periodic,
            evolved.geometry,
            evolved.origins[rows],
            evolved.moved[rows],
        )
        out[rows] = increments(model, part)
        if progress is not None:
            progress(begin + len(part.states), lead[0])
    return out


def _is_alone(model: PatchAutoencoder, geometry: PatchGeometry) -> bool:
    """Whether a patch's closure variables are those of its own sites: nothing crosses its edge."""
    return model.reach is None or geometry.boundary == "periodic"


def _alone(model: PatchAutoencoder, evolved: EvolvedPatches) -> Floats:
    """Increments of patches that are encoded from their own sites."""
    patch = evolved.geometry
    inner: tuple[Any, ...] = (..., *(slice(patch.buffer, patch.buffer + s) for s in patch.shape))
    before = gather_each(evolved.states, evolved.origins, patch.shape, evolved.periodic)
    after = np.ascontiguousarray(evolved.moved[inner])
    lead, site = after.shape[:3], after.shape[3:]
    old = encode_states(model, before.reshape(-1, *site), periodic=True)
    new = encode_states(model, after.reshape(-1, *site), periodic=True)
    return new.reshape(*lead, -1) - old.reshape(*lead[:2], 1, -1)


def _in_state(model: PatchAutoencoder, evolved: EvolvedPatches) -> Floats:
    """Increments by the local terms that read a site of the patch, in its state."""
    patch, states = evolved.geometry, evolved.states
    batch, number, lags = evolved.moved.shape[:3]
    lattice, reach = states.shape[2:], model.reach or ()
    # Places of the terms: the patch and those beside it, but none twice.
    places = tuple(
        min(side + width, n) if evolved.periodic else side + width
        for side, width, n in zip(patch.shape, reach, lattice, strict=True)
    )
    first = evolved.origins - (np.array(reach, dtype=np.int64) - _before(reach))
    corners = first - _before(reach)
    block = tuple(side + width for side, width in zip(places, reach, strict=True))
    old = gather_each(states, corners, block, evolved.periodic)
    sites = site_index(lattice, corners, block, evolved.periodic).reshape(batch, number, -1)
    inside = None if evolved.periodic else _lie_inside(lattice, first, places)

    def measure(blocks: NDArray) -> Floats:
        """Sum the terms of blocks [batch, number, channel, *block]: [batch, number, closure]."""
        sums = model.local_sums(blocks.reshape(-1, *blocks.shape[2:]), inside)
        return sums.reshape(batch, number, -1)

    before = measure(old)
    out = np.empty((batch, number, lags, before.shape[-1]))
    core = _places_in(lattice, evolved.origins, patch.shape, sites, evolved.periodic)
    corner = evolved.origins - patch.buffer
    active = _places_in(lattice, corner, patch.active, sites, evolved.periodic)
    for lag in range(lags):
        moved = evolved.moved[:, :, lag]
        new = _replaced(old, active, moved)
        if patch.buffer == 0:
            out[:, :, lag] = measure(new) - before
            continue
        cut: tuple[Any, ...] = (..., *(slice(patch.buffer, patch.buffer + s) for s in patch.shape))
        still = gather_each(states, evolved.origins, patch.shape, evolved.periodic)
        patch_alone = measure(_replaced(old, core, np.ascontiguousarray(moved[cut])))
        buffer_alone = measure(_replaced(new, core, still))
        out[:, :, lag] = 0.5 * (patch_alone - before + measure(new) - buffer_alone)
    return out / prod(patch.shape)


def _before(reach: tuple[int, ...]) -> NDArray[np.int64]:
    """Sites before a term's own, along each axis, that it reads; the others are behind it."""
    return np.array(reach, dtype=np.int64) // 2


def _lie_inside(lattice: Shape, first: NDArray[np.int64], places: Shape) -> NDArray[np.bool_]:
    """Whether places of terms are sites of a lattice with ends: [batch * number, *places]."""
    first = first.reshape(-1, len(lattice))
    inside = np.ones((len(first), *places), dtype=bool)
    for axis, (n, side) in enumerate(zip(lattice, places, strict=True)):
        along = first[:, axis, None] + np.arange(side)
        shape = (side if a == axis else 1 for a in range(len(places)))
        inside &= ((along >= 0) & (along < n)).reshape(-1, *shape)
    return inside


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


def origin_share(
    model: PatchAutoencoder, states: NDArray, *, periodic: bool, rng: np.random.Generator
) -> list[float] | None:
    """Part of the closure variables' variance that comes from where the tiling begins.

    The physics knows no origin, so that this part is noise which neither fades nor is reproduced by
    the dynamics. It may exceed 1 by sampling.

    Args:
        model: The closure.
        states: Snapshots of the equilibrium, shape [batch, channel, *lattice].
        periodic: Whether the lattice closes on itself; it can only then be shifted.
        rng: Draws the origins, uniform over a patch.

    Returns:
        For each closure variable the variance over origins within a snapshot, divided by the
        variance over snapshots; None where it cannot be had: of a lattice with ends, or of fewer
        than two snapshots.
    """
    if not periodic or len(states) < 2:
        return None
    patch, lattice = model.architecture.patch, states.shape[2:]
    values = []
    for _ in range(_ORIGINS):
        origins = rng.integers(0, patch, (len(states), 1, len(patch)))
        shifted = gather_each(states, origins, lattice)[:, 0]
        values.append(encode_states(model, shifted, periodic=True))
    z = np.array(values)
    return (z.var(axis=0, ddof=1).mean(axis=0) / z[0].var(axis=0, ddof=1)).tolist()


# Origins of the tiling at which each snapshot is encoded to find out what they matter.
_ORIGINS = 4
