"""What LAMMPS does for the alloy, in a process of its own: energies, and barriers of jumps.

A barrier is the height of the saddle between two relaxed states, by the nudged elastic band with a
climbing image, in a cell of fixed size.

Source: Henkelman and Jónsson, J. Chem. Phys. 113, 9978 (2000), and Henkelman, Uberuaga and Jónsson,
J. Chem. Phys. 113, 9901 (2000); Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006), for FIRE.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrodyn.systems.nbmota.barriers import BOLTZMANN
from macrodyn.systems.nbmota.crystal import DIRECTIONS, VACANCY, half_units, site_number
from macrodyn.systems.nbmota.zhou import ELEMENTS, write_setfl
from macrodyn.systems.shared.lammps.serving import serve

Array = NDArray[np.float64]

EAM = "nbmota.eam.alloy"
"""The file that the default potential is written to, in the folder of LAMMPS' process."""
_BOX = """
clear
units metal
atom_style atomic
atom_modify map array sort 0 0
boundary p p p
region box block 0 {side!r} 0 {side!r} 0 {side!r} units box
create_box 3 box
"""
_MASSES = "\n".join(f"mass {k + 1} {e.mass}" for k, e in enumerate(ELEMENTS.values()))
_SETTINGS = """
neighbor 1.0 bin
neigh_modify every 1 delay 0 check yes
thermo 1
thermo_modify flush yes
min_style cg
min_modify norm max
"""
# Of relaxations between bands: forces in eV/A, and steps.
_RELAXED, _RELAX_STEPS = 1e-3, 2000
# Of FIRE: time steps, and what changes them.
_STEP, _LONGEST, _GROW, _SHRINK, _MIXING, _WAIT = 0.05, 0.5, 1.1, 0.5, 0.1, 5
# Longest move of an atom in a step, in angstrom.
_FURTHEST = 0.1
# A jumper further from its site than this share of the jump is not there.
_ASTRAY = 0.4
# Of a band's springs, eV/A^2.
_SPRING = 2.0
# Force in eV/A from which on the highest image climbs, and the steps after which it does anyway.
_CLIMBS, _CLIMBS_LATEST = 0.3, 60


class Cell:
    """Atoms of a periodic cube of cells in LAMMPS.

    Args:
        lmp: LAMMPS.
        species: Species of each site, shape [2, cells, cells, cells]; 0 for a vacancy.
        side: Side of a cell, in angstrom.
        potential: Commands that set the potential; none for the default.
    """

    def __init__(self, lmp: Any, species: NDArray, side: float, potential: str) -> None:
        self.lmp, self.side = lmp, side
        self.shape = species.shape[1:]
        box = side * self.shape[0]
        # No site stands on a face of the box.
        sites = np.asarray((half_units(self.shape) * 0.5 + 0.25) * side, np.float64)
        flat = species.reshape(-1)
        self.occupied = np.flatnonzero(flat != VACANCY)
        self.sites = sites
        x, types = sites[self.occupied], flat[self.occupied]
        lmp.commands_string(_BOX.format(side=box) + _MASSES)
        n = len(x)
        made = lmp.create_atoms(n, range(1, n + 1), types.tolist(), x.ravel().tolist())
        if made != n:
            raise RuntimeError(f"LAMMPS has taken {made} of {n} atoms")
        lmp.commands_string(potential or _default())
        lmp.commands_string(_SETTINGS)
        self.box = box
        self.prepare()

    def prepare(self) -> None:
        """Make neighbours and forces of the positions at hand."""
        self.lmp.command("run 0 post no")

    @property
    def positions(self) -> Array:
        """Positions that LAMMPS has, in the order of the occupied sites, shape [n, 3]."""
        return np.array(self.lmp.numpy.extract_atom("x")[: len(self.occupied)])

    @positions.setter
    def positions(self, x: Array) -> None:
        self.lmp.numpy.extract_atom("x")[: len(self.occupied)] = x

    def evaluate(self, x: Array) -> tuple[float, Array]:
        """Energy in eV and forces in eV/A, shape [n, 3], at positions near those before."""
        self.positions = x
        self.lmp.command("run 1 pre no post no")
        forces = np.array(self.lmp.numpy.extract_atom("f")[: len(self.occupied)])
        return float(self.lmp.get_thermo("pe")), forces

    def energy(self, types: NDArray) -> float:
        """Energy at the positions at hand, of atoms of these types."""
        self.lmp.numpy.extract_atom("type")[: len(self.occupied)] = types
        # Only a whole setup tells the images of atoms beyond the faces of their types.
        self.prepare()
        return float(self.lmp.get_thermo("pe"))

    def relax(self, x: Array) -> tuple[float, Array]:
        """Relax positions: the energy, and the positions next to those given."""
        self.positions = x
        self.prepare()
        self.lmp.command(f"minimize 0.0 {_RELAXED} {_RELAX_STEPS} {10 * _RELAX_STEPS}")
        energy = float(self.lmp.get_thermo("pe"))
        found = self.positions
        found -= self.box * np.round((found - x) / self.box)
        return energy, found


