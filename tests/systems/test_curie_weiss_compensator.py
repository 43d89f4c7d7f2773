"""Expected rates of Curie-Weiss patches, and their integrals along paths, against exact results."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm

from macrodyn.lattice import PatchGeometry, Surroundings, Tiling
from macrodyn.streams import seeds
from macrodyn.systems.windows import cut_windows

from .curie_weiss_exact import DEFAULT, LATTICE, PATCH, chain, make, site_rates

# Buffer and boundary of a patch.
WAYS = pytest.mark.parametrize(
    ("buffer", "boundary"), [(0, "frozen"), (2, "frozen"), (0, "periodic")]
)


@pytest.fixture(scope="module")
def snapshots():
    """States whose patches differ much from each other."""
    rng = np.random.default_rng(5)
    chance = np.linspace(0.3, 0.95, LATTICE[0])[:, None]
    return np.where(rng.random((3, 1, *LATTICE)) < chance, 1, -1).astype(np.int8)


def cut(system, states, patch):
    origins = Tiling(states.shape[2:], patch.shape).origins()
    return cut_windows(system, states, origins, patch)


def test_rate_of_the_whole_is_the_exact_drift(snapshots):
    system = make()
    whole = PatchGeometry(LATTICE, halo=0, boundary="periodic")
    drift, _ = system.exact_moments(system.observe(snapshots), LATTICE)
    np.testing.assert_allclose(system.expected_rates(snapshots, whole), drift, atol=1e-14)


def test_covariance_rates_are_sums_over_all_flips(snapshots):
    spins = snapshots.reshape(3, -1)
    jump = 2.0 / spins.shape[1]
    expected = (site_rates(spins, *DEFAULT) * jump**2).sum(axis=1)
    np.testing.assert_allclose(make().covariance_rates(snapshots)[:, 0, 0], expected, rtol=1e-12)


@pytest.mark.parametrize("halo", [0, 1])
@pytest.mark.parametrize("buffer", [0, 1, 2])
def test_rates_of_patches_are_sums_over_their_sites(snapshots, buffer, halo):
    system, patch = make(), PatchGeometry(PATCH, halo=halo, buffer=buffer)
    windows, around = cut(system, snapshots, patch)
    rates = system.expected_rates(windows, patch, around)
    spins = snapshots.reshape(3, -1)
    terms = (-2.0 * spins * site_rates(spins, *DEFAULT)).reshape(3, 3, 4, 2, 4)
    expected = terms.swapaxes(2, 3).reshape(3, 6, 16).mean(axis=2)
    assert expected.std(axis=1).min() > 0.05
    np.testing.assert_allclose(rates.reshape(3, 6), expected, atol=1e-13)
    drift, _ = system.exact_moments(system.observe(snapshots), LATTICE)
    np.testing.assert_allclose(rates.reshape(3, 6).mean(axis=1), drift[:, 0], atol=1e-13)


@WAYS
@pytest.mark.parametrize("duration", [0.0, 0.3, 4.0])
def test_states_are_those_of_the_plain_evolution(algorithm, snapshots, duration, buffer, boundary):
    system = make()
    patch = PatchGeometry(PATCH, halo=0, buffer=buffer, boundary=boundary)
    windows, around = cut(system, snapshots, patch)
    keys = seeds(5, algorithm, index=len(windows))
    before = windows.copy()
    after, compensator = system.evolve_compensated(windows, patch, duration, keys, around)
    expected, _ = system.evolve_patch(windows, patch, duration, keys, around=around)
    np.testing.assert_array_equal(windows, before)
    np.testing.assert_array_equal(after, expected)
    assert np.all(after == before) == (duration == 0) and np.all(compensator == 0) == (
        duration == 0
    )
    rest = None if around.rest is None else around.rest[4:7]
    part, of_part = system.evolve_compensated(
        windows[4:7], patch, duration, keys[4:7], Surroundings(rest=rest)
    )
    np.testing.assert_array_equal(part, after[4:7])
    np.testing.assert_array_equal(of_part, compensator[4:7])


@pytest.mark.parametrize("duration", [0.25, 2.0, 10.0])
@pytest.mark.parametrize("frozen", [None, -40])
def test_mean_compensator_is_the_increment_of_the_master_equation(algorithm, frozen, duration):
    """A patch of 16 spins, alone and beside 80 frozen ones: the mean of A is known to rounding."""
    system, n, start = make(), 20_000, 3
    patch = PatchGeometry(PATCH, halo=0)
    window = np.where(np.arange(16) < start, 1, -1).astype(np.int8).reshape(1, 1, *PATCH)
    rest = None if frozen is None else np.tile([float(frozen), 96.0], (n, 1))
    law = chain(16, *DEFAULT) if frozen is None else chain(96, *DEFAULT, moving=16, frozen=frozen)
    reached = expm(law * duration)[start]
    exact = reached @ (2 * np.arange(17) / 16 - 1) - (2 * start / 16 - 1)
    _, compensator = system.evolve_compensated(
        np.repeat(window, n, axis=0),
        patch,
        duration,
        seeds(6, algorithm, index=n),
        Surroundings(rest=rest),
    )
    error = compensator.std() / np.sqrt(n)
    assert abs(compensator.mean() - exact) < 4 * error
    assert 4 * error < 0.1 * abs(exact)


@WAYS
@pytest.mark.parametrize("duration", [0.25, 1.0, 6.0])
def test_increments_and_compensators_have_one_mean(
    algorithm, snapshots, duration, buffer, boundary
):
    system, n = make(), 4_000
    patch = PatchGeometry(PATCH, halo=0, buffer=buffer, boundary=boundary)
    windows, around = cut(system, np.repeat(snapshots[:1], n, axis=0), patch)
    keys = seeds(7, algorithm, index=len(windows))
    after, compensator = system.evolve_compensated(windows, patch, duration, keys, around)
    increment = system.observable_increment(windows, after, patch, around)
    martingale = (increment - compensator).reshape(n, 6)
    error = martingale.std(axis=0) / np.sqrt(n)
    assert np.all(np.abs(martingale.mean(axis=0)) < 4 * error)
    mean = np.abs(increment.reshape(n, 6).mean(axis=0))
    assert abs(martingale.mean()) < 4 * martingale.mean(axis=1).std() / np.sqrt(n)
    # The patch that moves most would show an error of a fifth.
    assert (4 * error)[mean.argmax()] < 0.2 * mean.max()


@WAYS
def test_compensated_increments_scatter_less(algorithm, snapshots, buffer, boundary):
    system, n = make(), 4_000
    patch = PatchGeometry(PATCH, halo=0, buffer=buffer, boundary=boundary)
    windows, around = cut(system, np.repeat(snapshots[:1], n, axis=0), patch)
    ratios = []
    for duration in (0.25, 1.0):
        keys = seeds(8, algorithm, index=len(windows))
        after, compensator = system.evolve_compensated(windows, patch, duration, keys, around)
        increment = system.observable_increment(windows, after, patch, around)
        delta, noise = increment[::6, 0], (increment - compensator)[::6, 0]
        c = np.cov(delta, noise)[0, 1] / noise.var()
        assert 0.5 < c < 1.1
        ratios.append((delta - c * noise).var() / delta.var())
    assert ratios[0] < 0.02 and ratios[0] < ratios[1] < 0.2


def test_frozen_spins_have_no_rate():
    """At zero temperature but for rounding nothing happens to spins that agree."""
    system, states = make(1e-3, 0.2), np.ones((4, 1, 5, 5), dtype=np.int8)
    patch = PatchGeometry((5, 5), halo=0)
    after, compensator = system.evolve_compensated(states, patch, 1.0, seeds(9, index=4))
    np.testing.assert_array_equal(after, states)
    np.testing.assert_array_equal(compensator, 0.0)


@pytest.mark.parametrize("shape", [(4, 5), (6, 6)])
def test_windows_that_do_not_fit_are_refused(shape):
    states, patch = np.ones((2, 1, *shape), dtype=np.int8), PatchGeometry((4, 4), halo=0)
    with pytest.raises(ValueError, match="do not fit the patch"):
        make().expected_rates(states, patch)
    with pytest.raises(ValueError, match="do not fit the patch"):
        make().evolve_compensated(states, patch, 1.0, seeds(9, index=2))
