"""Expected rates of the Ising model: against the exact generator, and as compensators."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.lattice import PatchGeometry, Tiling
from macrodyn.streams import seeds
from macrodyn.systems.patch_system import PatchSystem
from macrodyn.systems.windows import cut_windows


@pytest.fixture
def system(make_ising):
    return make_ising(algorithm="uniformisation")


def _states(system, shape, number, m=0.2):
    return system.initial_states(np.full((number, 1), m), shape, seeds(3, "states", index=number))


def _flips(system, states):
    """Of each site: the rate of its flip, and the change of the observables by it."""
    before = system.observe(states)
    temperature, field = system.parameters.temperature, system.parameters.field
    for r, c in np.ndindex(*states.shape[2:]):
        flipped = states.copy()
        flipped[:, 0, r, c] *= -1
        s = states[:, 0].astype(float)
        k = sum(np.roll(s, shift, axis)[:, r, c] for axis in (1, 2) for shift in (1, -1))
        rate = 1 / (1 + np.exp(2 * s[:, r, c] * (k + field) / temperature))
        yield rate, system.observe(flipped) - before


def _generator_action(system, states):
    """L phi site by site."""
    return sum(rate[:, None] * change for rate, change in _flips(system, states))


def test_the_whole_has_the_generators_action(system):
    states = _states(system, (6, 8), 5)
    whole = PatchGeometry((6, 8), boundary="periodic")
    np.testing.assert_allclose(
        system.expected_rates(states, whole), _generator_action(system, states), atol=1e-13
    )


def test_covariance_rates_are_sums_over_all_flips(system):
    states = _states(system, (6, 8), 5)
    expected = sum(
        rate[:, None, None] * change[:, :, None] * change[:, None]
        for rate, change in _flips(system, states)
    )
    found = system.covariance_rates(states)
    np.testing.assert_allclose(found, expected, atol=1e-15)
    assert np.abs(found[:, 0, 1]).min() > 1e-5


def test_they_are_what_the_noise_of_increments_tends_to(system):
    states = np.repeat(_states(system, (6, 8), 1), 40_000, axis=0)
    whole = PatchGeometry((6, 8), boundary="periodic")
    keys = seeds(9, "noise", index=len(states))
    after, compensator = system.evolve_compensated(states, whole, 0.05, keys)
    martingale = system.observe(after) - system.observe(states) - compensator
    expected = system.covariance_rates(states[:1])[0] * 0.05
    np.testing.assert_allclose(
        np.cov(martingale.T), expected, rtol=0.05, atol=0.02 * expected[0, 0]
    )


@pytest.mark.parametrize("buffer", [0, 2])
def test_rates_of_a_tilings_patches_add_up_to_the_whole(system, buffer):
    states = _states(system, (12, 16), 4)
    patch = PatchGeometry((6, 4), buffer=buffer)
    origins = Tiling((12, 16), (6, 4)).origins()
    windows, around = cut_windows(system, states, origins, patch)
    rates = system.expected_rates(windows, patch, around).reshape(4, len(origins), 2)
    whole = system.expected_rates(states, PatchGeometry((12, 16), boundary="periodic"))
    np.testing.assert_allclose(rates.mean(axis=1), whole, atol=1e-13)


@pytest.mark.parametrize(("buffer", "boundary"), [(0, "frozen"), (2, "frozen"), (0, "periodic")])
def test_states_are_those_of_the_plain_evolution(system, buffer, boundary):
    patch = PatchGeometry((6, 8), buffer=buffer, boundary=boundary)
    windows = _states(system, patch.window, 7)
    keys = seeds(5, "evolve", index=7)
    after, _ = system.evolve_compensated(windows, patch, 1.3, keys)
    expected, _ = system.evolve_patch(windows, patch, 1.3, keys)
    np.testing.assert_array_equal(after, expected)


@pytest.mark.parametrize("duration", [0.25, 1.0, 4.0])
@pytest.mark.parametrize(("buffer", "boundary"), [(0, "frozen"), (2, "frozen"), (0, "periodic")])
def test_increments_and_compensators_have_one_mean(system, duration, buffer, boundary):
    patch = PatchGeometry((4, 6), buffer=buffer, boundary=boundary)
    replicas = 20_000
    window = _states(system, patch.window, 1, 0.5)
    windows = np.repeat(window, replicas, axis=0)
    keys = seeds(7, "evolve", index=replicas)
    after, compensator = system.evolve_compensated(windows, patch, duration, keys)
    increment = system.observable_increment(windows, after, patch)
    martingale = increment - compensator
    error = martingale.std(axis=0) / np.sqrt(replicas)
    assert (np.abs(martingale.mean(axis=0)) < 4 * error).all()
    # The test would see an error of a few per cent.
    assert (4 * error < 0.06 * (1e-3 + increment.std(axis=0))).all()
    if duration < 1:
        assert (compensator.var(axis=0) < 0.3 * increment.var(axis=0)).all()


@pytest.mark.parametrize("shape", [(2, 6), (2, 2)])
def test_sites_that_meet_twice(system, shape):
    """On two rows both neighbours along the column are one site."""
    patch = PatchGeometry(shape, boundary="periodic")
    windows = np.repeat(_states(system, shape, 1, 0.5), 40_000, axis=0)
    after, compensator = system.evolve_compensated(
        windows, patch, 2.0, seeds(7, "evolve", index=40_000)
    )
    martingale = system.observable_increment(windows, after, patch) - compensator
    error = martingale.std(axis=0) / np.sqrt(len(windows))
    assert (np.abs(martingale.mean(axis=0)) < 4 * error).all()


def test_the_quadrature_of_systems_without_a_kernel_agrees(system):
    patch = PatchGeometry((8, 8), buffer=1)
    replicas = 20_000
    windows = np.repeat(_states(system, patch.window, 1, 0.6), replicas, axis=0)
    keys = seeds(9, "evolve", index=replicas)
    _, exact = system.evolve_compensated(windows, patch, 1.0, keys)
    after, quadrature = PatchSystem.evolve_compensated(system, windows, patch, 1.0, keys)
    error = np.sqrt((exact.var(axis=0) + quadrature.var(axis=0)) / replicas)
    assert (np.abs(exact.mean(axis=0) - quadrature.mean(axis=0)) < 4 * error).all()
    martingale = system.observable_increment(windows, after, patch) - quadrature
    error = martingale.std(axis=0) / np.sqrt(replicas)
    assert (np.abs(martingale.mean(axis=0)) < 4 * error).all()
