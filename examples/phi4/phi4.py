"""A field of your own that knows its forces: the stochastic phi^4 equation on a ring."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import Field

from macrodyn.lattice import ALONE, PatchGeometry, Shape, Surroundings
from macrodyn.streams import Seeds
from macrodyn.systems import Component, Grid, Observable, Parameters, PatchSystem
from macrodyn.systems.shared.philox import philox_block

Floats = NDArray[np.float64]


class Phi4Parameters(Parameters):
    """Parameters of the equation of `Phi4`; all quantities are without dimension."""

    field: float = Field(default=0.1, description="h: uniform field.")
    noise: float = Field(default=1.0, ge=0, description="s: noise per site and root of time.")
    step: float = Field(
        default=0.05, gt=0, le=0.2, description="Longest time step; the weak order is 2."
    )


class Phi4(PatchSystem):
    """A field phi_i on a ring in the double well of phi^4 / 4 - phi^2 / 2.

    ::

        d phi_i = (phi_i - phi_i^3 + phi_{i-1} - 2 phi_i + phi_{i+1} + h) dt + s dW_i

    with independent noise at each site. It is advanced by Heun's scheme in equal steps.
    """

    space = Grid("field", dimension=1)
    observables = (
        Observable("field", label=r"mean field $\varphi$"),
        Observable("square", (0.0, math.inf), r"mean square $q$"),
    )
    macrostate = (Component("mean", -3.0, 3.0), Component("spread", 0.0, 3.0))
    Parameters = Phi4Parameters
    parameters: Phi4Parameters

    def initial_states(self, macrostate: Floats, shape: Shape, seeds: Seeds) -> NDArray:
        """Draw independent normal numbers of the given mean and standard deviation."""
        states = np.empty((len(seeds), 1, *shape))
        for state, (mean, spread), key in zip(states, macrostate, seeds, strict=True):
            state[0] = mean + spread * _stream(key).standard_normal(shape)
        return states

    def evolve(self, states: NDArray, duration: float, seeds: Seeds) -> NDArray:
        """Evolve whole rings."""
        ring = PatchGeometry(states.shape[2:], boundary="periodic")
        return self._advance(states, ring, duration, seeds)[0]

    def evolve_patch(
        self,
        windows: NDArray,
        patch: PatchGeometry,
        duration: float,
        seeds: Seeds,
        events: int | None = None,
        around: Surroundings = ALONE,
    ) -> tuple[NDArray, Floats]:
        """Evolve the patch and its buffer; the halo around them stays as it is."""
        after, _ = self._advance(windows, patch, duration, seeds)
        return after, np.full(len(windows), duration)

    def observe(self, states: NDArray) -> Floats:
        """Means of the field and of its square."""
        return np.stack([states[:, 0].mean(axis=1), (states[:, 0] ** 2).mean(axis=1)], axis=1)

    def observe_patch(self, patches: NDArray) -> Floats:
        """The same of the patch's sites."""
        return self.observe(patches)

    def observable_increment(
        self, before: NDArray, after: NDArray, patch: PatchGeometry, around: Surroundings = ALONE
    ) -> Floats:
        """Both are sums over single sites: no pair crosses the edge."""
        return self.observe(patch.cut(after)) - self.observe(patch.cut(before))

    def expected_rates(
        self, windows: NDArray, patch: PatchGeometry, around: Surroundings = ALONE
    ) -> Floats:
        """Mean over the patch's sites of the force f and, by Ito's formula, of 2 phi f + s^2."""
        x = windows[:, 0]
        if patch.boundary == "periodic":
            x = np.pad(x, ((0, 0), (1, 1)), "wrap")
        else:
            x = x[:, patch.margin - 1 : patch.margin + patch.shape[0] + 1]
        low, x, high = x[:, :-2], x[:, 1:-1], x[:, 2:]
        force = low + high - x - x**3 + self.parameters.field
        square = 2.0 * x * force + self.parameters.noise**2
        return np.stack([force.mean(axis=1), square.mean(axis=1)], axis=1)

    def evolve_compensated(
        self,
        windows: NDArray,
        patch: PatchGeometry,
        duration: float,
        seeds: Seeds,
        around: Surroundings = ALONE,
    ) -> tuple[NDArray, Floats]:
        """Take from the increment what the noise alone has made of it, which is zero on average.

        That is exact for the scheme, at any step. Without this method the rates would be integrated
        by Simpson's rule.
        """
        after, martingale = self._advance(windows, patch, duration, seeds)
        return after, self.observable_increment(windows, after, patch) - martingale

    def _advance(
        self, windows: NDArray, patch: PatchGeometry, duration: float, seeds: Seeds
    ) -> tuple[NDArray, Floats]:
        """Windows afterwards, and the mean over the patch of what the noise made: [batch, 2]."""
        p, ring = self.parameters, patch.boundary == "periodic"
        steps = math.ceil(duration / p.step * (1.0 - 1e-9))
        x = np.pad(windows[:, 0], ((0, 0), (1, 1)), "wrap") if ring else windows[:, 0].copy()
        first = 1 if ring else patch.margin - patch.buffer
        moving = first, first + patch.active[0]
        counted = first + patch.buffer, first + patch.buffer + patch.shape[0]
        step = duration / max(steps, 1)
        made = _heun(x, moving, counted, ring, p.field, p.noise, step, steps, seeds)
        if not np.isfinite(x).all():
            raise FloatingPointError(f"the field ran away: choose a smaller step than {p.step}")
        after = x[:, 1:-1] if ring else x
        return np.ascontiguousarray(after[:, None]), made / patch.shape[0]


