"""Forces, energies and virials of pairs, against sums over all pairs and images."""

from __future__ import annotations

import time
from itertools import product

import numpy as np
import pytest

import macrodyn
from macrodyn.systems.lennard_jones import CellList, lennard_jones_forces
from macrodyn.systems.lennard_jones.pair import (
    ENERGY,
    FORCE,
    VIRIAL,
    VIRIAL_GRADIENT,
    pair_terms,
)

from .conftest import disordered

# Atoms, sides of the box, cutoff: many cells, few, two, one, and less than one, along some axes.
BOXES = {
    "many cells": (800, 10.0, 2.5),
    "three cells": (343, 7.6, 2.5),
    "two cells": (200, 6.3, 2.5),
    "one cell": (64, 4.3, 2.5),
    "less than a cell": (20, 2.3, 2.5),
    "far less than a cell": (3, 1.9, 4.5),
    "one atom and its images": (1, 1.3, 2.5),
    "three sides": (150, (3.1, 6.0, 11.0), 2.5),
    "long cutoff": (343, 7.6, 3.7),
    "gas": (30, 60.0, 2.5),
}


def by_all_images(x, box, cutoff, epsilon=1.0, sigma=1.0):
    """Forces, half energies and half virials of all atoms: every pair with every image."""
    sides = np.broadcast_to(np.asarray(box, dtype=float), 3)
    x = x % sides
    reach = [range(-n, n + 1) for n in np.ceil(cutoff / sides).astype(int)]
    force, energy, virial = np.zeros_like(x), np.zeros(len(x)), np.zeros(len(x))
    for image in product(*reach):
        d = x[:, None] - x[None] - np.array(image) * sides
        r = np.sqrt((d**2).sum(axis=-1))
        near = (r > 0) & (r < cutoff)
        r = np.where(near, r, 1.0)
        twelve, six = 4 * epsilon * (sigma / r) ** 12, 4 * epsilon * (sigma / r) ** 6
        slope = np.where(near, -12 * twelve + 6 * six, 0.0) / r  # u'
        force -= (slope[..., None] * d / r[..., None]).sum(axis=1)
        energy += 0.5 * np.where(near, twelve - six, 0.0).sum(axis=1)
        virial -= 0.5 * (slope * r).sum(axis=1)
    return force, energy, virial


@pytest.mark.parametrize("case", BOXES)
def test_sums_are_those_over_all_pairs_and_images(case):
    number, box, cutoff = BOXES[case]
    x = disordered(number, box)
    force, energy, virial = by_all_images(x, box, cutoff)
    found = pair_terms(CellList.of(x, box, cutoff), np.arange(number))
    scale = 1e-11 * max(1.0, np.abs(force).max())
    np.testing.assert_allclose(found[:, FORCE], force, rtol=0, atol=scale)
    np.testing.assert_allclose(found[:, ENERGY], energy, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found[:, VIRIAL], virial, rtol=1e-10, atol=1e-10)


def test_units_of_length_and_energy():
    x = disordered(200, 9.0)
    force, *_ = by_all_images(x, 9.0, 3.0, epsilon=0.3, sigma=1.2)
    found = lennard_jones_forces(x, np.arange(200), 9.0, 3.0, epsilon=0.3, sigma=1.2)
    np.testing.assert_allclose(found, force, rtol=0, atol=1e-12 * np.abs(force).max())


def test_some_forces_are_those_of_all_to_the_last_bit():
    x = disordered(800, 10.0)
    whole = lennard_jones_forces(x, np.arange(800), 10.0)
    chosen = np.array([799, 3, 3, 512])
    np.testing.assert_array_equal(lennard_jones_forces(x, chosen, 10.0), whole[chosen])
    again = lennard_jones_forces(CellList.of(x, 10.0, 2.5), chosen)
    np.testing.assert_array_equal(again, whole[chosen])
    assert lennard_jones_forces(x, chosen[:0], 10.0).shape == (0, 3)


def test_forces_add_up_to_nothing():
    x = disordered(800, 10.0)
    found = lennard_jones_forces(x, np.arange(800), 10.0)
    assert np.abs(found.sum(axis=0)).max() < 1e-11 * np.abs(found).sum()


