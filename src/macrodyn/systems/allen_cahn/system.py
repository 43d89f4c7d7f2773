"""The Allen-Cahn equation on a square, with the forces on its sites."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from macrodyn.lattice import Shape
from macrodyn.streams import Seeds
from macrodyn.systems.allen_cahn import energy, kernels
from macrodyn.systems.allen_cahn.parameters import AllenCahnParameters
from macrodyn.systems.allen_cahn.rings import rings
from macrodyn.systems.force_system import ForceSystem
from macrodyn.systems.shared.checks import chosen_coordinates, macrostates, particle_states
from macrodyn.systems.shared.steps import record_steps
from macrodyn.systems.space import Component, Observable, Particles

# A decaying mode of rate r is stable for dt r below this: Hairer, Wanner, Solving Ordinary
# Differential Equations II (1996), IV.2.
STABLE = 2.785

_ENERGIES = {"consistent": energy.consistent_energy, "central": energy.central_energy}
_GRADIENTS = {"consistent": energy.consistent_gradient, "central": energy.central_gradient}


class AllenCahn(ForceSystem):
    """The Allen-Cahn equation on the sites of a unit square with closed sides.

    ::

        du/dt = lap u - (u^3 - u) / eps^2,   lap = (sum of the 4 neighbours - 4 u) / h^2

    The n = side^2 sites, at ((i + 1/2) h, (j + 1/2) h) with h = 1/side, are the particles, row by
    row: site (i, j) is number i side + j. Beyond a side stands a copy of the sites at it, so that
    nothing flows out (Neumann). The observable is the free energy, with ``energy: consistent`` ::

        E = h^2 sum_i (u_i^2 - 1)^2 / (4 eps^2) + (1/2) sum_<ij> (u_i - u_j)^2,

    for which du/dt = -(1/h^2) dE/du exactly: E cannot grow. With ``central`` the gradient in it is
    taken over two sites. Initial states are rings; see `rings.rings`.

    Trajectories are computed by the classical Runge-Kutta scheme. Between two records all steps are
    equal: their number is the smallest that makes them no longer than ``step`` h^2.

    Source: equation, energy, rings and parameters: arXiv:2410.23938.
    """

    space: ClassVar[Particles] = Particles(("u",))
    observables = (Observable("energy", (0.0, math.inf), r"free energy $E$"),)
    macrostate = (
        Component("outer_radius", 0.0, 0.75, r"outer radius $r_1$"),
        Component("inner_radius", 0.0, 0.75, r"inner radius $r_2$"),
    )
    time_unit = "1"
    Parameters = AllenCahnParameters
    parameters: AllenCahnParameters

    def initial_states(
        self, macrostate: NDArray[np.float64], shape: Shape, seeds: Seeds
    ) -> NDArray[np.float64]:
        """Make rings; see `rings.rings`.

        Args:
            macrostate: Outer and inner radius of each state, shape [batch, 2].
            shape: Sites along each axis, (side, side).
            seeds: One stream per state, shape [batch], uint64; used if there is ``roughness``.

        Returns:
            States, shape [batch, side * side, 1].

        Raises:
            ValueError: If the grid is no square, or a ring has no inside.
        """
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ValueError(f"the grid is a square, with sites (side, side), not {tuple(shape)}")
        radii = macrostates(macrostate, self.component_names, len(seeds))
        right = (radii[:, 1] >= 0) & (radii[:, 0] > radii[:, 1])
        if not right.all():
            bad = radii[~right][0]
            raise ValueError(
                f"a ring of outer radius {bad[0]} and inner radius {bad[1]}: the inner radius must "
                "lie between 0 and the outer radius"
            )
        p = self.parameters
        found = rings(radii, shape[0], p.width, p.roughness, seeds)
        return found.reshape(len(found), -1, 1)

    def observe(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """Measure the free energy: [batch, 1]."""
        return _ENERGIES[self.parameters.energy](_fields(states), self.parameters.width)[:, None]

    def trajectories(
        self, states: NDArray[np.float64], times: NDArray[np.float64], seeds: Seeds
    ) -> NDArray[np.float64]:
        """Follow fields through time; see `ForceSystem.trajectories`. Nothing is random.

        Raises:
            ValueError: If states or times are wrong, or steps would be unstable.
            FloatingPointError: If a field has run away.
        """
        fields, p = _fields(states), self.parameters
        batch, side, _ = fields.shape
        self._check_stability(side)
        steps, lengths = record_steps(times, p.step / side**2)
        dtype = np.dtype(p.precision).type
        found = np.empty((batch, len(steps), side**2))
        kernels.advance(
            fields.reshape(batch, -1),
            side,
            steps,
            kernels.coefficients(lengths, 1.0 / p.width**2, float(side**2), dtype),
            dtype(1.0 / 3.0),
            found,
        )
        if not np.isfinite(found).all():
            raise FloatingPointError(
                f"a field ran away to infinity: choose a smaller step than {p.step}, or initial "
                "states between -1 and 1"
            )
        return found[..., None]

    def check_times(self, times: NDArray[np.float64], shape: Shape) -> None:
        """Refuse shapes that are no squares, and steps that would be unstable."""
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ValueError(f"size is {list(shape)}: give two equal sides, as [200, 200]")
        self._check_stability(shape[0])
        record_steps(times, self.parameters.step / shape[0] ** 2)

    def forces(
        self, states: NDArray[np.float64], coordinates: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Compute du/dt at some sites; see `ForceSystem.forces`.

        Raises:
            ValueError: If the shapes do not fit each other, or the sites are no square.
            IndexError: If there is no such site.
        """
        fields, width = _fields(states), self.parameters.width
        batch, side, _ = fields.shape
        chosen = chosen_coordinates(coordinates, states)
        return kernels.forces(
            fields.reshape(batch, -1), side, chosen, 1.0 / width**2, float(side**2)
        )

    def gradient(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the gradient of the energy; see `ForceSystem.gradient`."""
        found = _GRADIENTS[self.parameters.energy](_fields(states), self.parameters.width)
        return found.reshape(len(states), 1, -1, 1)

    def _check_stability(self, side: int) -> None:
        """Refuse steps that let the roughest mode about u = -1 and 1 grow.

        Its rate is 8 / h^2 + 2 / eps^2.
        """
        p = self.parameters
        rate = 8.0 + 2.0 / (side * p.width) ** 2  # in units of 1 / h^2
        if p.step * rate > STABLE:
            longest = math.floor(1000 * STABLE / rate) / 1000
            raise ValueError(
                f"steps of {p.step} h^2 are unstable with {side} sites along an axis and the width "
                f"{p.width}: choose a step of at most {longest:g}, or more sites"
            )


def _fields(states: NDArray[np.float64]) -> NDArray[np.float64]:
    """Check states [batch, side * side, 1], and return them as fields [batch, side, side]."""
    states = particle_states(states, 1)
    side = math.isqrt(states.shape[1])
    if side * side != states.shape[1]:
        raise ValueError(f"{states.shape[1]} sites are no square: give states of side * side sites")
    return states.reshape(len(states), side, side)
