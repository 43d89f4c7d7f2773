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
from math import prod

import numpy as np
from numpy.typing import NDArray

from macrodyn.closure.evolved import Blocks, EvolvedPatches
from macrodyn.closure.model import PatchAutoencoder
from macrodyn.lattice import PatchGeometry, Shape, Tiling, gather, gather_each, split

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


def with_rim(states: NDArray, reach: tuple[int, ...]) -> NDArray:
    """Periodic states with as much around them as local terms at their edge read.

    Args:
        states: Shape [batch, channel, *lattice].
        reach: Sites along each axis, beside one, that a term reads.
    """
    block = tuple(side + width for side, width in zip(states.shape[2:], reach, strict=True))
    return gather(states, -_before(reach)[None], block, periodic=True)[:, 0]


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
    for rows, part in evolved.chunks(each):
        out[rows] = increments(model, part)
        if progress is not None:
            progress(rows.start + len(part.states), lead[0])
    return out


def _is_alone(model: PatchAutoencoder, geometry: PatchGeometry) -> bool:
    """Whether a patch's closure variables are those of its own sites: nothing crosses its edge."""
    return model.reach is None or geometry.boundary == "periodic"


def _alone(model: PatchAutoencoder, evolved: EvolvedPatches) -> Floats:
    """Increments of patches that are encoded from their own sites."""
    before, after = evolved.before, evolved.after
    lead, site = after.shape[:3], after.shape[3:]
    old = encode_states(model, before.reshape(-1, *site), periodic=True)
    new = encode_states(model, after.reshape(-1, *site), periodic=True)
    return new.reshape(*lead, -1) - old.reshape(*lead[:2], 1, -1)


def _in_state(model: PatchAutoencoder, evolved: EvolvedPatches) -> Floats:
    """Increments by the local terms that read a site of the patch, in its state."""
    patch, lattice, reach = evolved.geometry, evolved.lattice, model.reach or ()
    batch, number, lags = evolved.moved.shape[:3]
    # Places of the terms: the patch and those beside it, but none twice.
    places = tuple(
        min(side + width, n) if evolved.periodic else side + width
        for side, width, n in zip(patch.shape, reach, lattice, strict=True)
    )
    first = evolved.origins - (np.array(reach, dtype=np.int64) - _before(reach))
    corners = first - _before(reach)
    block = tuple(side + width for side, width in zip(places, reach, strict=True))
    blocks = Blocks(evolved, corners, block)
    inside = None if evolved.periodic else _lie_inside(lattice, first, places)

    def measure(blocks: NDArray) -> Floats:
        """Sum the terms of blocks [batch, number, channel, *block]: [batch, number, closure]."""
        sums = model.local_sums(blocks.reshape(-1, *blocks.shape[2:]), inside)
        return sums.reshape(batch, number, -1)

    before = measure(blocks.still)
    out = np.empty((batch, number, lags, before.shape[-1]))
    for lag in range(lags):
        after = measure(blocks.moved(lag))
        out[:, :, lag] = after - before
        if patch.buffer:
            patch_alone, buffer_alone = blocks.patch_moved(lag), blocks.buffer_moved(lag)
            out[:, :, lag] = 0.5 * (measure(patch_alone) - before + after - measure(buffer_alone))
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
