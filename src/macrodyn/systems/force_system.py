"""What partial forces asks of a system: trajectories, and forces on some of the coordinates."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from macrodyn.lattice import Shape
from macrodyn.streams import Seeds
from macrodyn.systems.base import System
from macrodyn.systems.space import Particles


@dataclass(frozen=True, kw_only=True)
class Projection:
    """What becomes of a mode m, a linear function of `ForceSystem.complement`.

    Within some coordinates it is scale (m - direction (m.direction) / |direction|^2), outside of
    these it stays as it is.

    Attributes:
        scale: Of each state, shape [batch].
        direction: Of each state, over these coordinates, shape [batch, number of them].
        where: Which coordinates they are, shape [N].
    """

    scale: NDArray[np.float64]
    direction: NDArray[np.float64]
    where: NDArray[np.bool_]

    def of(self, modes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Project modes, [mode, particle, component] to [batch, mode, particle, component]."""
        flat = modes.reshape(len(modes), -1)
        found = np.repeat(flat[None], len(self.scale), axis=0)
        for here, scale, direction in zip(found, self.scale, self.direction, strict=True):
            if len(direction):
                share = flat[:, self.where] @ direction / (direction @ direction)
                here[:, self.where] -= np.outer(share, direction)
            here[:, self.where] *= scale
        return found.reshape(-1, *modes.shape)


class ForceSystem(System):
    """A deterministic system dx/dt = f(x) of N numbers x: n particles of some components each.

    States are arrays ``[batch, particle, component]``. A coordinate is one of the N numbers,
    counted particle by particle: component c of particle i is the coordinate
    ``i * len(space.components) + c``. The force f_j on it is its rate of change: of a position the
    velocity, of a velocity the acceleration. A field's particles are the sites of its grid.

    Attributes:
        space: What a state is.
        known: Components whose rates of change stand in the state itself, such as positions, whose
            rates are the velocities: they cost nothing.
        together: Whether the forces on all other components of a particle are computed together,
            as those on an atom are; else each coordinate is one of its own.
        descriptor_names: Names of what `descriptors` gives; none if the system has none.
    """

    space: ClassVar[Particles]
    known: ClassVar[tuple[str, ...]] = ()
    together: ClassVar[bool] = False
    descriptor_names: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def trajectories(
        self, states: NDArray[np.float64], times: NDArray[np.float64], seeds: Seeds
    ) -> NDArray[np.float64]:
        """Follow states through time.

        Args:
            states: States at time 0, shape [batch, particle, component]; left unchanged.
            times: Record times, growing, shape [time]; 0 records the states as they are.
            seeds: One stream per state, shape [batch], uint64, for what is random, if anything is,
                such as a thermostat.

        Returns:
            Recorded states, shape [batch, time, particle, component].
        """

    @abstractmethod
    def forces(
        self, states: NDArray[np.float64], coordinates: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Compute the forces on some coordinates, at no more than their share of the cost.

        Where all N forces cost N units of work, p of them must cost about p: only what acts on the
        chosen coordinates is computed. The values are those of a computation of all forces.

        Args:
            states: Shape [batch, particle, component]; left unchanged.
            coordinates: Numbers of p coordinates of each state, shape [batch, p].

        Returns:
            Forces f_j on them, per unit of time, shape [batch, p].
        """

    @abstractmethod
    def gradient(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the gradients of the observables: their rows of the encoder's Jacobian.

        Args:
            states: Shape [batch, particle, component].

        Returns:
            Derivatives of each observable by each coordinate, shape
            [batch, observable, particle, component].
        """

    def check_times(self, times: NDArray[np.float64], shape: Shape) -> None:
        """Refuse record times that trajectories of such a size cannot have; told before any job.

        Args:
            times: Record times, shape [time].
            shape: Sites along each axis; of particles their number, (n,).

        Raises:
            ValueError: If the integrator's step does not fit; the message says what to do.
        """
        return None

    def known_rates(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """Read the rates of change of the ``known`` components from states.

        Args:
            states: Shape [batch, particle, component].

        Returns:
            Shape [batch, particle, known component].
        """
        return np.empty((*states.shape[:2], 0))

    def complement(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return coordinates y of the states that do not feel the observables.

        Functions of y have gradients orthogonal to those of the observables, so that the encoder's
        Jacobian is well conditioned: a mean is taken off, or velocities are divided by their
        norm. The states themselves, where a system knows nothing better.

        Args:
            states: Shape [batch, particle, component].

        Returns:
            As many numbers, of the same shape and in the same units.
        """
        return states

    def pull_back(
        self, states: NDArray[np.float64], modes: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Compute the gradients, by the coordinates, of linear functions of `complement`.

        Args:
            states: Shape [batch, particle, component].
            modes: Coefficients of the functions, shape [function, particle, component], or
                [batch, function, particle, component] where each state has its own.

        Returns:
            Modes times the Jacobian of y, shape [batch, function, particle, component].
        """
        return np.broadcast_to(modes, (len(states), *modes.shape[-3:]))

    def projection(self, states: NDArray[np.float64]) -> Projection | None:
        """Say what `pull_back` does, where it does no more than project; it is then far cheaper.

        Args:
            states: Shape [batch, particle, component].

        Returns:
            The projection; None if `pull_back` does something else.
        """
        if type(self).pull_back is not ForceSystem.pull_back:
            return None
        batch, numbers = len(states), states[0].size
        return Projection(
            scale=np.ones(batch),
            direction=np.empty((batch, 0)),
            where=np.zeros(numbers, np.bool_),
        )

    def descriptors(self, complement: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute functions of `complement` that describe a state whichever particle is which.

        Linear modes of coordinates mean something only where all runs number their particles, and
        place them, alike. Sums over particles, or pairs, mean the same in every run.

        Args:
            complement: y, shape [batch, particle, component].

        Returns:
            Shape [batch, descriptor], by ``descriptor_names``.
        """
        return np.empty((len(complement), 0))

    def descriptor_rows(self, complement: NDArray[np.float64]) -> NDArray[np.float64]:
        """Differentiate `descriptors` by y.

        Args:
            complement: y, shape [batch, particle, component].

        Returns:
            Shape [batch, descriptor, particle, component].
        """
        return np.empty((len(complement), 0, *complement.shape[1:]))
