"""Lattices with ends, and systems whose patches depend on all of their state."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.lattice import PatchGeometry, Tiling
from macrodyn.sampling.cost import Cost
from macrodyn.sampling.evolve import evolve_patches
from macrodyn.sampling.relax import Relaxation, relax
from macrodyn.sampling.upsample import interpolate, tile
from macrodyn.streams import seeds
from macrodyn.systems.windows import cut_windows


@pytest.fixture
def make_open(make_clock):
    """A clock whose lattice has ends, and which keeps what surrounds its patches."""

    def make(dimension=1):
        system = make_clock(dimension)
        system.periodic = False
        system.surroundings = []
        inner = system.evolve_patch

        def evolve_patch(windows, patch, duration, keys, events=None, around=None):
            system.surroundings.append(around)
            return inner(windows, patch, duration, keys, events, around)

        system.evolve_patch = evolve_patch
        return system

    return make


def test_every_second_tile_is_reflected():
    pool = np.arange(30.0).reshape(5, 1, 6)
    states = tile(pool, (18,), 2, np.random.default_rng(1), periodic=False)
    members = []
    for state in states[:, 0]:
        for place, piece in enumerate(state.reshape(3, 6)):
            straight = piece[::-1] if place % 2 else piece
            (member,) = np.flatnonzero((pool[:, 0] == straight).all(axis=1))
            members.append(member)
    assert len(set(members[:5])) == 5


def test_reflected_tiles_of_one_state_meet_without_a_step():
    x = np.arange(12) + 0.5
    pool = np.cos(np.pi * x / 6)[None, None, :9]  # one and a half half-waves
    state = tile(pool, (36,), 1, np.random.default_rng(1), periodic=False)[0, 0]
    middle = np.abs(np.diff(state))[[8, 17, 26]]
    np.testing.assert_allclose(middle, 0, atol=1e-12)
    assert np.abs(np.diff(state)).max() < 0.6


def test_tiles_are_reflected_along_each_axis():
    pool = np.arange(6.0).reshape(1, 1, 2, 3)
    state = tile(pool, (4, 6), 1, np.random.default_rng(1), periodic=False)[0, 0]
    a = pool[0, 0]
    expected = np.block([[a, a[:, ::-1]], [a[::-1], a[::-1, ::-1]]])
    np.testing.assert_array_equal(state, expected)


@pytest.mark.parametrize("periodic", [True, False])
def test_interpolation_is_exact_for_straight_lines_between_the_middles(periodic):
    pool = np.array([[[0.0, 4.0, 2.0]]])
    state = interpolate(pool, (6,), 1, np.random.default_rng(1), periodic)[0, 0]
    first, last = (0.5, 1.5) if periodic else (0.0, 2.0)
    np.testing.assert_allclose(state, [first, 1, 3, 3.5, 2.5, last], atol=1e-12)


def test_interpolation_keeps_the_type_and_chooses_without_repeats():
    pool = np.arange(4, dtype=np.float32)[:, None, None] * np.ones((4, 2, 3), np.float32)
    states = interpolate(pool, (9,), 4, np.random.default_rng(1), False)
    assert states.dtype == np.float32 and states.shape == (4, 2, 9)
    assert sorted(states[:, 0, 0]) == [0, 1, 2, 3]


def test_windows_know_where_the_lattice_ends(make_open):
    system = make_open()
    states = np.arange(24.0).reshape(2, 1, 12)
    origins = Tiling((12,), (4,), periodic=False).origins((2,))
    windows, around = cut_windows(system, states, origins, PatchGeometry((4,), 1, 1))
    assert windows.shape == (8, 1, 8)
    assert around.outside.tolist() == [[[4, 0]], [[0, 0]], [[0, 0]], [[0, 4]]] * 2
    np.testing.assert_array_equal(windows[0, 0], [0, 0, 0, 0, 0, 1, 2, 3])
    np.testing.assert_array_equal(windows[7, 0], [20, 21, 22, 23, 23, 23, 23, 23])
    assert around.rest is None


def test_periodic_patches_have_no_surroundings(make_open):
    states, origins = np.zeros((2, 1, 12)), np.array([[0], [4]])
    _, around = cut_windows(make_open(), states, origins, PatchGeometry((4,), 0, 0, "periodic"))
    assert around.outside is None and around.rest is None


@pytest.mark.parametrize("boundary", ["frozen", "periodic"])
def test_relaxation_gives_every_site_its_time_up_to_the_ends(make_open, boundary):
    system = make_open(2)
    geometry = PatchGeometry((4, 3), 1 if boundary == "frozen" else 0, 0, boundary)
    states = np.zeros((3, 1, 12, 9))
    after = relax(system, states, geometry, Relaxation(2.0, 0.5), seeds(1, "r", index=3), Cost())
    np.testing.assert_allclose(after, 2.0)


def test_evolved_patches_at_the_ends_know_it(make_open):
    system = make_open()
    states = np.zeros((5, 1, 12))
    pairs = evolve_patches(
        system,
        states,
        PatchGeometry((4,), 1),
        number=3,
        dt=0.1,
        lags=(1, 2),
        keys=seeds(1, "e", index=5),
        cost=Cost(),
    )
    assert pairs.after.shape == (5, 3, 2, 1, 4)
    first, second = system.surroundings
    np.testing.assert_array_equal(first.outside, second.outside)
    at_low, at_high = (first.outside[:, 0, end].reshape(5, 3).sum(axis=1) for end in (0, 1))
    np.testing.assert_array_equal(at_low, 1)
    np.testing.assert_array_equal(at_high, 1)


@pytest.mark.parametrize("buffer", [0, 1])
def test_rest_is_measured_of_the_state_and_of_what_moves(make_open, buffer):
    system = make_open()
    system.rest = lambda states, active: np.stack(
        [np.broadcast_to(states.sum((1, 2))[:, None], active.shape[:2]), active.sum((2, 3))], -1
    )
    states = np.random.default_rng(1).random((2, 1, 12))
    origins = np.array([[[4], [8]], [[0], [4]]])
    windows, around = cut_windows(system, states, origins, PatchGeometry((4,), 1, buffer))
    assert around.rest.shape == (4, 2)
    np.testing.assert_allclose(around.rest[:, 0], states.sum((1, 2)).repeat(2))
    np.testing.assert_allclose(around.rest[:, 1], windows[:, 0, 1:-1].sum(1))


def test_no_two_patches_evolve_at_once_where_all_depend_on_all(make_open):
    system = make_open()
    system.long_range = True
    system.rest = lambda states, active: states.sum((1, 2))[:, None, None].repeat(
        active.shape[1], 1
    )
    states = np.zeros((2, 1, 12))
    relax(
        system,
        states,
        PatchGeometry((4,), 0),
        Relaxation(1.0, 1.0),
        seeds(1, "r", index=2),
        Cost(),
    )
    # Each patch sees what the patches before it have become.
    assert [a.rest.tolist() for a in system.surroundings] == [
        [[0.0], [0.0]],
        [[4.0], [4.0]],
        [[8.0], [8.0]],
    ]
