"""Curie-Weiss patches beside their frozen rest against exact results."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.linalg import expm
from scipy.special import comb

from macrodyn.lattice import PatchGeometry, Surroundings, Tiling, gather, scatter, site_index
from macrodyn.streams import seeds
from macrodyn.systems.curie_weiss import CurieWeiss, CurieWeissParameters, kernels

from .curie_weiss_exact import (
    DEFAULT,
    LATTICE,
    PATCH,
    Enumeration,
    chain,
    make,
    windows_of,
)


@pytest.fixture(scope="module")
def snapshot():
    """A state whose patches differ much from each other."""
    rng = np.random.default_rng(5)
    chance = np.linspace(0.3, 0.95, LATTICE[0])[:, None]
    return np.where(rng.random((1, 1, *LATTICE)) < chance, 1, -1).astype(np.int8)


def test_rest_is_the_sum_of_all_sites_that_do_not_move(random_spins):
    states = random_spins((3, 1, *LATTICE), up=0.6)
    origins = np.array([[0, 0], [10, 5], [3, 7]])
    rest = make().rest(states, gather(states, origins, (4, 3)))
    moving = site_index(LATTICE, origins, (4, 3)).reshape(3, -1)
    for b, state in enumerate(states.reshape(3, -1)):
        for block, sites in enumerate(moving):
            assert rest[b, block].tolist() == [np.delete(state, sites).sum(dtype=int), 96]


def patch_moments(system, snapshot, geometry):
    """Limits dt -> 0 of each patch's mean increment and mean square over dt: [K], [K]."""
    windows, around = windows_of(system, snapshot, geometry)
    rates = kernels.rate_table(0, 96, 96, *DEFAULT)
    drifts, squares = [], []
    for window, (outside, sites) in zip(windows, around.rest, strict=True):
        after = np.repeat(window[None], window.size, axis=0)
        after.reshape(window.size, window.size)[np.diag_indices(window.size)] *= -1
        ups = int(outside + window.sum(dtype=int) + sites) // 2
        weight = rates[ups, (window.ravel() + 1) // 2]
        change = system.observable_increment(window[None], after, geometry, around)[:, 0]
        drifts.append(weight @ change)
        squares.append(weight @ change**2)
    return np.array(drifts), np.array(squares)


@pytest.mark.parametrize("buffer", [0, 1, 2])
def test_patch_moments_average_to_those_of_the_whole(snapshot, buffer):
    system, geometry = make(), PatchGeometry(PATCH, halo=0, buffer=buffer)
    drift, diffusion = system.exact_moments(system.observe(snapshot), LATTICE)
    drifts, squares = patch_moments(system, snapshot, geometry)
    assert len(drifts) == 6 and drifts.std() > 0.05 and abs(drift[0, 0]) > 1e-2
    np.testing.assert_allclose(drifts.mean(), drift[0, 0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(squares.mean(), 6 * diffusion[0, 0, 0], rtol=1e-12)


@pytest.mark.parametrize("buffer", [0, 2])
def test_simulated_increments_have_the_exact_moments(algorithm, snapshot, buffer):
    system, n, dt = make(), 40_000, 0.005
    geometry = PatchGeometry(PATCH, halo=0, buffer=buffer)
    windows, around = windows_of(system, np.repeat(snapshot, n, axis=0), geometry)
    keys = seeds(12, algorithm, index=len(windows))
    after, _ = system.evolve_patch(windows, geometry, dt, keys, around=around)
    change = system.observable_increment(windows, after, geometry, around).reshape(n, 6)
    drift, diffusion = system.exact_moments(system.observe(snapshot), LATTICE)
    mean = change.mean(axis=1) / dt
    # Five standard errors, and the next order in dt: each patch's drift, of order 0.5, relaxes at
    # a rate of order 1.
    assert abs(mean.mean() - drift[0, 0]) < 5 * mean.std() / np.sqrt(n) + 0.5 * dt
    square = (change**2).mean(axis=1) / dt / 6
    error = square.std() / np.sqrt(n)
    assert abs(square.mean() - diffusion[0, 0, 0]) < 5 * error + 2 * dt * diffusion[0, 0, 0]
    assert error < 0.02 * diffusion[0, 0, 0]


@pytest.mark.parametrize(
    "geometry",
    [
        PatchGeometry((2, 3), halo=0),
        PatchGeometry((1, 2), halo=0, buffer=1),
        PatchGeometry((2, 2), halo=1),
    ],
    ids=["no-buffer", "buffer", "halo"],
)
def test_transient_law_of_a_patch_beside_its_rest(algorithm, chi_square, random_spins, geometry):
    # The block that moves lies across the numbering's edge; the rest is mostly down.
    system, shape, n = make(0.8, -0.1), (3, 5), 60_000
    whole = random_spins((1, 1, *shape), seed=4, up=0.3)
    origin = np.array([[2, 3]])
    inner = site_index(shape, origin - geometry.buffer, geometry.active).ravel()
    if geometry.buffer:
        # 3 x 4 sites are too many states: the law of the number of spins up is enough.
        frozen = int(np.delete(whole.ravel(), inner).sum(dtype=int))
        law = expm(chain(15, 0.8, -0.1, moving=12, frozen=frozen) * 0.8)
        law = law[(whole.ravel()[inner] > 0).sum()]
    else:
        block = Enumeration.of(whole.ravel(), inner, 0.8, -0.1)
        start = np.flatnonzero(block.counts(whole.ravel()[None, inner]))[0]
        law = expm(block.generator * 0.8)[start]
    windows = gather(whole, origin - geometry.margin, geometry.window)[0]
    rest = system.rest(whole, gather(whole, origin - geometry.buffer, geometry.active))[0]
    after, elapsed = system.evolve_patch(
        np.repeat(windows, n, axis=0),
        geometry,
        0.8,
        seeds(13, algorithm, index=n),
        around=Surroundings(rest=np.repeat(rest, n, axis=0)),
    )
    np.testing.assert_array_equal(elapsed, 0.8)
    rim = geometry.margin - geometry.buffer
    cut = tuple(slice(rim, rim + side) for side in geometry.active)
    moved = after[(..., *cut)].reshape(n, -1)
    if geometry.buffer:
        counts = np.bincount((moved > 0).sum(axis=1), minlength=13)
    else:
        counts = block.counts(moved)
    assert chi_square(counts, law) > 1e-4


@pytest.mark.parametrize("outside", [-15, -3, 9])
def test_a_single_spin_follows_the_frozen_rest(algorithm, random_spins, outside):
    n, temperature, field = 40_000, 0.7, 0.1
    after, _ = make(temperature, field).evolve_patch(
        random_spins((n, 1, 1, 1)),
        PatchGeometry((1, 1), halo=0),
        30.0,
        seeds(14, algorithm, outside, index=n),
        around=Surroundings(rest=np.tile([outside, 16.0], (n, 1))),
    )
    exact = np.tanh((outside / 16 + field) / temperature)
    assert abs(after.mean() - exact) < 5 * np.sqrt((1 - exact**2) / n)


def test_patch_by_patch_leads_to_the_equilibrium_of_the_whole(chi_square):
    system, n, geometry = make(), 20_000, PatchGeometry((2, 2), halo=0)
    states = system.initial_states(np.full((n, 1), -0.8), (4, 4), seeds(15, index=n))
    origins = Tiling((4, 4), (2, 2)).origins()
    for step in range(80):
        origin = origins[step % 4 : step % 4 + 1]
        block = gather(states, origin, (2, 2))
        around = Surroundings(rest=system.rest(states, block)[:, 0])
        keys = seeds(15, "patch", step, index=n)
        block[:, 0], _ = system.evolve_patch(block[:, 0], geometry, 2.0, keys, around=around)
        scatter(states, origin, block)
    ups = np.arange(17)
    total = 2 * ups - 16
    weight = comb(16, ups) * np.exp((total**2 / 32 + 0.1 * total) / 1.1)
    counts = np.bincount((states > 0).sum(axis=(1, 2, 3)), minlength=17)
    assert chi_square(counts, weight / weight.sum()) > 1e-4


@pytest.mark.parametrize("boundary", ["frozen", "periodic"])
def test_a_patch_alone_is_a_small_system(algorithm, random_spins, boundary):
    system, states, keys = make(), random_spins((30, 1, 6, 5)), seeds(16, index=30)
    geometry = PatchGeometry((6, 5), halo=0, boundary=boundary)
    after, elapsed = system.evolve_patch(states, geometry, 2.0, keys)
    np.testing.assert_array_equal(after, system.evolve(states, 2.0, keys))
    np.testing.assert_array_equal(elapsed, 2.0)
    around = Surroundings(rest=np.tile([-66.0, 96.0], (30, 1)))
    beside, _ = system.evolve_patch(states, geometry, 2.0, keys, around=around)
    assert np.all(beside == after) == (boundary == "periodic")
    np.testing.assert_allclose(
        system.observable_increment(states, after, geometry),
        system.observe(after) - system.observe(states),
    )


def test_halo_never_moves_and_is_part_of_the_rest(algorithm, snapshot):
    system, origin = make(), np.array([[3, 2]])
    narrow = PatchGeometry((2, 3), halo=0, buffer=1)
    wide = PatchGeometry((2, 3), halo=2, buffer=1)
    states = np.repeat(snapshot, 50, axis=0)
    around = Surroundings(rest=system.rest(states, gather(states, origin - 1, narrow.active))[:, 0])
    small, large = (gather(states, origin - g.margin, g.window)[:, 0] for g in (narrow, wide))
    before, keys = large.copy(), seeds(17, index=50)
    after, _ = system.evolve_patch(large, wide, 5.0, keys, around=around)
    np.testing.assert_array_equal(large, before)
    expected = before.copy()
    expected[:, :, 2:-2, 2:-2], _ = system.evolve_patch(small, narrow, 5.0, keys, around=around)
    np.testing.assert_array_equal(after, expected)
    assert (after != before).any(axis=(0, 1))[2:-2, 2:-2].all()


def test_increments_do_not_count_the_buffer(random_spins):
    system, geometry = make(), PatchGeometry((3, 2), halo=0, buffer=2)
    before, after = (random_spins((20, 1, *geometry.window), seed=s) for s in (1, 2))
    core = (slice(None), slice(None), slice(2, 5), slice(2, 4))
    expected = (after[core].astype(int) - before[core]).sum(axis=(1, 2, 3)) / 6
    increments = system.observable_increment(before, after, geometry)
    np.testing.assert_allclose(increments, expected[:, None], atol=1e-15)


@pytest.mark.parametrize("events", [1, 3, 8])
def test_stopping_after_events_gives_their_exact_mean_time(chi_square, events):
    n, start = 60_000, 5
    block = Enumeration.of(np.ones(6), np.arange(6), *DEFAULT)
    windows = np.repeat(block.states[start].reshape(1, 1, 2, 3).astype(np.int8), n, axis=0)
    after, elapsed = make().evolve_patch(
        windows, PatchGeometry((2, 3), halo=0), 1.0, seeds(20, index=n), events=events
    )
    total = -np.diag(block.generator)
    jump = (block.generator + np.diag(total)) / total[:, None]
    law, mean = np.eye(64)[start], 0.0
    for _ in range(events):
        mean += (law / total).sum()
        law = law @ jump
    assert abs(elapsed.mean() - mean) < 5 * elapsed.std() / np.sqrt(n)
    counts, reached = block.counts(after.reshape(n, -1)), law > 0
    assert counts[~reached].sum() == 0
    assert chi_square(counts[reached], law[reached]) > 1e-4


def test_events_of_a_patch_follow_its_rest_and_include_its_buffer(random_spins):
    n, geometry = 20_000, PatchGeometry((2, 2), halo=0, buffer=1)
    window = random_spins((1, 1, *geometry.window))
    windows = np.repeat(window, n, axis=0)
    around = Surroundings(rest=np.tile([-40.0, 96.0], (n, 1)))
    after, elapsed = make().evolve_patch(
        windows, geometry, 0.0, seeds(21, index=n), events=1, around=around
    )
    flipped = (after != windows).reshape(n, -1)
    assert np.all(flipped.sum(axis=1) == 1)
    up = (window.ravel() > 0).astype(int)
    total = -40 + window.sum(dtype=int)
    weight = kernels.flip_rates(total / 96, 96, *DEFAULT)[up]
    assert abs(elapsed.mean() - 1 / weight.sum()) < 5 / weight.sum() / np.sqrt(n)
    share = weight / weight.sum()
    tolerance = 5 * np.sqrt(share * (1 - share) / n)
    assert np.all(np.abs(flipped.mean(axis=0) - share) < tolerance)


def test_events_that_can_never_happen_take_forever():
    states = np.ones((4, 1, 5, 5), dtype=np.int8)
    system, geometry, keys = make(1e-3, 0.2), PatchGeometry((5, 5), halo=0), seeds(22, index=4)
    after, elapsed = system.evolve_patch(states, geometry, 1.0, keys, events=2)
    np.testing.assert_array_equal(after, states)
    np.testing.assert_array_equal(elapsed, np.inf)
    after, elapsed = system.evolve_patch(states, geometry, 1.0, keys)
    np.testing.assert_array_equal(after, states)
    np.testing.assert_array_equal(elapsed, 1.0)


@pytest.mark.parametrize("side", [8, 16])
def test_bias_of_periodic_patches_is_that_of_the_theory_page(side):
    """Wrapped patches of independent spins: their drift, averaged, against the whole's."""
    temperature, field, p, n = 1.1, 0.1, side**2, 10**6
    system = CurieWeiss(CurieWeissParameters(temperature=temperature, field=field))
    m = np.linspace(-0.75, 0.85, 9)
    up = np.arange(p + 1)
    alone, _ = system.exact_moments((2 * up / p - 1)[:, None], (side, side))
    whole, _ = system.exact_moments(m[:, None], (1000, n // 1000))
    bias = stats.binom.pmf(up, p, (1 + m[:, None]) / 2) @ alone[:, 0] - whole[:, 0]
    x = (m + field) / temperature
    slope = 1 / (temperature * np.cosh(x) ** 2)
    expected = -np.tanh(x) * slope / temperature * (1 - m**2) / p - m * slope / p
    # The next order is 1 / p^2.
    np.testing.assert_allclose(bias, expected, atol=3 / p**2)
    assert np.abs(expected).max() > 20 / p**2