def _stream(key: np.uint64) -> np.random.Generator:
    """The random numbers of one state: nothing else in the batch changes them."""
    return np.random.Generator(np.random.Philox(key=int(key)))


@njit(cache=True)
def _heun(windows, moving, counted, ring, field, noise, dt, steps, keys):
    """Advance windows in place by Heun's scheme.

    ::

        g  = x + f(x) dt + s dW
        x' = x + (f(x) + f(g)) dt / 2 + s dW

    For additive noise it has the weak order 2. Returned is what noise alone makes of the sums of x
    and x^2: s dW, and 2 x s dW + (s dW)^2 - s^2 dt.
    """
    first, last = moving
    result = np.zeros((len(windows), 2))
    force, guess = np.zeros(windows.shape[1]), np.zeros(windows.shape[1])
    kick = np.zeros(windows.shape[1] + 4)
    size = noise * np.sqrt(dt)
    for number in range(len(windows)):
        x, total, key = windows[number], result[number], keys[number]
        guess[:] = x
        for step in range(steps):
            _kicks(kick, first, last, size, step, key)
            for i in range(counted[0], counted[1]):
                total[0] += kick[i]
                total[1] += (2.0 * x[i] + kick[i]) * kick[i] - size**2
            for i in range(first, last):
                force[i] = x[i - 1] + x[i + 1] - x[i] - x[i] ** 3 + field
            for i in range(first, last):
                guess[i] = x[i] + dt * force[i] + kick[i]
            if ring:
                guess[first - 1], guess[last] = guess[last - 1], guess[first]
            for i in range(first, last):
                force[i] += guess[i - 1] + guess[i + 1] - guess[i] - guess[i] ** 3 + field
            for i in range(first, last):
                x[i] += 0.5 * dt * force[i] + kick[i]
            if ring:
                x[first - 1], x[last] = x[last - 1], x[first]
    return result


@njit(cache=True)
def _kicks(kick, first, last, size, step, key):
    """Normal numbers of a step, four from each block of the state's own stream (Box, Muller)."""
    k0, k1 = key & np.uint64(0xFFFFFFFF), key >> np.uint64(32)
    zero = np.uint64(0)
    for i in range(first, last, 4):
        words = philox_block(np.uint64(i), np.uint64(step), zero, zero, k0, k1)
        for pair in range(2):
            radius = size * np.sqrt(-2.0 * np.log((words[2 * pair] + 0.5) / 2.0**32))
            angle = 2.0 * np.pi * (words[2 * pair + 1] / 2.0**32)
            kick[i + 2 * pair] = radius * np.cos(angle)
            kick[i + 2 * pair + 1] = radius * np.sin(angle)
