"""The Lennard-Jones fluid in a periodic box, moved by LAMMPS."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from macrodyn.lattice import Shape
from macrodyn.streams import Seeds, substreams
from macrodyn.systems.force_system import ForceSystem, Projection
from macrodyn.systems.lennard_jones.cells import CellList
from macrodyn.systems.lennard_jones.descriptors import RadialSplines
from macrodyn.systems.lennard_jones.pair import lennard_jones_forces
from macrodyn.systems.lennard_jones.parameters import LARGEST_SEED, LennardJonesParameters
from macrodyn.systems.shared.lammps.process import LammpsProcess
from macrodyn.systems.space import Component, Observable, Particles

X, V = slice(0, 3), slice(3, 6)
TEMPERATURE = Observable("temperature", (0.0, math.inf), "temperature $T$")
# Radial functions of pairs, between the closest distance and the cutoff.
SPLINES = 12
# The temperature that the velocities of the complement have.
_COMPLEMENT_TEMPERATURE = 1.0


class LennardJones(ForceSystem):
    """Atoms that attract and repel by pairs, without a thermostat; the temperature is observed.

    ::

        dx_i/dt = v_i
        dv_i/dt = -Σ_j ∇_i u(r_ij),    u(r) = 4 (r^-12 - r^-6) for r below the cutoff, else 0

    in reduced units, in a periodic cube of the given density, with T = Σ v² / (3 (N - 1)).
    Positions are unwrapped: an atom that leaves the box on one side goes on. Momentum is zero and
    kept.

    LAMMPS prepares the states and follows them, by velocity Verlet (NVE), in a process of its own.
    Forces and observables are computed here. All are the same to the last bit for the same seed
    and parameters, whatever else is in the batch.

    Source: the setting of arXiv:2410.23938, with 800 to 51,200 atoms.
    """

    space: ClassVar[Particles] = Particles(("x", "y", "z", "v_x", "v_y", "v_z"))
    known: ClassVar[tuple[str, ...]] = ("x", "y", "z")
    together: ClassVar[bool] = True
    descriptor_names: ClassVar[tuple[str, ...]] = tuple(
        f"{name}_{number}" for name in ("pairs", "pair_flow") for number in range(1, SPLINES + 1)
    )
    observables: ClassVar[tuple[Observable, ...]] = (TEMPERATURE,)
    macrostate = (Component("temperature", 0.0, label="initial temperature $T_0$"),)
    time_unit = "1"
    Parameters = LennardJonesParameters
    parameters: LennardJonesParameters

    def __init__(self, parameters: LennardJonesParameters, **named: Any) -> None:
        super().__init__(parameters, **named)
        self._shared: dict[int, NDArray[np.float64]] = {}

    def box(self, atoms: int) -> float:
        """Side of the box of so many atoms."""
        return float((atoms / self.parameters.density) ** (1 / 3))

    def initial_states(
        self, macrostate: NDArray[np.float64], shape: Shape, seeds: Seeds
    ) -> NDArray[np.float64]:
        """Draw random positions, barely relaxed, and Gaussian velocities scaled to a temperature.

        Overlaps are all that the relaxation takes away, so that the potential energy then turns
        into heat: the temperature rises steeply, which is what there is to learn.

        Args:
            macrostate: Initial temperature of each state, shape [batch, 1].
            shape: Atoms, (n,).
            seeds: One stream per state, shape [batch], uint64, for the start ``independent``; those
                of the start ``shared`` are parameters.

        Returns:
            States, shape [batch, n, 6].

        Raises:
            ValueError: If there are fewer than two atoms, or a temperature is negative.
            LammpsError: If LAMMPS fails.
            LammpsMissingError: If LAMMPS cannot be loaded.
        """
        macrostate = np.asarray(macrostate, dtype=np.float64)
        if macrostate.shape != (len(seeds), 1):
            raise ValueError(
                f"initial macrostates of shape {macrostate.shape} should be {(len(seeds), 1)}: a "
                "temperature for each state"
            )
        if not (np.isfinite(macrostate).all() and (macrostate >= 0).all()):
            raise ValueError("an initial temperature is negative or not finite")
        if len(shape) != 1 or shape[0] < 2:
            raise ValueError(f"a shape of atoms is their number, (n,) of 2 or more, not {shape}")
        (n,) = shape
        states = np.empty((len(seeds), n, 6))
        wanted = macrostate[:, 0]
        for state, start, t in zip(states, self._starts(n, seeds), wanted, strict=True):
            state[:, X] = start[:, X]
            state[:, V] = start[:, V] * math.sqrt(t / temperature(start))
        return states

    def trajectories(
        self, states: NDArray[np.float64], times: NDArray[np.float64], seeds: Seeds
    ) -> NDArray[np.float64]:
        """Follow states at constant energy; nothing is random. See `ForceSystem.trajectories`.

        Raises:
            ValueError: If a record time is no multiple of ``step``, or they do not grow.
            LammpsError: If LAMMPS fails, such as by atoms that run away.
            LammpsMissingError: If LAMMPS cannot be loaded.
        """
        steps = self._steps(np.asarray(times, dtype=np.float64))
        n = states.shape[1]
        found = np.empty((len(states), len(steps), n, 6))
        for state, record in zip(states, found, strict=True):
            parts = self._lammps.ask(
                "follow", [state, steps], **self._setting(n), step=self.parameters.step
            )
            for number, (after,) in enumerate(parts):
                record[number] = after
        return found

    def check_times(self, times: NDArray[np.float64], shape: Shape) -> None:
        """Refuse times that are no multiples of the step, and shapes that number no atoms."""
        if len(shape) != 1:
            raise ValueError(f"size is {list(shape)}: give the number of atoms, as [800]")
        self._steps(np.asarray(times, dtype=np.float64))

    def observe(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """Measure the temperature: [batch, 1]."""
        return np.array([[temperature(state)] for state in states]).reshape(-1, 1)

    def forces(
        self, states: NDArray[np.float64], coordinates: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Compute velocities, and accelerations of chosen atoms by a list of their neighbours.

        See `ForceSystem.forces`. An atom of which several components are chosen is looked at once.
        """
        particle, component = np.divmod(coordinates, 6)
        rows = np.arange(len(states))[:, None]
        # What is wanted of a position is its velocity.
        found = states[rows, particle, np.minimum(component + 3, 5)]
        for row, state in enumerate(states):
            of_velocity = component[row] >= 3
            atoms, back = np.unique(particle[row, of_velocity], return_inverse=True)
            if len(atoms):
                forces = lennard_jones_forces(self.cells(state), atoms)
                found[row, of_velocity] = forces[back, component[row, of_velocity] - 3]
        return found

    def gradient(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """Differentiate the temperature: 2 v / (3 (N - 1)). See `ForceSystem.gradient`."""
        found = np.zeros((len(states), len(self.observables), *states.shape[1:]))
        found[:, 0, :, V] = states[..., V] * (2.0 / degrees_of_freedom(states.shape[1]))
        return found

    def known_rates(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """Read the velocities: [batch, n, 3]."""
        return states[..., V]

    def complement(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return positions, and velocities scaled to the temperature 1: y = (x, c v / |v|).

        |v| is the norm over all atoms, and c = √(3 (N - 1)) that of the temperature 1, whatever
        the parameters. The temperature is a function of |v| alone, so y does not feel it.

        Args:
            states: Shape [batch, n, 6].

        Returns:
            Shape [batch, n, 6].

        Raises:
            ValueError: If no atom moves.
        """
        found = states.copy()
        found[..., V] *= self._scale(states)[:, None, None]
        return found

    def pull_back(
        self, states: NDArray[np.float64], modes: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Compute gradients of linear functions of `complement`: c/|v| (m - v̂ (v̂·m)) by v.

        See `ForceSystem.pull_back`.
        """
        scale = self._scale(states)
        found = np.empty((len(states), *modes.shape[-3:]))
        found[:] = modes
        v = states[..., V]
        flat = v.reshape(len(states), -1)
        # [batch, function]; no product of matrices, whose last bits depend on the batch.
        turned = modes[..., V].reshape(*modes.shape[:-2], -1)
        along = np.einsum("bi,bfi->bf" if modes.ndim == 4 else "bi,fi->bf", flat, turned)
        along /= np.einsum("bi,bi->b", flat, flat)[:, None]
        found[..., V] -= along[:, :, None, None] * v[:, None]
        found[..., V] *= scale[:, None, None, None]
        return found

    def projection(self, states: NDArray[np.float64]) -> Projection:
        """Within the velocities modes lose their part along v; see `pull_back`."""
        where = np.zeros(states.shape[1:], np.bool_)
        where[:, V] = True
        return Projection(
            scale=self._scale(states),
            direction=states[..., V].reshape(len(states), -1),
            where=where.ravel(),
        )

    def descriptors(self, complement: NDArray[np.float64]) -> NDArray[np.float64]:
        """Count pairs by their distance, and their rates of change, by `RadialSplines`."""
        found = np.empty((len(complement), len(self.descriptor_names)))
        for row, y in zip(found, complement, strict=True):
            row[:] = self._splines.values(self.cells(y), y[:, V])
        return found

    def descriptor_rows(self, complement: NDArray[np.float64]) -> NDArray[np.float64]:
        """Differentiate the descriptors; see `ForceSystem.descriptor_rows`."""
        found = np.empty((len(complement), len(self.descriptor_names), *complement.shape[1:]))
        for rows, y in zip(found, complement, strict=True):
            rows[:] = self._splines.rows(self.cells(y), y[:, V])
        return found

    @property
    def _splines(self) -> RadialSplines:
        return RadialSplines(number=SPLINES, cutoff=self.parameters.cutoff)

    def evaluate(
        self, states: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Let LAMMPS compute all forces, and what it observes: to compare with.

        Args:
            states: Shape [batch, n, 6].

        Returns:
            Forces, shape [batch, n, 3], and temperature, potential energy per atom and pressure,
            shape [batch, 3].

        Raises:
            LammpsError: If LAMMPS fails.
            LammpsMissingError: If LAMMPS cannot be loaded.
        """
        found = [
            part
            for state in states
            for part in self._lammps.ask("evaluate", [state], **self._setting(state.shape[0]))
        ]
        forces, observed = zip(*found, strict=True)
        return np.array(forces), np.array(observed)

    @cached_property
    def _lammps(self) -> LammpsProcess:
        return LammpsProcess("macrodyn.systems.lennard_jones.worker")

    def _setting(self, atoms: int) -> dict[str, Any]:
        return {"side": self.box(atoms), "cutoff": self.parameters.cutoff}

    def cells(self, state: NDArray[np.float64]) -> CellList:
        """Sort the atoms of a state, [n, 6], into cells."""
        return CellList.of(state, self.box(len(state)), self.parameters.cutoff)

    def _starts(self, atoms: int, seeds: Seeds) -> Iterator[NDArray[np.float64]]:
        """Yield states of some temperature, one for each seed."""
        p = self.parameters
        if p.start == "shared":
            if atoms not in self._shared:
                self._shared[atoms] = self._start(atoms, p.start_seed, p.velocity_seed)
            for _ in seeds:
                yield self._shared[atoms]
            return
        drawn = [substreams(seeds, number) % np.uint64(LARGEST_SEED) for number in (0, 1)]
        for positions, velocities in zip(*drawn, strict=True):
            yield self._start(atoms, int(positions) + 1, int(velocities) + 1)

    def _start(self, atoms: int, positions: int, velocities: int) -> NDArray[np.float64]:
        ((state,),) = self._lammps.ask(
            "start",
            atoms=atoms,
            energy=self.parameters.start_energy,
            positions=positions,
            velocities=velocities,
            **self._setting(atoms),
        )
        return state

    def _steps(self, times: NDArray[np.float64]) -> NDArray[np.int64]:
        """Turn record times into numbers of steps."""
        step = self.parameters.step
        ratio = times / step
        steps = np.rint(ratio)
        off = np.abs(ratio - steps) > 1e-6
        if off.any():
            raise ValueError(
                f"the record time {times[off][0]:g} is no multiple of the step {step:g}: choose "
                "other times, or another step in system.parameters"
            )
        if not ((steps >= 0).all() and (np.diff(steps) > 0).all()):
            raise ValueError("record times must be 0 or more, and grow")
        return steps.astype(np.int64)

    @staticmethod
    def _scale(states: NDArray[np.float64]) -> NDArray[np.float64]:
        """Factors that bring velocities to the temperature of the complement, [batch]."""
        temperatures = np.array([temperature(state) for state in states])
        if not (temperatures > 0).all():
            raise ValueError("no atom of a state moves: the complement needs velocities")
        return np.sqrt(_COMPLEMENT_TEMPERATURE / temperatures)


def degrees_of_freedom(atoms: int) -> int:
    """Return the degrees of freedom of atoms whose centre does not move."""
    return 3 * (atoms - 1)


def temperature(state: NDArray[np.float64]) -> float:
    """Measure the temperature of one state, [n, 6]."""
    v = state[:, V]
    return float(np.einsum("ic,ic->", v, v)) / degrees_of_freedom(len(state))
