"""What partial forces asks of a system: trajectories, and forces on some of the coordinates."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from macrodyn.streams import Seeds
from macrodyn.systems.base import System
from macrodyn.systems.space import Particles


@dataclass(frozen=True)
class Trajectories:
    """Trajectories of a batch of states.

    Attributes:
        states: Recorded states, shape [batch, time, particle, component].
        forces: Forces on the coordinates that were asked for, shape [batch, time, p]; None where
            none were.
    """

    states: NDArray[np.float64]
    forces: NDArray[np.float64] | None = None


class ForceSystem(System):
    """A deterministic system dx/dt = f(x) of N numbers x: n particles of some components each.

    States are arrays ``[batch, particle, component]``. A coordinate is one of the N numbers,
    counted particle by particle: component c of particle i is the coordinate
    ``i * len(space.components) + c``. The force f_j on it is its rate of change: of a position the
    velocity, of a velocity the acceleration.
    """

    space: ClassVar[Particles]

    @abstractmethod
    def trajectories(
        self,
        states: NDArray[np.float64],
        times: NDArray[np.float64],
        seeds: Seeds,
        coordinates: NDArray[np.int64] | None = None,
    ) -> Trajectories:
        """Follow states through time.

        Args:
            states: States at time 0, shape [batch, particle, component]; left unchanged.
            times: Record times, growing, shape [time]; 0 records the states as they are.
            seeds: One stream per state, shape [batch], uint64, for what is random, if anything is,
                such as a thermostat.
            coordinates: If given, the forces on these coordinates are recorded too: numbers of p
                of them at each time, shape [batch, time, p]. An integrator may have them at hand.

        Returns:
            The trajectories.
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
