"""The Lennard-Jones fluid, of which energy and pressure are observed too."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from macrodyn.systems.lennard_jones.pair import (
    ENERGY,
    FORCE,
    VIRIAL,
    VIRIAL_GRADIENT,
    pair_terms,
)
from macrodyn.systems.lennard_jones.system import (
    TEMPERATURE,
    LennardJones,
    V,
    X,
    degrees_of_freedom,
    temperature,
)
from macrodyn.systems.space import Observable


class LennardJonesThermo(LennardJones):
    """The Lennard-Jones fluid, with temperature, energy per atom and pressure as observables.

    With w(r) = -r u'(r), a sum over pairs, and the volume V::

        P = (Σ v² + Σ w(r_ij)) / (3 V)

    What an observable jumps by when a pair crosses the cutoff is not in its gradient. The
    complement knows of the temperature alone; the gradients of the other two cost all forces.
    """

    observables = (
        TEMPERATURE,
        Observable("potential_energy", label="potential energy per atom $u$"),
        Observable("pressure", label="pressure $P$"),
    )

    def observe(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """Measure temperature, potential energy per atom and pressure: [batch, 3]."""
        found = np.empty((len(states), 3))
        for row, state in zip(found, states, strict=True):
            terms = self._all_terms(state)
            kinetic = degrees_of_freedom(len(state)) * temperature(state)
            volume = self.box(len(state)) ** 3
            row[0] = temperature(state)
            row[1] = terms[:, ENERGY].mean()
            row[2] = (kinetic + terms[:, VIRIAL].sum()) / (3.0 * volume)
        return found

    def gradient(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """Differentiate the three: with forces f_i, by the position x_i -f_i / N and Σ_j ∇w / 3V.

        See `ForceSystem.gradient`.
        """
        found = super().gradient(states)
        n = states.shape[1]
        volume = self.box(n) ** 3
        for row, state in zip(found, states, strict=True):
            terms = self._all_terms(state)
            row[1, :, X] = terms[:, FORCE] / -n
            row[2, :, X] = terms[:, VIRIAL_GRADIENT] / (3.0 * volume)
            row[2, :, V] = state[:, V] * (2.0 / (3.0 * volume))
        return found

    def _all_terms(self, state: NDArray[np.float64]) -> NDArray[np.float64]:
        return pair_terms(self.cells(state), np.arange(len(state)))