def _default() -> str:
    write_setfl(EAM)
    return f"pair_style eam/alloy\npair_coeff * * {EAM} Nb Mo Ta"


def jumps(
    lmp: Any,
    species: NDArray,
    *,
    side: float,
    images: Sequence[int],
    force: float,
    steps: int,
    potential: str = "",
) -> Iterator[tuple[NDArray, ...]]:
    """Yield what is found of the eight jumps of the only vacancy of a cell, one by one.

    A band that has not come to rest after some steps is tried again with the next number of images.
    Each part is an array: energies of the initial state, of the final one and at the saddle, in eV;
    the largest force left, in eV/A; and 1 if the band has converged between two states that are
    there, else 0. Energies are NaN of what was not reached.
    """
    (vacancy,) = np.flatnonzero(species.reshape(-1) == VACANCY)
    cell = Cell(lmp, species, side, potential)
    start_energy, start = cell.relax(cell.sites[cell.occupied])
    position = half_units(cell.shape)[vacancy]
    for direction in DIRECTIONS:
        jumper = int(site_number(position + direction, cell.shape))
        atom = int(np.searchsorted(cell.occupied, jumper))
        move = -0.5 * side * direction
        end = start.copy()
        end[atom] += move
        end_energy, end = cell.relax(end)
        aims = (cell.sites[jumper], cell.sites[jumper] + move)
        there = all(
            np.linalg.norm(x[atom] - site) < _ASTRAY * np.linalg.norm(move)
            for x, site in zip((start, end), aims, strict=True)
        )
        saddle, left = math.nan, math.nan
        ends = (start_energy, end_energy)
        for number in images if there else ():
            saddle, left = _band(cell, start, end, ends, number, force, steps)
            if left <= force:
                break
        fine = there and left <= force and saddle > max(ends)
        yield (np.array([start_energy, end_energy, saddle, left, float(fine)]),)


