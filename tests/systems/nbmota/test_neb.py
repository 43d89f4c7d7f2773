"""Barriers by LAMMPS against those by ASE, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.systems.nbmota.configurations import configuration
from macrodyn.systems.nbmota.crystal import DIRECTIONS, half_units, site_number
from macrodyn.systems.nbmota.zhou import write_setfl
from macrodyn.systems.shared.lammps.process import LammpsProcess
from tests.systems.nbmota.conftest import needs_lammps

SIDE = 3.24
BAND = {"side": SIDE, "images": [5, 7], "force": 0.02, "steps": 200}


@pytest.fixture(scope="module")
def process():
    found = LammpsProcess("macrodyn.systems.nbmota.neb")
    yield found
    found.close()


@pytest.fixture(scope="module")
def cell():
    species = np.random.default_rng(2).permutation(np.resize([1, 2, 3], 128)).astype(np.uint8)
    species[5] = 0
    return species.reshape(2, 4, 4, 4)


def ase_barrier(species, direction, folder):
    """The barrier of one jump, in eV, by ASE alone."""
    from ase import Atoms
    from ase.calculators.eam import EAM
    from ase.mep import NEB
    from ase.optimize import FIRE

    file = folder / "nbmota.eam.alloy"
    write_setfl(file)
    shape, flat = species.shape[1:], species.reshape(-1)
    occupied = np.flatnonzero(flat)
    sites = half_units(shape) * 0.5 * SIDE
    symbols = np.array(["X", "Nb", "Mo", "Ta"])[flat[occupied]]
    start = Atoms(symbols, sites[occupied], cell=SIDE * np.array(shape), pbc=True)
    position = half_units(shape)[np.flatnonzero(flat == 0)[0]]
    atom = np.searchsorted(occupied, site_number(position + direction, shape))
    end = start.copy()
    end.positions[atom] -= 0.5 * SIDE * direction
    for atoms in (start, end):
        atoms.calc = EAM(potential=str(file))
        FIRE(atoms, logfile=None).run(fmax=0.01, steps=300)
    images = [start, *(start.copy() for _ in range(5)), end]
    for image in images[1:-1]:
        image.calc = EAM(potential=str(file))
    band = NEB(images, climb=True, k=2.0)
    band.interpolate(mic=True)
    assert FIRE(band, logfile=None).run(fmax=0.02, steps=300)
    return max(image.get_potential_energy() for image in images) - start.get_potential_energy()


@needs_lammps
@pytest.mark.slow
def test_ase_finds_the_same_barrier(process, cell, tmp_path):
    pytest.importorskip("ase")
    found = [part for (part,) in process.ask("jumps", [cell], **BAND)]
    start, _, saddle, _, fine = found[1]
    assert fine == 1.0
    assert saddle - start == pytest.approx(ase_barrier(cell, DIRECTIONS[1], tmp_path), abs=2e-3)


@needs_lammps
def test_a_jump_and_the_jump_back_have_one_saddle(process, cell):
    found = [part for (part,) in process.ask("jumps", [cell], **BAND)]
    assert sum(part[4] for part in found) >= 6
    start, end, saddle, left, fine = found[0]
    assert fine == 1.0 and left <= 0.02 and saddle > max(start, end)
    after = cell.copy().reshape(-1)
    hole = int(np.flatnonzero(after == 0)[0])
    there = int(site_number(half_units((4, 4, 4))[hole] + DIRECTIONS[0], (4, 4, 4)))
    after[[hole, there]] = after[[there, hole]]
    back = [p for (p,) in process.ask("jumps", [after.reshape(cell.shape)], **BAND)]
    opposite = int((-DIRECTIONS[0] == DIRECTIONS).all(axis=1).argmax())
    assert back[opposite][:3] == pytest.approx([end, start, saddle], abs=2e-3)


@needs_lammps
def test_a_band_without_time_has_not_converged(process, cell):
    hurried = {**BAND, "images": [3], "steps": 2}
    found = [part for (part,) in process.ask("jumps", [cell], **hurried)]
    assert [part[4] for part in found] == 8 * [0.0]


@needs_lammps
def test_annealing_keeps_the_composition_and_lowers_the_energy_when_cold(process):
    species = np.random.default_rng(4).permutation(np.resize([1, 2, 3], 128)).astype(np.uint8)
    cells = species.reshape(2, 4, 4, 4)
    cold, hot = (
        next(process.ask("anneal", [cells], side=SIDE, temperature=t, swaps=600, seed=1))
        for t in (300.0, 1e7)
    )
    for found, _ in (cold, hot):
        np.testing.assert_array_equal(np.bincount(found.ravel()), np.bincount(species))
    lowered, heated = (after - before for _, (before, after) in (cold, hot))
    assert lowered < -1.0 and lowered < heated - 1.0
    # What was added up swap by swap is the energy of the state.
    _, (again, _) = next(
        process.ask("anneal", [cold[0]], side=SIDE, temperature=300.0, swaps=0, seed=1)
    )
    assert again == pytest.approx(cold[1][1], abs=1e-6)


def test_configurations_are_of_all_sorts_and_keep_to_their_seed():
    found = [configuration(k, 3, 1) for k in range(200)]
    sorts = {c.sort for c in found}
    assert sorts == {"random", "annealed", "ordered"}
    for c in found:
        assert c.species.shape == (2, 3, 3, 3) and set(np.unique(c.species)) <= {1, 2, 3}
        assert np.isfinite(c.temperature) == (c.sort == "annealed")
    again = configuration(17, 3, 1)
    np.testing.assert_array_equal(again.species, found[17].species)
    assert (again.vacancy, again.seed) == (found[17].vacancy, found[17].seed)
    equal = [np.ptp(np.bincount(c.species.ravel(), minlength=4)[1:]) <= 1 for c in found]
    assert 0.3 < np.mean(equal) < 0.7
