"""A microscopic system of your own: voters on a ring. docs/own-system.md says what may change."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from macrodyn.lattice import ALONE, PatchGeometry, Shape, Surroundings
from macrodyn.streams import Seeds, substreams
from macrodyn.systems import Component, Grid, Observable, Parameters, PatchSystem

Floats = NDArray[np.float64]


class MySystemParameters(Parameters):
    """What a configuration may set; a number outside of its limits is refused before any job."""

    noise: float = Field(default=0.1, gt=0, le=10, description="Rate of changes of one's own.")


class MySystem(PatchSystem):
    """Voters on a ring: opinions 0 and 1.

    A site changes its opinion at the rate noise + (neighbours of the other opinion) / 2.
    """

    version = 1  # raise it whenever the same parameters give other results
    space = Grid("species", dimension=1, species=2, labels={0: "against", 1: "for"})
    observables = (
        Observable("density", (0.0, 1.0), r"share of opinion 1 $\rho$"),
        Observable("boundaries", (0.0, 1.0), r"unlike neighbour pairs $b$"),
    )
    macrostate = (Component("density", 0.0, 1.0),)  # what initial_states takes
    time_unit = "copying time"
    Parameters = MySystemParameters
    parameters: MySystemParameters

    def initial_states(self, macrostate: Floats, shape: Shape, seeds: Seeds) -> NDArray:
        """Draw states of any size.

        Args:
            macrostate: Expected density, [batch, 1].
            shape: Sites along each axis.
            seeds: One for each state.

        Returns:
            States, [batch, channel, *lattice].
        """
        states = np.empty((len(seeds), 1, *shape), dtype=np.uint8)
        for state, density, key in zip(states, macrostate[:, 0], seeds, strict=True):
            state[0] = np.random.Generator(np.random.Philox(key=int(key))).random(shape) < density
        return states

    def evolve(self, states: NDArray, duration: float, seeds: Seeds) -> NDArray:
        """Return whole rings after a time; those given stay as they are."""
        return self._advance(states, 0, states.shape[2], duration, seeds)

    def evolve_patch(
        self,
        windows: NDArray,
        patch: PatchGeometry,
        duration: float,
        seeds: Seeds,
        events: int | None = None,
        around: Surroundings = ALONE,
    ) -> tuple[NDArray, Floats]:
        """Return patches after a time, the halo around them as it was; and the times."""
        halo = patch.margin - patch.buffer
        after = self._advance(windows, halo, patch.active[0], duration, seeds)
        return after, np.full(len(windows), duration)

    def observe(self, states: NDArray) -> Floats:
        """Return means of local terms over whole rings, [batch, observable]."""
        x = states[:, 0]
        return np.stack([x.mean(axis=1), (x != np.roll(x, -1, axis=1)).mean(axis=1)], axis=1)

    def observe_patch(self, patches: NDArray) -> Floats:
        """Return the same, from what is inside of patches."""
        x = patches[:, 0]
        unlike = (x[:, 1:] != x[:, :-1]).sum(axis=1) / max(x.shape[1] - 1, 1)
        return np.stack([x.mean(axis=1), unlike], axis=1)

    def observable_increment(
        self, before: NDArray, after: NDArray, patch: PatchGeometry, around: Surroundings = ALONE
    ) -> Floats:
        """Return changes of the observables; a pair across the patch's edge counts in full."""
        if patch.boundary == "periodic":
            return self.observe(after) - self.observe(before)
        side, margin = patch.shape[0], patch.margin

        def measure(windows: NDArray) -> Floats:
            x = windows[:, 0, margin - 1 : margin + side + 1]
            unlike = (x[:, 1:] != x[:, :-1]).sum(axis=1) / side
            return np.stack([x[:, 1:-1].mean(axis=1), unlike], axis=1)

        return patch.attribute(measure, before, after)

    def _advance(
        self, states: NDArray, first: int, count: int, duration: float, seeds: Seeds
    ) -> NDArray:
        """Change sites first to first + count - 1 one by one, at exact times.

        Sites are tried at the highest rate that there is, and changed with probability
        rate / highest. Each state reads a random stream of its own, so that it does not matter
        which others are in the batch.
        """
        x = states[:, 0].copy()
        noise = self.parameters.noise
        highest = noise + 1.0
        rows, length = np.arange(len(x)), x.shape[1]
        time, step = np.zeros(len(x)), 0
        while True:
            wait, accept = _uniforms(substreams(seeds, 2 * step))
            place, _ = _uniforms(substreams(seeds, 2 * step + 1))
            step += 1
            time -= np.log1p(-wait) / (count * highest)
            going = time < duration
            if not going.any():
                return x[:, None]
            site = first + (place * count).astype(int)
            here = x[rows, site]
            unlike = (x[rows, site - 1] != here) * 1.0 + (x[rows, (site + 1) % length] != here)
            x[rows, site] ^= going & (accept * highest < noise + unlike / 2)


def _uniforms(words: Seeds) -> tuple[Floats, Floats]:
    """Make two numbers in [0, 1) of each random word."""
    return (words >> np.uint64(32)) / 2.0**32, (words & np.uint64(0xFFFFFFFF)) / 2.0**32
