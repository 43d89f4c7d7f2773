"""Patch-local relaxation: the small simulator heals what upsampling made up."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from macrodyn.lattice import PatchGeometry, Shape, Tiling, scatter, smallest_prime
from macrodyn.sampling.cost import Cost
from macrodyn.streams import Seeds, substreams
from macrodyn.systems import PatchSystem
from macrodyn.systems.windows import cut_windows

_WINDOW_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Relaxation:
    """How long every site is relaxed, and how long a patch is held between two offsets.

    Attributes:
        duration: Physical time that passes for every site.
        sweep: Physical time of one pass over all patches; each pass uses another offset.
    """

    duration: float
    sweep: float

    @property
    def sweeps(self) -> int:
        """Number of passes: the duration is cut into equal ones no longer than ``sweep``."""
        return math.ceil(self.duration / self.sweep - 1e-9)


def relax(
    system: PatchSystem,
    states: NDArray,
    patch: PatchGeometry,
    relaxation: Relaxation,
    keys: Seeds,
    cost: Cost,
) -> NDArray:
    """Relax states patch by patch, over tilings with overlapping offsets in turn.

    Patches that do not touch evolve together, those that touch one after the other, each with its
    surroundings frozen; where sites interact at any distance, all of them one after the other.
    Every step is then the exact dynamics of a part of the system, which leaves the equilibrium
    distribution as it is; and as the sweep gets short, it is the dynamics of the whole.

    Args:
        system: The system.
        states: Shape [batch, channel, *lattice]; left unchanged.
        patch: Geometry of the patches; with ``periodic`` they are wrapped onto themselves.
        relaxation: For how long, and in what steps.
        keys: One stream per state.
        cost: Adds up what it costs.

    Returns:
        The relaxed states.

    Raises:
        ValueError: If the patches would see each other move, see `relaxed_patch`.
    """
    if relaxation.sweeps == 0:
        return states.copy()
    lattice = states.shape[2:]
    cost.add(len(states) * math.prod(lattice), relaxation.duration)
    if Tiling(lattice, patch.shape, system.periodic).number == 1:
        return system.evolve(np.ascontiguousarray(states).copy(), relaxation.duration, keys)
    step = relaxation.duration / relaxation.sweeps
    return _swept(system, states, patch, range(relaxation.sweeps), step, keys)


def relax_sweeps(
    system: PatchSystem,
    states: NDArray,
    patch: PatchGeometry,
    sweeps: range,
    duration: float,
    keys: Seeds,
    cost: Cost,
) -> NDArray:
    """Relax states through numbered sweeps, as a part of a longer relaxation.

    A sweep's number says which offset and which random streams it has. Relaxing through 0, 1, ...,
    n - 1 in any number of parts therefore gives the same bits.

    Args:
        system: The system.
        states: Shape [batch, channel, *lattice]; left unchanged.
        patch: Geometry of the patches, see `relax`. One that is the lattice evolves as a whole.
        sweeps: Numbers of the sweeps, in order.
        duration: Physical time of each of them.
        keys: One stream per state, the same for all parts of a relaxation.
        cost: Adds up what it costs.

    Returns:
        The relaxed states.

    Raises:
        ValueError: If the patches would see each other move, see `relaxed_patch`.
    """
    lattice = states.shape[2:]
    cost.add(len(states) * math.prod(lattice), len(sweeps) * duration)
    if Tiling(lattice, patch.shape, system.periodic).number > 1:
        return _swept(system, states, patch, sweeps, duration, keys)
    states = np.ascontiguousarray(states).copy()
    for sweep in sweeps:
        states = system.evolve(states, duration, substreams(keys, sweep))
    return states


def _swept(
    system: PatchSystem,
    states: NDArray,
    patch: PatchGeometry,
    sweeps: range,
    step: float,
    keys: Seeds,
) -> NDArray:
    """Evolve all patches of each state, once in each sweep."""
    lattice = states.shape[2:]
    patch = relaxed_patch(system, patch, lattice)
    states = np.ascontiguousarray(states).copy()
    passes = _passes(system, patch, lattice)
    most = max(len(origins) for origins in passes)
    largest = max(len(o) for origins in passes for o in origins)
    chunk = max(1, _WINDOW_BYTES // (largest * math.prod(patch.window) * states.itemsize))
    for begin in range(0, len(states), chunk):
        part = states[begin : begin + chunk]
        part_keys = keys[begin : begin + chunk]
        for sweep in sweeps:
            for number, origins in enumerate(passes[sweep % len(passes)]):
                pass_keys = substreams(part_keys, sweep * most + number)
                _evolve_patches(system, part, origins, patch, step, pass_keys)
    return states


def _passes(
    system: PatchSystem, patch: PatchGeometry, lattice: Shape
) -> list[list[NDArray[np.int64]]]:
    """For each offset in turn, the origins of patches that may evolve at the same time."""
    tiling = Tiling(lattice, patch.shape, system.periodic)
    offsets = tiling.overlapping_offsets()
    if patch.boundary == "periodic" and not system.periodic:
        # A patch that reaches beyond an end has nothing there to be wrapped onto.
        offsets = offsets[:1]
    passes = []
    for offset in offsets:
        origins = tiling.origins(offset)
        together = (
            [np.array([i]) for i in range(len(origins))]
            if system.long_range
            else tiling.colours(offset)
        )
        passes.append([origins[which] for which in together])
    return passes


def relaxed_patch(system: PatchSystem, patch: PatchGeometry, lattice: Shape) -> PatchGeometry:
    """Return the patches that a lattice is relaxed by, once it is sure that they may move.

    A frozen patch that fills an axis of a periodic lattice is cut into smaller ones along it: its
    surroundings would be its own other edge, frozen while the edge moves. That is not the dynamics
    of a part of the system, and the equilibrium would not stay as it is.

    Args:
        system: The system.
        patch: Geometry of the patches as wanted.
        lattice: Sites along each axis.

    Raises:
        ValueError: If a halo is wider than the patch beside it, beyond which the next one moves at
            the same time; or if there is a buffer, which would move and be put back.
    """
    if patch.boundary == "periodic" or Tiling(lattice, patch.shape).number == 1:
        return patch
    if patch.buffer:
        raise ValueError(
            f"patches are relaxed without a buffer: set it to 0, not {patch.buffer}. Sites that "
            "move and are put back do not leave the equilibrium as it is"
        )
    sides = patch.shape
    if system.periodic:
        pairs = zip(patch.shape, lattice, strict=True)
        sides = tuple(p // smallest_prime(p) if p == n else p for p, n in pairs)
    for axis, (side, length) in enumerate(zip(sides, lattice, strict=True)):
        if patch.halo > _room(system, side, length):
            filled = (
                f" (part of one of {length}, which fills it)" if side < patch.shape[axis] else ""
            )
            raise ValueError(
                f"the halo of {patch.halo} sites is wider than a relaxed patch of {side}{filled} "
                f"along axis {axis} of the lattice {list(lattice)}: patches that move at the same "
                "time would see each other. Choose a patch that is wider there"
                + (" but does not fill the axis" if filled else "")
            )
    return replace(patch, shape=sides)


def _room(system: PatchSystem, side: int, length: int) -> float:
    """How far the surroundings of a relaxed patch reach along an axis before something moves."""
    if not system.periodic:
        return math.inf if system.long_range or side == length else side
    # Either the patch after next, or the patch itself from its other side.
    return length - side if system.long_range else min(side, length - side)


def _evolve_patches(
    system: PatchSystem,
    states: NDArray,
    origins: NDArray[np.int64],
    patch: PatchGeometry,
    duration: float,
    keys: Seeds,
) -> None:
    """Evolve the same patches of every state, in place."""
    windows, around = cut_windows(system, states, origins, patch)
    batch, number = len(states), len(origins)
    patch_keys = substreams(np.repeat(keys, number), np.tile(np.arange(number), batch))
    after, _ = system.evolve_patch(windows, patch, duration, patch_keys, around=around)
    blocks = patch.cut(after)
    blocks = blocks.reshape(batch, number, *blocks.shape[1:])
    scatter(states, origins, blocks, system.periodic)