def _band(
    cell: Cell,
    start: Array,
    end: Array,
    ends: tuple[float, float],
    images: int,
    force: float,
    steps: int,
) -> tuple[float, float]:
    """Height of the saddle between two states, and the largest force that is left on the band.

    Which image climbs is settled once: paths of two humps have two that are nearly as high, and an
    exchange of the role in each step would keep the band from coming to rest.
    """
    parts = np.linspace(0.0, 1.0, images + 2)[1:-1, None, None]
    x = start + parts * (end - start)
    cell.positions = x[0]
    cell.prepare()
    velocity = np.zeros_like(x)
    step, mixing, waited = _STEP, _MIXING, 0
    energy, left = np.zeros(images), math.inf
    climber = None
    for number in range(steps):
        true = np.empty_like(x)
        for i in range(images):
            energy[i], true[i] = cell.evaluate(x[i])
        heights = np.array([ends[0], *energy, ends[1]])
        push = _nudged(start, x, end, heights, true, climber)
        left = float(np.linalg.norm(push, axis=-1).max())
        if climber is None and (left < _CLIMBS or number == _CLIMBS_LATEST):
            climber, left = int(energy.argmax()), math.inf
            velocity[:] = 0.0
            continue
        if left <= force:
            break
        power = float((push * velocity).sum())
        if power > 0:
            speed, strength = np.linalg.norm(velocity), np.linalg.norm(push)
            velocity = (1 - mixing) * velocity + mixing * speed / strength * push
            waited += 1
            if waited > _WAIT:
                step, mixing = min(step * _GROW, _LONGEST), mixing * 0.99
        else:
            velocity[:] = 0.0
            step, mixing, waited = step * _SHRINK, _MIXING, 0
        velocity = velocity + step * push
        move = step * velocity
        move *= min(1.0, _FURTHEST / np.linalg.norm(move, axis=-1).max())
        x = x + move
    if climber is not None and energy[climber] < energy.max():
        left = math.inf
    return float(energy.max()), left


def _nudged(
    start: Array, x: Array, end: Array, energy: Array, true: Array, climber: int | None
) -> Array:
    """Forces on the images: true ones across the band, springs along it; one may climb."""
    chain = np.concatenate([start[None], x, end[None]])
    found = np.empty_like(x)
    for i in range(len(x)):
        behind, ahead = chain[i + 1] - chain[i], chain[i + 2] - chain[i + 1]
        before, here, after = energy[i : i + 3]
        if after > here > before:
            tangent = ahead
        elif after < here < before:
            tangent = behind
        else:
            rises = abs(after - here), abs(before - here)
            more, less = max(rises), min(rises)
            weights = (more, less) if after > before else (less, more)
            tangent = weights[0] * ahead + weights[1] * behind
        tangent = tangent / np.linalg.norm(tangent)
        along = float((true[i] * tangent).sum())
        if i == climber:
            found[i] = true[i] - 2.0 * along * tangent
        else:
            stretch = np.linalg.norm(ahead) - np.linalg.norm(behind)
            found[i] = true[i] - along * tangent + _SPRING * stretch * tangent
    return found


def anneal(
    lmp: Any,
    species: NDArray,
    *,
    side: float,
    temperature: float,
    swaps: int,
    seed: int,
    potential: str = "",
) -> Iterator[tuple[NDArray, ...]]:
    """Yield species after exchanges of two atoms by Metropolis' rule, atoms on their sites.

    Beside them stand the energies before and after, in eV, shape [2].
    """
    cell = Cell(lmp, species, side, potential)
    random = np.random.default_rng(seed)
    types = species.reshape(-1)[cell.occupied].astype(np.int32)
    begun = energy = cell.energy(types)
    unit = BOLTZMANN * temperature
    for _ in range(swaps):
        i, j = random.integers(len(types), size=2)
        if types[i] == types[j]:
            continue
        types[[i, j]] = types[[j, i]]
        tried = cell.energy(types)
        if tried <= energy or random.random() < math.exp((energy - tried) / unit):
            energy = tried
        else:
            types[[i, j]] = types[[j, i]]
    found = species.reshape(-1).copy()
    found[cell.occupied] = types
    yield found.reshape(species.shape), np.array([begun, energy])


def fit_side(
    lmp: Any, species: NDArray, *, side: float, potential: str = ""
) -> Iterator[tuple[NDArray, ...]]:
    """Yield the side of a cell without pressure, atoms relaxed, in angstrom: shape [1]."""
    cell = Cell(lmp, species, side, potential)
    lmp.command("fix cell all box/relax iso 0.0 vmax 0.001")
    lmp.command(f"minimize 0.0 {_RELAXED} {_RELAX_STEPS} {10 * _RELAX_STEPS}")
    yield (np.array([lmp.get_thermo("lx") / cell.shape[0]]),)


if __name__ == "__main__":
    serve({"jumps": jumps, "anneal": anneal, "fit_side": fit_side})
