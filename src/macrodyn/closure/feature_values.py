"""Features of whole states, and how the evolution of one patch changes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from macrodyn.closure.correlations import correlation_increments, correlations
from macrodyn.closure.evolved import Blocks, EvolvedPatches
from macrodyn.closure.features import Feature, features_of
from macrodyn.lattice import PatchGeometry, Shape, Surroundings, sites_outside, split
from macrodyn.systems import PatchSystem
from macrodyn.systems.windows import cut_windows

Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]

# Sites whose states are held at once: a bound on memory.
_SITES = 2**21


class Features:
    """The features of a system's states.

    Increments are K (F(state with the patch replaced) - F(state)), as for observables: a term that
    reads sites on both sides of the patch's edge counts in full, and beside a buffer by the rule of
    `PatchGeometry.attribute`. A periodic patch is a system of its own.

    Args:
        system: The system, under the conditions of the states.
        names: As a configuration names them, see `macrodyn.closure.features`.
        patch: Sites along each axis of a patch, of which moments are taken.

    Attributes:
        all: The features, in order.
    """

    def __init__(self, system: PatchSystem, names: Sequence[str], patch: Shape) -> None:
        self.system, self.patch = system, tuple(patch)
        self.all: tuple[Feature, ...] = features_of(names, system)

    @property
    def variables(self) -> list[str]:
        """Names of the variables."""
        return [feature.variable for feature in self.all]

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """Lowest and highest possible value of each, infinite where it is not known."""
        return [feature.bounds for feature in self.all]

    def values(self, states: NDArray) -> Floats:
        """Features of whole states.

        Args:
            states: Shape [batch, channel, *lattice].

        Returns:
            Shape [batch, feature].
        """
        out = np.zeros((len(states), len(self.all)))
        each = max(1, _SITES // prod(states.shape[1:]))
        for begin in range(0, len(states) if self.all else 0, each):
            rows = slice(begin, begin + each)
            out[rows] = self._values(states[rows], self.system.periodic)
        return out

    def increments(self, evolved: EvolvedPatches, progress: Progress | None = None) -> Floats:
        """Change of the features by the evolution of patches, as if all K changed so.

        Args:
            evolved: The patches.
            progress: Called with states done and states in all after each chunk.

        Returns:
            Shape [batch, M, lag, feature].
        """
        lead = evolved.moved.shape[:3]
        out = np.zeros((*lead, len(self.all)))
        if not self.all:
            return out
        alone = evolved.geometry.boundary == "periodic"
        each = max(1, _SITES // (prod(evolved.moved.shape[1:])))
        for rows, part in evolved.chunks(each):
            out[rows] = self._alone(part) if alone else self._in_state(part)
            if progress is not None:
                progress(rows.start + len(part.states), lead[0])
        return out

    def _values(self, states: NDArray, periodic: bool) -> Floats:
        """Features of states on a lattice that closes on itself or has ends."""
        kinds = {feature.kind for feature in self.all}
        rates = _rates_of_states(self.system, states, periodic) if "generator" in kinds else None
        blocks = self._densities(states) if "moment" in kinds else None
        pairs = {
            r: correlations(states, r, periodic=periodic, species=self._has_species)
            for r in self._distances
        }
        out = np.empty((len(states), len(self.all)))
        for column, feature in enumerate(self.all):
            if rates is not None and feature.kind == "generator":
                out[:, column] = rates[:, feature.index]
            elif blocks is not None and feature.kind == "moment":
                out[:, column] = (blocks[..., feature.index] ** feature.number).mean(axis=1)
            else:
                out[:, column] = pairs[feature.number][:, feature.index]
        return out

    @property
    def _distances(self) -> set[int]:
        return {feature.number for feature in self.all if feature.kind == "correlation"}

    @property
    def _has_species(self) -> bool:
        return self.system.kind == "species"

    def _densities(self, states: NDArray) -> Floats:
        """Observables of the tiling's patches from their own sites, [batch, K, observable]."""
        blocks = split(states, self.patch)
        found = self.system.observe_patch(blocks.reshape(-1, *blocks.shape[2:]))
        return found.reshape(*blocks.shape[:2], -1)

    def _alone(self, evolved: EvolvedPatches) -> Floats:
        """Increments of patches that are systems of their own."""
        before, after = evolved.before, evolved.after
        old = self._values(before.reshape(-1, *before.shape[2:]), True)
        new = self._values(after.reshape(-1, *after.shape[3:]), True)
        return new.reshape(*after.shape[:3], -1) - old.reshape(*after.shape[:2], 1, -1)

    def _in_state(self, evolved: EvolvedPatches) -> Floats:
        """Increments by the terms that read a site of the patch, in its state."""
        out = np.empty((*evolved.moved.shape[:3], len(self.all)))
        kinds = {feature.kind for feature in self.all}
        if "generator" in kinds:
            rates = _rate_increments(self.system, evolved)
        if "moment" in kinds:
            old = self.system.observe_patch(_flat(evolved.before, 2)).reshape(*out.shape[:2], 1, -1)
            new = self.system.observe_patch(_flat(evolved.after, 3)).reshape(*out.shape[:3], -1)
        pairs = {
            distance: correlation_increments(evolved, distance, species=self._has_species)
            for distance in self._distances
        }
        for column, feature in enumerate(self.all):
            place = (..., feature.index)
            if feature.kind == "generator":
                out[..., column] = rates[place]
            elif feature.kind == "correlation":
                out[..., column] = pairs[feature.number][place]
            else:
                # A patch's own observables know nothing of its buffer.
                out[..., column] = new[place] ** feature.number - old[place] ** feature.number
        return out


