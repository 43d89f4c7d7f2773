"""Barriers of the eight jumps of a vacancy, as a small network of the species around it.

A model is tables and small matrices, so that one kernel serves every model:

    Eb(d) = net(sum_j T[row(d, j), s_j]) + sum_j Q[row(d, j), a(d), s_j]
            + dE(d) / 2,

with s_j the species of the sites j around the vacancy, d a jump, a(d) the species of the atom that
jumps, and net a network whose first layer is the table T. dE is the change of an energy of pairs
of atoms; a model that has one keeps detailed balance if its other terms are those of the jump
back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrodyn.systems.nbmota.crystal import DIRECTIONS, VACANCY

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

# Species of a site, a vacancy included.
KINDS = 4
BOLTZMANN = 8.617333262e-5
"""In eV/K."""
RELU, TANH = 0, 1


@dataclass(frozen=True, kw_only=True)
class BarrierModel:
    """A model of barriers.

    Attributes:
        source: What the barriers come from, which every result says.
        offsets: Sites around the vacancy that it reads, in half sides, shape [n, 3].
        rows: Row of the table of each site for each jump, -1 for none, shape [8, n].
        table: First layer, shape [rows, species, width].
        lines: What each site adds, in eV, shape [rows, species that jumps, species]; no rows for
            nothing.
        bias: Its bias by the species that jumps, shape [species, width].
        weights: Further hidden layers, shape [layers, width, width], from the second index to the
            first.
        biases: Shape [layers, width].
        out: Output layer by the species that jumps, shape [species, width].
        level: Its bias, shape [species].
        shells: Squared distances of the pairs that have an energy, in half sides, shape [shells].
        energies: Energy of a pair of species in each shell, in eV, symmetric, zero for a vacancy,
            shape [shells, species, species]; no shells for a model without an energy.
        activation: `RELU` or `TANH`.
    """

    source: str
    offsets: Ints
    rows: Ints
    table: Floats
    lines: Floats
    bias: Floats
    weights: Floats
    biases: Floats
    out: Floats
    level: Floats
    shells: Ints
    energies: Floats
    activation: int

    @property
    def balanced(self) -> bool:
        """Whether it has an energy, and so keeps detailed balance."""
        return len(self.shells) > 0

    @cached_property
    def changes(self) -> tuple[Ints, Floats]:
        """What each site adds to the change of the energy, by the shells it is in before and after.

        Returns:
            Row of the table of each site for each jump, -1 for none, shape [8, n]; and the table,
            in eV, shape [rows, species that jumps, species].
        """
        shell_of = {int(square): k for k, square in enumerate(self.shells)}
        places = np.full((len(DIRECTIONS), len(self.offsets)), -1)
        rows: dict[tuple[int, int], int] = {}
        for d, direction in enumerate(DIRECTIONS):
            ends = [np.square(self.offsets - end).sum(axis=1) for end in (0, direction)]
            for j, (about_new, about_old) in enumerate(zip(*ends, strict=True)):
                key = (shell_of.get(int(about_new), -1), shell_of.get(int(about_old), -1))
                # The atom is no neighbour of its own.
                if about_old > 0 and key != (-1, -1):
                    places[d, j] = rows.setdefault(key, len(rows))
        # The last one stands for no shell.
        energies = np.concatenate([self.energies, np.zeros((1, KINDS, KINDS), np.float32)])
        table = [energies[new] - energies[old] for new, old in rows]
        return places, np.array(table, np.float32).reshape(-1, KINDS, KINDS)

    @property
    def reach(self) -> int:
        """Largest distance along an axis of a site that it reads, in half sides."""
        return int(np.abs(self.offsets).max())

    @cached_property
    def jumpers(self) -> Ints:
        """Which of its sites is the one that jumps, shape [8]."""
        matches = (self.offsets[None] == DIRECTIONS[:, None]).all(axis=2)
        return matches.argmax(axis=1)

    def evaluate(self, around: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Evaluate it plainly, in double precision.

        Args:
            around: Species of the sites, shape [batch, n].

        Returns:
            Barriers and changes of the energy in eV, each of shape [batch, 8]; infinite and zero
            where a vacancy stands.
        """
        barriers = np.full((len(around), len(DIRECTIONS)), np.inf)
        changes = np.zeros((len(around), len(DIRECTIONS)))
        places, table = self.changes
        for d, jumper in enumerate(self.jumpers):
            atom = around[:, jumper]
            used = self.rows[d] >= 0
            x = self.table[self.rows[d, used], around[:, used]].astype(np.float64).sum(axis=1)
            x = self._active(x + self.bias[atom])
            for weight, bias in zip(self.weights, self.biases, strict=True):
                x = self._active(x @ weight.T.astype(np.float64) + bias)
            found = (x * self.out[atom]).sum(axis=1) + self.level[atom]
            if len(self.lines):
                terms = self.lines[self.rows[d, used], atom[:, None], around[:, used]]
                found += terms.astype(np.float64).sum(axis=1)
            if self.balanced:
                used = places[d] >= 0
                terms = table[places[d, used], atom[:, None], around[:, used]]
                changes[:, d] = terms.astype(np.float64).sum(axis=1)
            there = atom != VACANCY
            barriers[there, d] = (found + 0.5 * changes[:, d])[there]
            changes[~there, d] = 0.0
        return barriers, changes

    def energy(self, states: NDArray) -> NDArray[np.float64]:
        """Energy of the pairs of whole periodic systems, in eV.

        Args:
            states: Species, shape [batch, 2, *cells].

        Returns:
            Shape [batch].

        Raises:
            ValueError: If the model has no energy.
        """
        if not self.balanced:
            raise ValueError(f"the barriers of {self.source} come without an energy")
        total = np.zeros(len(states))
        for table, square in zip(self.energies.astype(np.float64), self.shells, strict=True):
            for offset in shell(int(square)):
                for channel in range(2):
                    other = int((channel + offset[0]) % 2)
                    cell = (channel + offset - other) // 2
                    there = np.roll(states[:, other], tuple(-cell), axis=(1, 2, 3))
                    total += 0.5 * table[states[:, channel], there].sum(axis=(1, 2, 3))
        return total

    def _active(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum(x, 0.0) if self.activation == RELU else np.tanh(x)

    def arrays(self) -> dict[str, NDArray]:
        """All of its arrays, by name, of which `of_arrays` makes it again."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "source"}
        return {name: np.asarray(value) for name, value in found.items()}

    @classmethod
    def of_arrays(cls, source: str, arrays: Mapping[str, Any]) -> BarrierModel:
        """Make a model of what `arrays` gave.

        Args:
            source: What the barriers come from.
            arrays: Its arrays, by name.

        Raises:
            ValueError: If one is missing or their shapes do not go together.
        """
        names = [f.name for f in fields(cls) if f.name != "source"]
        missing = [name for name in names if name not in arrays]
        if missing:
            raise ValueError(f"a barrier model needs {', '.join(missing)}")
        whole = {"offsets", "rows", "shells"}
        given: dict[str, Any] = {
            name: np.ascontiguousarray(arrays[name], np.int64 if name in whole else np.float32)
            for name in names
            if name != "activation"
        }
        model = cls(source=source, activation=int(arrays["activation"]), **given)
        model._check()
        return model

    def _check(self) -> None:
        n, width = len(self.offsets), self.table.shape[-1]
        wanted = {
            "offsets": (n, 3),
            "rows": (8, n),
            "table": (len(self.table), KINDS, width),
            "lines": (len(self.lines), KINDS, KINDS),
            "bias": (KINDS, width),
            "weights": (len(self.biases), width, width),
            "biases": (len(self.biases), width),
            "out": (KINDS, width),
            "level": (KINDS,),
            "shells": (len(self.shells),),
            "energies": (len(self.shells), KINDS, KINDS),
        }
        for name, shape in wanted.items():
            found = getattr(self, name).shape
            if found != shape:
                raise ValueError(f"{name} of a barrier model is of shape {found}, not {shape}")
        for name in wanted:
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} of a barrier model holds numbers that are not finite")
        if len(self.lines) not in (0, len(self.table)):
            raise ValueError("lines of a barrier model have other rows than its table")
        if self.rows.max(initial=-1) >= len(self.table):
            raise ValueError("rows of a barrier model lie outside of its table")
        energies = self.energies
        if not np.array_equal(energies, energies.swapaxes(1, 2)) or energies[:, VACANCY].any():
            raise ValueError("energies of pairs must be symmetric, and zero for a vacancy")
        if self.balanced:
            read = {tuple(site) for site in self.offsets.tolist()}
            shells = sphere(int(self.shells.max()))
            needed = [shells + end for end in (np.zeros(3, np.int64), *DIRECTIONS)]
            if not {tuple(site) for site in np.concatenate(needed).tolist()} <= read | {(0, 0, 0)}:
                raise ValueError("a barrier model must read all sites of its shells of pairs")
        if not (self.offsets[self.jumpers] == DIRECTIONS).all():
            raise ValueError("a barrier model must read the eight neighbours of the vacancy")


def sphere(square: int, middle: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Ints:
    """Sites of a bcc lattice around a point, but for the site at the origin.

    Args:
        square: Largest squared distance, in half sides.
        middle: The point.

    Returns:
        Coordinates, sorted by distance from the point, then by coordinates; shape [n, 3].
    """
    reach = math.isqrt(square) + 2
    grid = np.stack(np.meshgrid(*3 * [np.arange(-reach, reach + 1)], indexing="ij"), axis=-1)
    flat = grid.reshape(-1, 3)
    same = (flat % 2 == flat[:, :1] % 2).all(axis=1)
    sites = flat[same & flat.any(axis=1)]
    distance = np.square(sites - np.array(middle)).sum(axis=1)
    sites, distance = sites[distance <= square], distance[distance <= square]
    order = np.lexsort((*sites.T[::-1], np.round(distance, 6)))
    found: Ints = sites[order].astype(np.int64)
    return found


def shell(square: int) -> Ints:
    """Sites of a bcc lattice at one squared distance in half sides from a site, shape [n, 3]."""
    sites = sphere(square)
    return sites[np.square(sites).sum(axis=1) == square]
