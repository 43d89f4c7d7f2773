"""A deterministic predator-prey field on a line, with the forces on its coordinates."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from macrodyn.lattice import Shape
from macrodyn.streams import Seeds
from macrodyn.systems.force_system import ForceSystem
from macrodyn.systems.predator_prey_pde import kernels
from macrodyn.systems.predator_prey_pde.parameters import PredatorPreyPDEParameters
from macrodyn.systems.shared.checks import chosen_coordinates, macrostates, particle_states
from macrodyn.systems.shared.steps import record_steps
from macrodyn.systems.space import Component, Observable, Particles


class PredatorPreyPDE(ForceSystem):
    """Densities of prey u and predators v on the n sites of a line with closed ends.

    ::

        du/dt = u (1 - u - v) + D lap u
        dv/dt = a v (u - b) + lap v

    with lap = [1, -2, 1] between sites. Beyond an end stands a copy of the end site, so that
    nothing flows out (Neumann). These are the equations of `PredatorPrey` without noise. The
    observables are the two means. Initial states are the waves u = m + k cos(10 pi x), v = 1 - u,
    with x = (i + 1/2) ``spacing``: on 50 sites, with the spacing 0.01, the published waves
    m + k cos(5 pi (i + 1/2)/50).

    Trajectories are computed in float64 by the classical Runge-Kutta scheme. Between two records
    all steps are equal: their number is the smallest that makes them no longer than ``step``.

    Source: the equations, the parameters and the waves: arXiv:2410.23938.
    """

    space: ClassVar[Particles] = Particles(("u", "v"))
    observables = (
        Observable("prey", label=r"mean prey density $\bar u$"),
        Observable("predator", label=r"mean predator density $\bar v$"),
    )
    macrostate = (Component("mean", 0.0, 1.0), Component("amplitude", 0.0, 0.5))
    time_unit = "1"
    Parameters = PredatorPreyPDEParameters
    parameters: PredatorPreyPDEParameters

    def initial_states(
        self, macrostate: NDArray[np.float64], shape: Shape, seeds: Seeds
    ) -> NDArray[np.float64]:
        """Make waves u = m + k cos(10 pi x), v = 1 - u; nothing is random.

        Args:
            macrostate: Mean m and amplitude k of each state, shape [batch, 2].
            shape: Sites, (n,).
            seeds: Not used but for their number, shape [batch].

        Returns:
            States, shape [batch, n, 2].

        Raises:
            ValueError: If a density would be negative, or the line has more than one axis.
        """
        if len(shape) != 1:
            raise ValueError(f"a line has one number of sites, (n,), not {shape}")
        given = macrostates(macrostate, self.component_names, len(seeds))
        mean, amplitude = given[:, :1], given[:, 1:]
        within = (amplitude >= 0) & (amplitude <= np.minimum(mean, 1.0 - mean))
        if not within.all():
            bad = given[~within[:, 0]][0]
            raise ValueError(
                f"mean {bad[0]} with amplitude {bad[1]} makes negative densities: the amplitude "
                "must lie between 0 and the smaller of mean and 1 - mean"
            )
        (n,) = shape
        spacing = self.parameters.spacing or 1.0 / n
        prey = mean + amplitude * np.cos(10.0 * np.pi * spacing * (np.arange(n) + 0.5))
        return np.stack([prey, 1.0 - prey], axis=-1)

    def observe(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """Measure the mean densities of prey and predators: [batch, 2]."""
        return particle_states(states, 2).mean(axis=1)

    def trajectories(
        self, states: NDArray[np.float64], times: NDArray[np.float64], seeds: Seeds
    ) -> NDArray[np.float64]:
        """Follow lines through time; see `ForceSystem.trajectories`. Nothing is random.

        Raises:
            ValueError: If states or times are wrong.
            FloatingPointError: If a density has run away.
        """
        states, p = particle_states(states, 2), self.parameters
        steps, lengths = record_steps(times, p.step)
        found = np.empty((len(states), len(steps), *states.shape[1:]))
        kernels.advance(states, steps, lengths, p.conversion, p.threshold, p.diffusion, found)
        if not np.isfinite(found).all():
            raise FloatingPointError(
                f"a density ran away to infinity: choose a smaller step than {p.step}, or other "
                "initial states"
            )
        return found

    def check_times(self, times: NDArray[np.float64], shape: Shape) -> None:
        """Refuse shapes that are no lines."""
        if len(shape) != 1:
            raise ValueError(f"size is {list(shape)}: give the number of sites, as [50]")
        record_steps(times, self.parameters.step)

    def forces(
        self, states: NDArray[np.float64], coordinates: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Compute the rates of change of some densities; see `ForceSystem.forces`.

        Raises:
            ValueError: If the shapes do not fit each other.
            IndexError: If there is no such coordinate.
        """
        states, p = particle_states(states, 2), self.parameters
        chosen = chosen_coordinates(coordinates, states)
        return kernels.forces(states, chosen, p.conversion, p.threshold, p.diffusion)

    def gradient(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the gradients of the two means, 1/n at their own species.

        See `ForceSystem.gradient`.
        """
        n = states.shape[1]
        means = np.eye(2)[:, None, :] / n
        return np.broadcast_to(means, (len(states), 2, n, 2))

    def complement(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the densities less their means: [batch, n, 2]; see `ForceSystem.complement`."""
        return states - states.mean(axis=1, keepdims=True)

    def pull_back(
        self, states: NDArray[np.float64], modes: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the modes less their means, by species; see `ForceSystem.pull_back`.

        Their sum with the gradient of a mean, over all coordinates, is zero.
        """
        gradients = modes - modes.mean(axis=-2, keepdims=True)
        return np.broadcast_to(gradients, (len(states), *modes.shape[-3:]))
