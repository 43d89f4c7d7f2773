"""The lattice: numbers of sites, jumps and their symmetry."""

from __future__ import annotations

import numpy as np

from macrodyn.systems.nbmota.barriers import sphere
from macrodyn.systems.nbmota.crystal import DIRECTIONS, half_units, site_number, symmetries


def test_numbers_of_sites_are_those_of_their_coordinates():
    shape = (3, 4, 5)
    where = half_units(shape)
    np.testing.assert_array_equal(site_number(where, shape), np.arange(2 * 60))
    np.testing.assert_array_equal(
        site_number(where + np.array([6, -8, 10]), shape), np.arange(2 * 60)
    )


def test_a_jump_leads_to_the_other_channel():
    shape = (3, 3, 3)
    where = half_units(shape)
    for direction in DIRECTIONS:
        aim = site_number(where + direction, shape)
        assert ((aim < 27) != (np.arange(54) < 27)).all()
        assert len(set(aim.tolist())) == 54


def test_shells_have_the_known_numbers_of_sites():
    sites = sphere(20)
    squares, counts = np.unique(np.square(sites).sum(axis=1), return_counts=True)
    assert squares.tolist() == [3, 4, 8, 11, 12, 16, 19, 20]
    assert counts.tolist() == [8, 6, 12, 24, 8, 6, 24, 24]


def test_half_of_a_jumps_symmetries_turn_it_round():
    direction = DIRECTIONS[0]
    images = [operation @ direction for operation in symmetries(direction)]
    assert [image.tolist() for image in images] == 6 * [[1, 1, 1]] + 6 * [[-1, -1, -1]]
