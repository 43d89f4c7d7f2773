"""A microscopic system of your own: the contact process on a ring, with spontaneous infection."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from macrodyn.lattice import ALONE, PatchGeometry, Shape, Surroundings
from macrodyn.streams import Seeds, substreams
from macrodyn.systems import Component, Grid, Observable, Parameters, PatchSystem

Floats = NDArray[np.float64]


class ContactParameters(Parameters):
    """Rates in units of the recovery rate; times in mean lifetimes of an infection."""

    infection: float = Field(ge=0, description="Rate at which two infected neighbours infect.")
    source: float = Field(default=0.1, ge=0, description="Rate of spontaneous infection.")


class ContactProcess(PatchSystem):
    """Sites 0 (healthy) and 1 (infected) on a ring.

    An infected site recovers at rate 1; a healthy one is infected at the rate
    source + infection * (infected neighbours) / 2.
    """

    space = Grid("species", dimension=1, species=2, labels={0: "healthy", 1: "infected"})
    observables = (
        Observable("density", (0.0, 1.0), r"density of infected sites $\rho$"),
        Observable("boundaries", (0.0, 1.0), r"unlike neighbour pairs $b$"),
    )
    macrostate = (Component("density", 0.0, 1.0),)
    time_unit = "lifetime"
    Parameters = ContactParameters
    parameters: ContactParameters

    def initial_states(self, macrostate: Floats, shape: Shape, seeds: Seeds) -> NDArray:
        """Infect sites independently; the macrostate is their expected density."""
        states = np.empty((len(seeds), 1, *shape), dtype=np.uint8)
        for state, density, key in zip(states, macrostate[:, 0], seeds, strict=True):
            state[0] = np.random.Generator(np.random.Philox(key=int(key))).random(shape) < density
        return states

    def evolve(self, states: NDArray, duration: float, seeds: Seeds) -> NDArray:
        """Evolve whole rings."""
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
        """Evolve the patch and its buffer; the halo around them stays as it is."""
        halo = patch.margin - patch.buffer
        after = self._advance(windows, halo, patch.active[0], duration, seeds)
        return after, np.full(len(windows), duration)

    def observe(self, states: NDArray) -> Floats:
        """Density of infected sites, and of unlike pairs among all neighbours."""
        x = states[:, 0]
        return np.stack([x.mean(axis=1), (x != np.roll(x, -1, axis=1)).mean(axis=1)], axis=1)

    def observe_patch(self, patches: NDArray) -> Floats:
        """The same, from the pairs inside the patch."""
        x = patches[:, 0]
        unlike = (x[:, 1:] != x[:, :-1]).sum(axis=1) / max(x.shape[1] - 1, 1)
        return np.stack([x.mean(axis=1), unlike], axis=1)

    def observable_increment(
        self, before: NDArray, after: NDArray, patch: PatchGeometry, around: Surroundings = ALONE
    ) -> Floats:
        """Pairs across the edge count in full, for moves of their end inside the patch."""
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
        """Uniformisation: attempts at the highest rate there is, accepted with rate / highest.

        Attempt i of a state reads words 2i and 2i + 1 of the state's own stream, so that the
        result does not depend on what else is in the batch.
        """
        x = states[:, 0].copy()
        infection, source = self.parameters.infection, self.parameters.source
        highest = max(1.0, infection + source)
        rows, length = np.arange(len(x)), x.shape[1]
        time, i = np.zeros(len(x)), 0
        while True:
            wait, accept = _uniforms(seeds, 2 * i)
            place, _ = _uniforms(seeds, 2 * i + 1)
            i += 1
            time -= np.log1p(-wait) / (count * highest)
            going = time < duration
            if not going.any():
                return x[:, None]
            site = first + (place * count).astype(int)
            near = x[rows, (site - 1) % length] + x[rows, (site + 1) % length]
            rate = np.where(x[rows, site] == 1, 1.0, source + 0.5 * infection * near)
            x[rows, site] ^= going & (accept * highest < rate)


def _uniforms(seeds: Seeds, number: int) -> tuple[Floats, Floats]:
    """Two uniform numbers in [0, 1) of each stream."""
    words = substreams(seeds, number)
    return (words >> np.uint64(32)) / 2.0**32, (words & np.uint64(0xFFFFFFFF)) / 2.0**32