def _flat(blocks: NDArray, lead: int) -> NDArray:
    """Join the first axes."""
    return blocks.reshape(-1, *blocks.shape[lead:])


def _rates_of_states(system: PatchSystem, states: NDArray, periodic: bool) -> Floats:
    """L phi of whole states, shape [batch, observable]."""
    lattice = states.shape[2:]
    if periodic:
        whole = PatchGeometry(lattice, system.halo, boundary="periodic")
        return system.expected_rates(states, whole)
    first = np.zeros((1, len(lattice)), dtype=np.int64)
    whole = PatchGeometry(lattice, system.halo)
    windows, around = cut_windows(system, states, first, whole)
    return system.expected_rates(windows, whole, around)


def _rate_increments(system: PatchSystem, evolved: EvolvedPatches) -> Floats:
    """Increments of L phi, shape [batch, M, lag, observable].

    The terms that read a site of the patch are those of its sites and of the halo around them.
    Where the system sees beyond windows (`PatchSystem.rest`), or these do not fit, whole states are
    measured.
    """
    halo, lattice = system.halo, evolved.lattice
    widest = max(
        side + 4 * halo - n for side, n in zip(evolved.geometry.shape, lattice, strict=True)
    )
    if type(system).rest is not PatchSystem.rest or (evolved.periodic and widest > 0):
        return _whole_rate_increments(system, evolved)
    sides, sizes = np.array(evolved.geometry.shape), np.array(lattice)
    first, last = evolved.origins - halo, evolved.origins + sides + halo
    if not evolved.periodic:
        first, last = np.maximum(first, 0), np.minimum(last, sizes)
    lead = evolved.moved.shape[:3]
    out = np.empty((*lead, len(system.observables)))
    # Beside the ends of a lattice fewer sites have terms: their blocks are of other shapes.
    shapes, which = np.unique((last - first).reshape(-1, len(lattice)), axis=0, return_inverse=True)
    flat = out.reshape(-1, *out.shape[2:])
    for number, shape in enumerate(map(tuple, shapes.tolist())):
        rows = np.flatnonzero(which.reshape(-1) == number)
        flat[rows] = _local_rate_increments(system, evolved, first, shape, rows)
    return out


def _local_rate_increments(
    system: PatchSystem,
    evolved: EvolvedPatches,
    first: NDArray[np.int64],
    shape: Shape,
    rows: NDArray[np.intp],
) -> Floats:
    """Of those patches whose terms stand in blocks of one shape, [patch, lag, observable]."""
    batch, number = evolved.moved.shape[:2]
    part = evolved
    corners = first - system.halo
    if len(rows) < batch * number:
        state, place = np.divmod(rows, number)
        part = EvolvedPatches(
            evolved.states[state],
            evolved.periodic,
            evolved.geometry,
            evolved.origins[state, place][:, None],
            evolved.moved[state, place][:, None],
        )
        corners = corners[state, place][:, None]
    cover = PatchGeometry(shape, system.halo)
    blocks = Blocks(part, corners, cover.window)
    around = Surroundings()
    if not evolved.periodic:
        beyond = sites_outside(evolved.lattice, corners, cover.window)
        around = Surroundings(beyond.reshape(-1, *beyond.shape[2:]))
    weight = prod(shape) / prod(evolved.geometry.shape)

    def measure(windows: NDArray) -> Floats:
        return weight * system.expected_rates(_flat(windows, 2), cover, around)

    before = measure(blocks.still)
    changes = []
    for lag in range(evolved.moved.shape[2]):
        after = measure(blocks.moved(lag))
        if evolved.geometry.buffer == 0:
            changes.append(after - before)
            continue
        patch_alone, buffer_alone = blocks.patch_moved(lag), blocks.buffer_moved(lag)
        changes.append(0.5 * (measure(patch_alone) - before + after - measure(buffer_alone)))
    return np.stack(changes, axis=1)


def _whole_rate_increments(system: PatchSystem, evolved: EvolvedPatches) -> Floats:
    """The same by whole states in which the patch has moved."""
    lead, lattice = evolved.moved.shape[:3], evolved.lattice
    out = np.empty((*lead, len(system.observables)))
    patches = prod(lattice) / prod(evolved.geometry.shape)
    each = max(1, _SITES // (prod(lattice) * lead[1]))
    for rows, part in evolved.chunks(each):
        first = np.zeros_like(part.origins)
        blocks = Blocks(part, first, lattice)

        def measure(states: NDArray) -> Floats:
            rates = _rates_of_states(system, _flat(states, 2), evolved.periodic)
            return rates.reshape(*states.shape[:2], -1)

        before = measure(blocks.still)
        for lag in range(lead[2]):
            after = measure(blocks.moved(lag))
            change = after - before
            if evolved.geometry.buffer:
                alone = measure(blocks.patch_moved(lag)) - before
                change = 0.5 * (alone + after - measure(blocks.buffer_moved(lag)))
            out[rows, :, lag] = patches * change
    return out
