"""Curie-Weiss spins against exact results: rates, master equations, moments, patches."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats
from scipy.linalg import expm
from scipy.special import comb

from macrodyn.lattice import PatchGeometry, Surroundings, Tiling, gather, scatter, site_index
from macrodyn.streams import seeds
from macrodyn.systems import curie_weiss_kernels as kernels
from macrodyn.systems.curie_weiss import CurieWeiss, CurieWeissParameters

LATTICE, PATCH = (12, 8), (4, 4)
DEFAULT = (1.1, 0.1)


def make(temperature=DEFAULT[0], field=DEFAULT[1]):
    return CurieWeiss(CurieWeissParameters(temperature=temperature, field=field))


@pytest.fixture(params=["uniformisation", "rejection-free"])
def algorithm(request, monkeypatch):
    """Evolve every block by one algorithm, whatever its mean rate."""
    few = 0.0 if request.param == "uniformisation" else 2.0
    monkeypatch.setattr(kernels, "FEW_ACCEPTED", few)
    return request.param


def energy(spins, field):
    """H of states [..., n], pair by pair."""
    s = spins.astype(float)
    n = s.shape[-1]
    pairs = sum(s[..., i] * s[..., j] for i, j in combinations(range(n), 2))
    return -pairs / n - field * s.sum(axis=-1)


def site_rates(spins, temperature, field):
    """Glauber rate of each site of states [..., n], from the energy before and after its flip."""
    n = spins.shape[-1]
    flipped = spins[..., None, :] * (1 - 2 * np.eye(n, dtype=int))
    change = energy(flipped, field) - energy(spins, field)[..., None]
    return 1.0 / (1.0 + np.exp(change / temperature))


@dataclass(frozen=True)
class Enumeration:
    """All states of the sites that move, the others as they are; moving spin i is bit i."""

    states: np.ndarray
    moving: np.ndarray
    temperature: float
    field: float

    @classmethod
    def of(cls, whole, moving, temperature, field):
        bits = np.arange(2 ** len(moving))[:, None] >> np.arange(len(moving)) & 1
        states = np.repeat(whole[None].astype(int), len(bits), axis=0)
        states[:, moving] = 2 * bits - 1
        return cls(states, moving, temperature, field)

    @property
    def probability(self):
        weight = np.exp(-energy(self.states, self.field) / self.temperature)
        return weight / weight.sum()

    @property
    def rates(self):
        return site_rates(self.states, self.temperature, self.field)[:, self.moving]

    @property
    def neighbours(self):
        return np.arange(len(self.states))[:, None] ^ (1 << np.arange(len(self.moving)))

    @property
    def generator(self):
        q = np.zeros((len(self.states), len(self.states)))
        np.put_along_axis(q, self.neighbours, self.rates, axis=1)
        return q - np.diag(q.sum(axis=1))

    def counts(self, moved):
        """How often each state occurs among the moving spins of states [batch, moving]."""
        numbers = (moved > 0) @ (1 << np.arange(moved.shape[1]))
        return np.bincount(numbers, minlength=len(self.states))


def chain(sites, temperature, field, moving=None, frozen=0):
    """Generator of the number of spins up among those that move, beside a frozen sum of spins."""
    moving = sites if moving is None else moving
    ups = np.arange(moving + 1)
    total = 2 * ups - moving + frozen
    h = -(total**2 - sites) / (2 * sites) - field * total
    change = np.diff(h) / temperature
    q = np.diag((moving - ups[:-1]) / (1 + np.exp(change)), 1)
    q += np.diag(ups[1:] / (1 + np.exp(-change)), -1)
    return q - np.diag(q.sum(axis=1))


def windows_of(system, states, geometry):
    """Windows [batch * K, ...] of all patches of states, and what surrounds each."""
    origins = Tiling(states.shape[2:], geometry.shape).origins()
    windows = gather(states, origins - geometry.margin, geometry.window)
    active = gather(states, origins - geometry.buffer, geometry.active)
    rest = system.rest(states, active)
    return windows.reshape(-1, *windows.shape[2:]), Surroundings(rest=rest.reshape(-1, 2))


@pytest.fixture(scope="module")
def snapshot():
    """A state whose patches differ much from each other."""
    rng = np.random.default_rng(5)
    chance = np.linspace(0.3, 0.95, LATTICE[0])[:, None]
    return np.where(rng.random((1, 1, *LATTICE)) < chance, 1, -1).astype(np.int8)


@pytest.mark.parametrize("temperature", [0.3, 1.1, 10.0])
@pytest.mark.parametrize("field", [0.0, 0.1, -0.7])
def test_rates_are_glauber_and_in_detailed_balance(temperature, field):
    block = Enumeration.of(np.ones(6), np.arange(6), temperature, field)
    table = kernels.rate_table(0, 6, 6, temperature, field)
    up = (block.states > 0).astype(int)
    rates = table[up.sum(axis=1)[:, None], up]
    np.testing.assert_allclose(rates, block.rates, rtol=1e-12)
    flow = block.probability[:, None] * rates
    np.testing.assert_allclose(flow, flow[block.neighbours, np.arange(6)], rtol=1e-11)


def test_part_of_the_rate_table_is_the_whole_tables():
    whole = kernels.rate_table(0, 96, 96, *DEFAULT)
    np.testing.assert_array_equal(kernels.rate_table(40, 61, 96, *DEFAULT), whole[40:62])


@pytest.mark.parametrize("temperature", [1e-3, 1e-310])
def test_rates_survive_the_coldest_temperatures(temperature):
    rates = kernels.rate_table(0, 20, 20, temperature, 0.01)
    assert np.all(np.isfinite(rates)) and np.all((rates >= 0) & (rates <= 1))


@pytest.mark.parametrize("shape", [(2, 2), (2, 3), (1, 5)], ids=str)
@pytest.mark.parametrize("time", [0.1, 1.5])
@pytest.mark.parametrize(("temperature", "field"), [(1.1, 0.1), (0.6, -0.2)], ids=["T1.1", "T0.6"])
def test_transient_law_is_the_master_equations(
    algorithm, chi_square, shape, time, temperature, field
):
    n, sites = 100_000, shape[0] * shape[1]
    block = Enumeration.of(np.ones(sites), np.arange(sites), temperature, field)
    begin = np.repeat(block.states[5].reshape(1, 1, *shape).astype(np.int8), n, axis=0)
    after = make(temperature, field).evolve(begin, time, seeds(5, algorithm, index=n))
    law = expm(block.generator * time)[5]
    assert chi_square(block.counts(after.reshape(n, -1)), law) > 1e-4


@pytest.mark.parametrize("time", [0.2, 2.0])
def test_transient_law_of_the_magnetisation_is_its_birth_death_chains(
    algorithm, chi_square, random_spins, time
):
    n = 50_000
    begin = np.repeat(random_spins((1, 1, 6, 6), up=0.25), n, axis=0)
    after = make().evolve(begin, time, seeds(6, algorithm, index=n))
    law = expm(chain(36, *DEFAULT) * time)[(begin[0] > 0).sum()]
    assert chi_square(np.bincount((after > 0).sum(axis=(1, 2, 3)), minlength=37), law) > 1e-4


@pytest.mark.parametrize(
    ("temperature", "field"), [(1.1, 0.1), (0.9, 0.02)], ids=["T1.1", "bistable"]
)
def test_stationary_law_of_the_magnetisation_is_boltzmanns(
    algorithm, chi_square, random_spins, temperature, field
):
    n, duration, ups = 20_000, 200.0, np.arange(37)
    total = 2 * ups - 36
    weight = comb(36, ups) * np.exp((total**2 / 72 + field * total) / temperature)
    law = weight / weight.sum()
    # The duration is long enough, wherever one begins.
    reached = expm(chain(36, temperature, field) * duration)
    np.testing.assert_allclose(reached, np.repeat(law[None], 37, axis=0), atol=1e-4)
    after = make(temperature, field).evolve(
        random_spins((n, 1, 6, 6)), duration, seeds(7, algorithm, index=n)
    )
    assert chi_square(np.bincount((after > 0).sum(axis=(1, 2, 3)), minlength=37), law) > 1e-4


def test_two_steps_are_one(algorithm, chi_square):
    system, n = make(), 100_000
    block = Enumeration.of(np.ones(6), np.arange(6), *DEFAULT)
    states = np.repeat(block.states[9].reshape(1, 1, 2, 3).astype(np.int8), n, axis=0)
    states = system.evolve(states, 0.3, seeds(8, "first", index=n))
    states = system.evolve(states, 0.9, seeds(8, "second", index=n))
    law = expm(block.generator * 1.2)[9]
    assert chi_square(block.counts(states.reshape(n, -1)), law) > 1e-4


def test_attempts_are_poisson():
    n, mean = 20_000, 36 * 0.7
    blocks = np.ones((n, 36), dtype=np.int8)
    elapsed, attempts, flips = kernels.advance(
        blocks,
        np.zeros(n, dtype=np.int64),
        kernels.rate_table(0, 36, 36, *DEFAULT),
        0.7,
        -1,
        seeds(9, index=n),
        0.0,
    )
    np.testing.assert_array_equal(elapsed, 0.7)
    assert abs(attempts.mean() - mean) < 5 * np.sqrt(mean / n)
    # The variance of a sample variance of a Poisson number is about (2 mean^2 + mean) / n.
    assert abs(attempts.var() - mean) < 5 * np.sqrt((2 * mean**2 + mean) / n)
    assert np.all(flips <= attempts) and 0 < flips.sum() < attempts.sum()


@pytest.mark.parametrize(
    ("temperature", "field", "m", "few"),
    [(1.1, 0.1, 0.6, 0.0), (0.4, 0.0, 1.0, 2.0)],
    ids=["default-uniformisation", "cold-rejection-free"],
)
def test_each_block_goes_the_faster_way(monkeypatch, temperature, field, m, few):
    system, keys = make(temperature, field), seeds(10, index=8)
    states = system.initial_states(np.full((8, 1), m), (16, 16), keys)
    after = system.evolve(states, 3.0, keys)
    monkeypatch.setattr(kernels, "FEW_ACCEPTED", few)
    np.testing.assert_array_equal(system.evolve(states, 3.0, keys), after)
    monkeypatch.setattr(kernels, "FEW_ACCEPTED", 2.0 - few)
    assert np.any(system.evolve(states, 3.0, keys) != after)


@pytest.mark.parametrize("up", [0.1, 0.5, 0.8, 1.0])
@pytest.mark.parametrize(("temperature", "field"), [(1.1, 0.1), (0.5, -0.3)], ids=["T1.1", "T0.5"])
def test_exact_moments_are_sums_over_all_sites(random_spins, up, temperature, field):
    system, states = make(temperature, field), random_spins((5, 1, 5, 7), up=up)
    drift, diffusion = system.exact_moments(system.observe(states), (5, 7))
    spins = states.reshape(5, 35)
    rates = site_rates(spins, temperature, field)
    change = -2.0 * spins / 35
    np.testing.assert_allclose(drift[:, 0], (rates * change).sum(axis=1), rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        diffusion[:, 0, 0], (rates * change**2).sum(axis=1), rtol=0, atol=1e-12
    )


def test_exact_moments_are_those_of_the_simulation(algorithm, random_spins):
    system, n, dt = make(), 40_000, 0.005
    states = np.repeat(random_spins((1, 1, 8, 8), up=0.4), n, axis=0)
    change = system.observe(system.evolve(states, dt, seeds(11, algorithm, index=n)))
    change = (change - system.observe(states))[:, 0]
    drift, diffusion = system.exact_moments(system.observe(states[:1]), (8, 8))
    error = change.std() / np.sqrt(n) / dt
    # Five standard errors, and the next order in dt: the moments change at rates of order 2.
    assert abs(change.mean() / dt - drift[0, 0]) < 5 * error + 2 * dt * abs(drift[0, 0])
    square = change**2 / dt
    error = square.std() / np.sqrt(n)
    assert abs(square.mean() - diffusion[0, 0, 0]) < 5 * error + 2 * dt * diffusion[0, 0, 0]


def test_observables_of_wholes_and_patches_are_mean_spins(random_spins):
    system, states = make(), random_spins((7, 1, *LATTICE), up=0.7)
    expected = [[sum(int(s) for s in state.ravel()) / 96] for state in states]
    np.testing.assert_allclose(system.observe(states), expected, atol=1e-15)
    patches = gather(states, Tiling(LATTICE, PATCH).origins(), PATCH)
    means = [system.observe_patch(of_one)[:, 0].mean() for of_one in patches]
    np.testing.assert_allclose(means, np.ravel(expected), atol=1e-15)


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
