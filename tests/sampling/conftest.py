"""Systems with simple exact behaviour for the physics-free stages."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.lattice import ALONE
from macrodyn.systems import Grid, Observable, Parameters, PatchSystem


class ClockSystem(PatchSystem):
    """Every site counts the time for which it has evolved; observables: mean, and mean square."""

    observables = (Observable("mean"), Observable("square", (0.0, np.inf)))
    Parameters = Parameters

    def __init__(self, parameters, dimension=2):
        super().__init__(parameters)
        self.space = Grid("field", dimension)
        self.calls = []
        self.keys = []

    def initial_states(self, macrostate, shape, seeds):
        self.keys.extend(seeds)
        return np.broadcast_to(
            np.asarray(macrostate, float).reshape(-1, *(1,) * (len(shape) + 1)),
            (len(seeds), 1, *shape),
        ).copy()

    def evolve(self, states, duration, seeds):
        self.keys.extend(seeds)
        return states + duration

    def evolve_patch(self, windows, patch, duration, seeds, events=None, around=ALONE):
        self.calls.append((patch, duration, seeds))
        self.keys.extend(seeds)
        after = windows.copy()
        rim = patch.margin - patch.buffer
        after[(..., *(slice(rim, rim + side) for side in patch.active))] += duration
        return after, np.full(len(windows), duration)

    def observe(self, states):
        flat = states.reshape(len(states), -1)
        return np.stack([flat.mean(axis=1), (flat**2).mean(axis=1)], axis=1)

    observe_patch = observe

    def observable_increment(self, before, after, patch, around=ALONE):
        return self.observe(patch.cut(after)) - self.observe(patch.cut(before))


@pytest.fixture
def make_clock():
    return lambda dimension: ClockSystem(Parameters(), dimension)


@pytest.fixture(scope="session")
def boltzmann():
    """All states of a small periodic lattice, their probabilities and (m, energy) classes."""

    def enumerate_states(shape, temperature, field):
        n = int(np.prod(shape))
        spins = (np.arange(2**n)[:, None] >> np.arange(n) & 1) * 2 - 1
        states = spins.reshape(-1, *shape)
        bonds = sum((states * np.roll(states, 1, axis)).sum(axis=(1, 2)) for axis in (1, 2))
        magnetisation = spins.sum(axis=1)
        weight = np.exp((bonds + field * magnetisation - 2 * n) / temperature)
        key = np.stack([magnetisation, bonds], axis=1)
        classes = np.unique(key, axis=0, return_inverse=True)[1].reshape(-1)
        return states[:, None].astype(np.int8), weight / weight.sum(), classes

    return enumerate_states
