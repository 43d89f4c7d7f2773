"""The potential against its published properties, LAMMPS and ASE."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from macrodyn.systems.nbmota.zhou import CUTOFF, ELEMENTS, crystal_energy, pair_energy, write_setfl
from macrodyn.systems.shared.lammps.process import LammpsProcess
from tests.systems.nbmota.conftest import needs_lammps


def relaxed(species):
    found = minimize_scalar(
        lambda side: crystal_energy(species, side), bounds=(3.0, 3.5), options={"xatol": 1e-7}
    )
    return found.x, found.fun


@pytest.mark.parametrize(
    ("name", "side", "cohesive"), [("Nb", 3.300, 7.57), ("Mo", 3.150, 6.81), ("Ta", 3.303, 8.09)]
)
def test_pure_crystals_have_the_published_side_and_energy(name, side, cohesive):
    assert relaxed((name, name)) == pytest.approx((side, -cohesive), rel=2e-4)


@pytest.mark.parametrize(("pair", "mev"), [("Mo Ta", -83), ("Nb Mo", -85), ("Nb Ta", 10)])
def test_ordered_crystals_have_the_published_energies_of_formation(pair, mev):
    names = tuple(pair.split())
    apart = sum(relaxed((name, name))[1] for name in names) / 2
    assert 1e3 * (relaxed(names)[1] - apart) == pytest.approx(mev, abs=0.6)


def test_embedding_and_its_slope_are_continuous():
    for element in ELEMENTS.values():
        for share in (0.85, 1.15):
            at = share * element.rhoe
            below, above = element.embedding(at - 1e-6), element.embedding(at + 1e-6)
            assert above == pytest.approx(below, abs=2e-3)


def test_unequal_pairs_do_not_depend_on_their_order():
    r = np.linspace(2.0, 6.0, 50)
    first, second = ELEMENTS["Nb"], ELEMENTS["Ta"]
    np.testing.assert_allclose(pair_energy(first, second, r), pair_energy(second, first, r))


def test_what_is_cut_off_is_nothing():
    for element in ELEMENTS.values():
        assert abs(float(element.pair(CUTOFF))) < 1e-7


def test_ase_reads_the_file_and_finds_the_same_energy(tmp_path):
    build = pytest.importorskip("ase.build")
    eam = pytest.importorskip("ase.calculators.eam")
    file = tmp_path / "nbmota.eam.alloy"
    write_setfl(file)
    crystal = build.bulk("Mo", "bcc", a=3.22, cubic=True)
    crystal.symbols[1] = "Ta"
    crystal = crystal * (3, 3, 3)
    crystal.calc = eam.EAM(potential=str(file))
    energy = crystal.get_potential_energy() / len(crystal)
    assert energy == pytest.approx(crystal_energy(("Mo", "Ta"), 3.22), abs=2e-5)


@needs_lammps
def test_lammps_finds_the_side_of_an_ordered_crystal():
    cells = np.empty((2, 4, 4, 4), np.uint8)
    cells[0], cells[1] = 2, 3
    process = LammpsProcess("macrodyn.systems.nbmota.neb")
    ((side,),) = process.ask("fit_side", [cells], side=3.3)
    assert side[0] == pytest.approx(relaxed(("Mo", "Ta"))[0], abs=2e-3)
