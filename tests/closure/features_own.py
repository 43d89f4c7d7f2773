"""A field on a line with ends whose rates are known, and species on a lattice, for features."""

from __future__ import annotations

import numpy as np

from macrodyn.lattice import ALONE
from macrodyn.systems import Grid, Observable, Parameters, PatchSystem


class _Free(PatchSystem):
    """What features never ask of a system."""

    Parameters = Parameters

    def initial_states(self, macrostate, shape, seeds):
        raise NotImplementedError

    def evolve(self, states, duration, seeds):
        raise NotImplementedError

    def evolve_patch(self, windows, patch, duration, seeds, events=None, around=ALONE):
        raise NotImplementedError

    def observable_increment(self, before, after, patch, around=ALONE):
        raise NotImplementedError

    def observe_patch(self, patches):
        return self.observe(patches)


class Line(_Free):
    """du = (u_{i+1} + u_{i-1} - 2 u_i - u_i^3) dt on a line whose ends reflect."""

    space = Grid("field", 1, channels=2)
    periodic = False
    observables = (Observable("mean"), Observable("square"))

    def observe(self, states):
        u = states[:, 0].astype(np.float64)
        return np.stack([u.mean(axis=-1), np.square(u).mean(axis=-1)], axis=1)

    def expected_rates(self, windows, patch, around=ALONE):
        u = windows[:, 0].astype(np.float64)
        left, right = np.roll(u, 1, axis=1), np.roll(u, -1, axis=1)
        if around.outside is not None:
            for row, (low, high) in enumerate(around.outside[:, 0]):
                last = u.shape[1] - 1 - high
                left[row, low] = u[row, low] if low else left[row, low]
                right[row, last] = u[row, last] if high else right[row, last]
        core = (slice(None), *patch.core)
        rate = (left + right - 2 * u - u**3)[core]
        return np.stack([rate.mean(axis=1), (2 * u[core] * rate).mean(axis=1)], axis=1)


class Alloy(_Free):
    """Three species on a cubic lattice with two sites in a cell."""

    space = Grid("species", 3, channels=2, species=3)
    observables = (Observable("share", (0.0, 1.0)), Observable("other", (-1.0, 0.5)))

    def observe(self, states):
        sites = tuple(range(1, states.ndim))
        return np.stack([(states == 1).mean(axis=sites), -(states == 2).mean(axis=sites)], axis=1)


class MeanField(_Free):
    """Spins that turn towards the mean of all, at a rate that each patch sees through `rest`."""

    space = Grid("spin", 2)
    halo = 0
    long_range = True
    observables = (Observable("magnetisation", (-1.0, 1.0)),)

    def observe(self, states):
        return states.mean(axis=(2, 3), dtype=np.float64)

    def rest(self, states, active):
        return np.zeros((*active.shape[:2], 1))

    def expected_rates(self, windows, patch, around=ALONE):
        mean = self.observe(windows)
        return np.tanh(2 * mean) - mean
