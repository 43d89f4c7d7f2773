"""What every caller may rely on in `CurieWeiss`: seeds, batches, observables, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from macrodyn.lattice import PatchGeometry, Surroundings, Tiling, gather
from macrodyn.streams import seeds
from macrodyn.systems.curie_weiss import CurieWeissParameters

from .curie_weiss_exact import (
    LATTICE,
    PATCH,
    make,
)


def test_observables_of_wholes_and_patches_are_mean_spins(random_spins):
    system, states = make(), random_spins((7, 1, *LATTICE), up=0.7)
    expected = [[sum(int(s) for s in state.ravel()) / 96] for state in states]
    np.testing.assert_allclose(system.observe(states), expected, atol=1e-15)
    patches = gather(states, Tiling(LATTICE, PATCH).origins(), PATCH)
    means = [system.observe_patch(of_one)[:, 0].mean() for of_one in patches]
    np.testing.assert_allclose(means, np.ravel(expected), atol=1e-15)


def test_nothing_moves_in_no_time(algorithm, random_spins):
    system, states, keys = make(), random_spins((10, 1, 4, 4)), seeds(18, index=10)
    np.testing.assert_array_equal(system.evolve(states, 0.0, keys), states)
    geometry = PatchGeometry((4, 4), halo=0)
    for events in (None, 0):
        after, elapsed = system.evolve_patch(states, geometry, 0.0, keys, events=events)
        np.testing.assert_array_equal(after, states)
        np.testing.assert_array_equal(elapsed, 0.0)


def test_states_are_left_unchanged(algorithm, random_spins):
    states = random_spins((10, 1, 4, 4))
    before = states.copy()
    assert np.any(make().evolve(states, 2.0, seeds(19, index=10)) != states)
    np.testing.assert_array_equal(states, before)


def test_a_part_of_a_batch_gives_the_same_bits(algorithm, random_spins):
    system, keys = make(), seeds(23, index=40)
    states = np.concatenate([random_spins((20, 1, *LATTICE), up=up) for up in (0.2, 0.9)])
    whole = system.evolve(states, 2.0, keys)
    np.testing.assert_array_equal(system.evolve(states[17:23], 2.0, keys[17:23]), whole[17:23])
    geometry, origin = PatchGeometry(PATCH, halo=0), np.array([[2, 3]])
    block = gather(states, origin, PATCH)
    rest = system.rest(states, block)[:, 0]
    for events in (None, 7):
        all_of_them, part = (
            system.evolve_patch(
                block[which, 0],
                geometry,
                2.0,
                keys[which],
                events,
                Surroundings(rest=rest[which]),
            )
            for which in (slice(None), slice(17, 23))
        )
        np.testing.assert_array_equal(part[0], all_of_them[0][17:23])
        np.testing.assert_array_equal(part[1], all_of_them[1][17:23])


def test_no_states_are_no_work():
    system, keys = make(), seeds(24, index=0)
    states = system.initial_states(np.empty((0, 1)), (4, 4), keys)
    assert system.evolve(states, 1.0, keys).shape == (0, 1, 4, 4)
    around = Surroundings(rest=np.empty((0, 2)))
    after, elapsed = system.evolve_patch(
        states, PatchGeometry((4, 4), halo=0), 1.0, keys, around=around
    )
    assert after.shape == (0, 1, 4, 4) and elapsed.shape == (0,)


def test_initial_states_are_independent_spins_of_given_mean():
    means, n = np.repeat([-1.0, -0.3, 0.5, 1.0], 5000), 20_000
    states = make().initial_states(means[:, None], (4, 5), seeds(25, index=n))
    assert states.dtype == np.int8 and states.shape == (n, 1, 4, 5)
    assert set(np.unique(states)) == {-1, 1}
    for m in (-1.0, -0.3, 0.5, 1.0):
        spins = states[means == m].reshape(5000, 20)
        error = np.sqrt((1 - m * m) / 5000)
        assert np.all(np.abs(spins.mean(axis=0) - m) <= 5 * error)
        # Independent: all pairs of sites are uncorrelated.
        centred = spins - m
        covariance = (centred.T @ centred / 5000)[np.triu_indices(20, 1)]
        assert np.all(np.abs(covariance) <= 5 * (1 - m * m) / np.sqrt(5000))


@pytest.mark.parametrize("m", [1.01, -2.0, np.nan])
def test_impossible_initial_magnetisations_are_refused(m):
    with pytest.raises(ValueError, match="between -1 and 1"):
        make().initial_states(np.array([[0.2], [m]]), (4, 4), seeds(26, index=2))


def test_macrostates_of_the_wrong_shape_are_refused():
    with pytest.raises(ValueError, match="one magnetisation each"):
        make().initial_states(np.zeros((2, 2)), (4, 4), seeds(26, index=2))


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_spins_of_other_types_are_refused(dtype):
    states, keys = np.ones((2, 1, 4, 4), dtype=dtype), seeds(27, index=2)
    with pytest.raises(TypeError, match="int8"):
        make().evolve(states, 1.0, keys)
    with pytest.raises(TypeError, match="int8"):
        make().evolve_patch(states, PatchGeometry((4, 4), halo=0), 1.0, keys)


@pytest.mark.parametrize("duration", [-1.0, np.nan, np.inf])
def test_impossible_durations_are_refused(random_spins, duration):
    with pytest.raises(ValueError, match="duration"):
        make().evolve(random_spins((2, 1, 4, 4)), duration, seeds(28, index=2))


def test_windows_of_another_patch_are_refused(random_spins):
    with pytest.raises(ValueError, match="do not fit"):
        make().evolve_patch(
            random_spins((2, 1, 4, 4)), PatchGeometry((4, 5), halo=0), 1.0, seeds(29, index=2)
        )


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ([[4.0, 20.0]], "shape"),
        ([[4.0, 20.0], [4.0, 24.0]], "different sizes"),
        ([[4.0, 20.0], [3.0, 20.0]], "cannot add up"),
        ([[4.0, 20.0], [-6.0, 20.0]], "cannot add up"),
        ([[0.0, 12.0], [0.0, 12.0]], "cannot add up"),
        ([[4.0, 20.0], [np.nan, 20.0]], "cannot add up"),
    ],
    ids=["batch", "sizes", "parity", "too-large", "smaller-than-the-block", "nan"],
)
def test_a_rest_that_cannot_be_is_refused(random_spins, rest, message):
    with pytest.raises(ValueError, match=message):
        make().evolve_patch(
            random_spins((2, 1, 4, 4)),
            PatchGeometry((4, 4), halo=0),
            1.0,
            seeds(30, index=2),
            around=Surroundings(rest=np.array(rest)),
        )


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, None])
def test_impossible_temperatures_are_refused(temperature):
    with pytest.raises(ValidationError, match="temperature"):
        CurieWeissParameters(**({} if temperature is None else {"temperature": temperature}))


def test_the_field_is_zero_by_default():
    assert CurieWeissParameters(temperature=1.1).field == 0.0
