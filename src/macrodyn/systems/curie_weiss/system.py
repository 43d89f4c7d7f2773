"""Curie-Weiss model: spins in the mean field of all others, under Glauber dynamics."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from macrodyn.lattice import ALONE, PatchGeometry, Shape, Surroundings
from macrodyn.streams import Seeds
from macrodyn.systems.curie_weiss import compensator, kernels
from macrodyn.systems.curie_weiss.parameters import CurieWeissParameters
from macrodyn.systems.patch_system import PatchSystem
from macrodyn.systems.shared.spins import MAGNETISATION, MEAN_SPIN, STATE_LABELS, independent_spins
from macrodyn.systems.space import Grid


class CurieWeiss(PatchSystem):
    """Spins s_i = +-1 that all see each other, with rates 1 / (1 + exp(dE / T)).

    Time is in sweeps: units of the inverse attempt rate of one site. The observable is the
    magnetisation m (mean spin). Sites have no neighbours: the two axes of a state merely number
    them, and a patch is a set of sites like any other of its size. What a patch sees of the others
    is their sum, see `rest`. The critical temperature is 1.
    """

    space: ClassVar[Grid] = Grid("spin", 2, labels=STATE_LABELS)
    halo: ClassVar[int] = 0
    long_range: ClassVar[bool] = True
    observables = (MAGNETISATION,)
    macrostate = (MEAN_SPIN,)
    time_unit = "sweep"
    stops = ("time", "events")
    Parameters = CurieWeissParameters
    parameters: CurieWeissParameters

    def initial_states(
        self, macrostate: NDArray[np.float64], shape: Shape, seeds: Seeds
    ) -> NDArray:
        """Draw independent spins with the expected magnetisation ``macrostate``, in [-1, 1]."""
        return independent_spins(macrostate, shape, seeds)

    def evolve(self, states: NDArray, duration: float, seeds: Seeds) -> NDArray:
        """Advance whole systems by ``duration``; see `PatchSystem.evolve`."""
        _check(states, duration)
        after, _ = self._advance(states, None, duration, seeds, None)
        return after

    def evolve_patch(
        self,
        windows: NDArray,
        patch: PatchGeometry,
        duration: float,
        seeds: Seeds,
        events: int | None = None,
        around: Surroundings = ALONE,
    ) -> tuple[NDArray, NDArray[np.float64]]:
        """Advance patches in their windows; an event is a flip. See `PatchSystem.evolve_patch`.

        Patch and buffer move in the mean field of all sites of the whole, those outside frozen. A
        periodic patch, or one without ``around.rest``, is a system of its own: its n is the number
        of the sites that move.
        """
        moving, rest = _moving(windows, patch, around, duration)
        after = windows.copy()
        after[moving], elapsed = self._advance(windows[moving], rest, duration, seeds, events)
        return after, elapsed

    def expected_rates(
        self, windows: NDArray, patch: PatchGeometry, around: Surroundings = ALONE
    ) -> NDArray[np.float64]:
        """Expected rate of m, exactly, in the mean field of all sites of the whole.

        See `PatchSystem.expected_rates`.
        """
        moving, rest = _moving(windows, patch, around)
        blocks, levels, rates = self._blocks(windows[moving], rest)
        return compensator.expected_rates(blocks, levels, rates, _counted(patch))[:, None]

    def covariance_rates(self, states: NDArray) -> NDArray[np.float64]:
        """Those of m, which m alone determines; see `PatchSystem.covariance_rates`."""
        return self.exact_moments(self.observe(states), states.shape[2:])[1]

    def evolve_compensated(
        self,
        windows: NDArray,
        patch: PatchGeometry,
        duration: float,
        seeds: Seeds,
        around: Surroundings = ALONE,
    ) -> tuple[NDArray, NDArray[np.float64]]:
        """Advance patches with exact compensators; the states are those of `evolve_patch`.

        See `PatchSystem.evolve_compensated`.
        """
        moving, rest = _moving(windows, patch, around, duration)
        active = windows[moving]
        blocks, levels, rates = self._blocks(active, rest)
        integral = compensator.advance(
            blocks, levels, rates, _counted(patch), float(duration), seeds, kernels.FEW_ACCEPTED
        )
        after = windows.copy()
        after[moving] = blocks.reshape(active.shape)
        return after, integral[:, None]

    def longest_wait(self) -> float:
        """Mean waiting time of a spin that agrees with all others and the field."""
        p = self.parameters
        with np.errstate(over="ignore"):
            return float(1.0 + np.exp(2.0 * (1.0 + abs(p.field)) / p.temperature))

    def observe(self, states: NDArray) -> NDArray[np.float64]:
        """Measure the mean spin: [batch, 1]."""
        return states.mean(axis=(2, 3), dtype=np.float64)

    def observe_patch(self, patches: NDArray) -> NDArray[np.float64]:
        """Measure the mean spin of patches: [batch, 1]."""
        return self.observe(patches)

    def observable_increment(
        self, before: NDArray, after: NDArray, patch: PatchGeometry, around: Surroundings = ALONE
    ) -> NDArray[np.float64]:
        """Change of the patch's mean spin; see `PatchSystem.observable_increment`."""
        return self.observe(patch.cut(after)) - self.observe(patch.cut(before))

    def rest(self, states: NDArray, active: NDArray) -> NDArray[np.float64]:
        """Sum the spins that patches do not move.

        Args:
            states: Whole states, shape [batch, 1, *lattice].
            active: The sites that will move, shape [batch, M, 1, *patch.active].

        Returns:
            Shape [batch, M, 2]: the sum of all other spins; n, the sites of the whole.
        """
        whole = states.sum(axis=(1, 2, 3), dtype=np.int64)
        outside = whole[:, None] - active.sum(axis=(2, 3, 4), dtype=np.int64)
        sites = np.full(outside.shape, math.prod(states.shape[2:]))
        return np.stack([outside, sites], axis=-1).astype(np.float64)

    def exact_moments(
        self, observables: NDArray[np.float64], shape: Shape
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Exact drift and diffusion of the magnetisation.

        All spins of one sign have one rate, which m determines: w_up of the n (1 - m) / 2 spins
        down, w_down of the n (1 + m) / 2 spins up, each flip a step of 2 / n. So m is a Markov
        chain on its own, and these are its moments, not an approximation::

            b(m) = (1 - m) w_up(m) - (1 + m) w_down(m)
            D(m) = (2 / n) ((1 - m) w_up(m) + (1 + m) w_down(m))
            w_up(m)   = 1 / (1 + exp(-2 (m + 1/n + h) / T))
            w_down(m) = 1 / (1 + exp(+2 (m - 1/n + h) / T))

        Args:
            observables: m, shape [batch, 1].
            shape: Sites along each axis.

        Returns:
            b, shape [batch, 1], and D, shape [batch, 1, 1], per sweep.
        """
        m = np.asarray(observables, dtype=np.float64)[:, 0]
        sites = math.prod(shape)
        rates = kernels.flip_rates(m, sites, self.parameters.temperature, self.parameters.field)
        gain, loss = (1.0 - m) * rates[:, 0], (1.0 + m) * rates[:, 1]
        return (gain - loss)[:, None], (2.0 / sites * (gain + loss))[:, None, None]

    def _advance(
        self,
        active: NDArray,
        rest: NDArray[np.float64] | None,
        duration: float,
        seeds: Seeds,
        events: int | None,
    ) -> tuple[NDArray, NDArray[np.float64]]:
        """Advance blocks [batch, 1, *active] in the field of their rest: blocks, elapsed time."""
        blocks, levels, rates = self._blocks(active, rest)
        elapsed, _, _ = kernels.advance(
            blocks,
            levels,
            rates,
            float(duration),
            -1 if events is None else events,
            seeds,
            kernels.FEW_ACCEPTED,
        )
        return blocks.reshape(active.shape), elapsed

    def _blocks(
        self, active: NDArray, rest: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.int8], NDArray[np.int64], NDArray[np.float64]]:
        """Copy spins as the kernels want them; levels and rates of `kernels.advance`."""
        moving = math.prod(active.shape[2:])
        blocks = np.array(active, order="C").reshape(len(active), moving)
        ups, sites = _frozen_ups(rest, moving, len(blocks))
        lowest, highest = (int(ups.min()), int(ups.max()) + moving) if len(ups) else (0, 0)
        rates = kernels.rate_table(
            lowest, highest, sites, self.parameters.temperature, self.parameters.field
        )
        return blocks, ups - lowest, rates


def _moving(
    windows: NDArray, patch: PatchGeometry, around: Surroundings, duration: float = 0.0
) -> tuple[tuple[Any, ...], NDArray[np.float64] | None]:
    """What cuts the spins that move out of windows, and what is known of all others."""
    _check(windows, duration)
    if windows.shape[2:] != patch.window:
        raise ValueError(f"windows {windows.shape[2:]} do not fit the patch {patch.window}")
    return (..., *patch.moving), None if patch.boundary == "periodic" else around.rest


def _counted(patch: PatchGeometry) -> NDArray[np.bool_]:
    """Whether the sites that move belong to the patch, not to its buffer: [sites]."""
    counted = np.zeros(patch.active, dtype=bool)
    counted[tuple(slice(patch.buffer, side - patch.buffer) for side in patch.active)] = True
    return counted.ravel()


def _frozen_ups(
    rest: NDArray[np.float64] | None, moving: int, batch: int
) -> tuple[NDArray[np.int64], int]:
    """Number of spins up outside each block, [batch], and the number of sites of the whole."""
    if rest is None:
        return np.zeros(batch, dtype=np.int64), moving
    if rest.shape != (batch, 2):
        raise ValueError(f"the rest of {batch} windows has the shape {(batch, 2)}: {rest.shape}")
    sites = int(rest[0, 1]) if batch else moving
    total, frozen = rest[:, 0], sites - moving
    if np.any(rest[:, 1] != sites):
        raise ValueError("windows of wholes of different sizes: evolve them in batches of one size")
    if frozen < 0 or np.any(np.abs(total) > frozen) or np.any((total + frozen) % 2 != 0):
        raise ValueError(
            f"{frozen} spins outside a block of {moving} cannot add up to what the rest says: "
            "measure it with `rest`, of the state and of the block that moves"
        )
    return ((total + frozen) / 2).astype(np.int64), sites


def _check(states: NDArray, duration: float) -> None:
    if states.dtype != np.int8:
        raise TypeError(f"spins are int8, not {states.dtype}")
    if not 0 <= duration < math.inf:
        raise ValueError(f"a duration must be finite and not negative: {duration}")