def test_forces_and_gradient_of_the_virial_are_derivatives():
    """Of all energies and virials, where no pair crosses the cutoff."""
    box, step = 7.6, 1e-5
    x = disordered(343, box)
    cells = CellList.of(x, box, 2.5)
    found = pair_terms(cells, np.arange(343))
    for atom, axis in ((0, 0), (17, 1), (342, 2)):
        sums = []
        for sign in (1, -1):
            moved = x.copy()
            moved[atom, axis] += sign * step
            terms = pair_terms(CellList.of(moved, box, 2.5), np.arange(343))
            sums.append(terms[:, [ENERGY, VIRIAL]].sum(axis=0))
        energy, virial = (sums[0] - sums[1]) / (2 * step)
        scale = np.abs(found[:, FORCE]).max()
        assert -found[atom, FORCE][axis] == pytest.approx(energy, abs=1e-6 * scale)
        scale = np.abs(found[:, VIRIAL_GRADIENT]).max()
        assert found[atom, VIRIAL_GRADIENT][axis] == pytest.approx(virial, abs=1e-6 * scale)


@pytest.mark.parametrize("position", [0.0, -1e-17, 9.0, np.nextafter(9.0, 0), 1e9, -1e9])
def test_atoms_on_the_edges_of_the_box(position):
    x = np.array([[position, 1.0, 1.0], [position + 1.1, 1.0, 1.0]])
    found = lennard_jones_forces(x, np.array([0, 1]), 9.0)
    r = x[1, 0] - x[0, 0]
    expected = -(48 * r**-13 - 24 * r**-7)
    np.testing.assert_allclose(found[:, 0], [expected, -expected], rtol=1e-5)
    assert not found[:, 1:].any()


def test_a_pair_is_cut_off_where_it_says():
    for r, acts in ((2.4999, True), (2.5001, False)):
        x = np.array([[0.1, 0.0, 0.0], [0.1 - r, 0.0, 0.0]])
        assert bool(lennard_jones_forces(x, np.array([0]), 20.0).any()) == acts


def test_chosen_atoms_cost_their_share():
    """Fifty of 51,200 atoms, once they are sorted, less than a hundredth of all."""
    box, atoms = 40.0, np.arange(51_200)
    cells = CellList.of(disordered(51_200, box), box, 2.5)

    def seconds(chosen):
        begin = time.process_time()
        lennard_jones_forces(cells, chosen)
        return time.process_time() - begin

    seconds(atoms[:1])
    few = min(seconds(atoms[::1024]) for _ in range(9))
    assert few < 0.01 * seconds(atoms)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"positions": np.zeros((4, 2))}, ValueError, r"\(4, 2\) should be \[atom, 3\]"),
        ({"positions": np.full((4, 3), np.nan)}, ValueError, "not all finite"),
        ({"positions": np.full((4, 3), np.inf)}, ValueError, "not all finite"),
        ({"positions": np.zeros((4, 3))}, FloatingPointError, "at the same place"),
        ({"box": -1.0}, ValueError, "box is .* positive and finite"),
        ({"box": ()}, ValueError, "box is .* positive and finite"),
        ({"cutoff": 0.0}, ValueError, "cutoff is 0.0: it should be positive"),
        ({"atoms": np.array([4])}, IndexError, "there are 4 atoms: their numbers are 0 to 3"),
        ({"atoms": np.array([-1])}, IndexError, "numbers are 0 to 3"),
        ({"atoms": np.array([[1]])}, ValueError, r"\(1, 1\) should be \[p\]"),
    ],
)
def test_what_makes_no_sense_is_refused(change, error, message):
    given = {"positions": np.eye(4, 3), "atoms": np.array([1]), "box": 9.0, "cutoff": 2.5}
    with pytest.raises(error, match=message):
        lennard_jones_forces(**{**given, **change})


def test_it_is_one_of_the_names_of_the_package():
    assert macrodyn.lennard_jones_forces is lennard_jones_forces
