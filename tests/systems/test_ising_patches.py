"""Observables, and increments of patches against the whole lattice's exact drift."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.lattice import PatchGeometry, Tiling, gather, split
from macrodyn.sampling.cost import Cost
from macrodyn.sampling.evolve import evolve_patches
from macrodyn.streams import seeds
from macrodyn.systems.ising import kernels

LATTICE, PATCH = (60, 48), (20, 12)


def brute_force_observables(state):
    """(m, rho) of one periodic lattice, bond by bond."""
    rows, columns = state.shape
    unlike = 0
    for r in range(rows):
        for c in range(columns):
            unlike += int(state[r, c] != state[r, (c + 1) % columns])
            unlike += int(state[r, c] != state[(r + 1) % rows, c])
    return state.sum(dtype=int) / state.size, unlike / (2 * state.size)


def site_rates(spins, temperature, field):
    """Glauber rate of every site of periodic lattices [..., rows, columns]."""
    s = spins.astype(float)
    neighbours = sum(np.roll(s, step, axis) for axis in (-2, -1) for step in (-1, 1))
    return 1 / (1 + np.exp(2 * s * (neighbours + field) / temperature))


@pytest.fixture(scope="module")
def snapshot(make_ising):
    """A 60x48 state with domains, as they occur in the transient."""
    system = make_ising(2.0, 0.0)
    start = system.initial_states(np.array([0.2]), LATTICE, seeds(1, "s", index=1))
    return system.evolve(start, 4.0, seeds(2, "s", index=1))


def exact_moments(state, temperature, field):
    """Drift [2] and diffusion [2, 2]: sums over sites of rate times change of the observables."""
    s = state[0, 0].astype(int)
    rates = site_rates(s, temperature, field).ravel()
    neighbours = sum(np.roll(s, step, axis) for axis in (0, 1) for step in (-1, 1))
    # A flip turns a site's u unlike bonds of 4 into 4 - u, and 4 - 2u = s * neighbours.
    change = np.stack([-2 * s / s.size, s * neighbours / (2 * s.size)]).reshape(2, -1)
    return change @ rates, (change * rates) @ change.T


def patch_moments(system, state, geometry, temperature, field):
    """The limits dt -> 0 of each patch's mean increment and mean square over dt: [K, 2, ...]."""
    tiling = Tiling(LATTICE, geometry.shape)
    origins = tiling.origins() - geometry.margin
    windows = gather(state, origins, geometry.window)[0]
    if geometry.boundary == "periodic":
        rates = site_rates(windows, temperature, field)
    else:
        rates = gather(site_rates(state, temperature, field), origins, geometry.window)[0]
    rim = geometry.margin - geometry.buffer
    rows, columns = np.indices(geometry.active).reshape(2, -1) + rim
    drifts, squares = [], []
    for window, rate in zip(windows, rates, strict=True):
        before = np.repeat(window[None], len(rows), axis=0)
        after = before.copy()
        after[np.arange(len(rows)), 0, rows, columns] *= -1
        change = system.observable_increment(before, after, geometry)
        weight = rate[0, rows, columns]
        drifts.append(weight @ change)
        squares.append((change.T * weight) @ change)
    return np.array(drifts), np.array(squares)


@pytest.mark.parametrize("shape", [(3, 3), (5, 4), (2, 6), (20, 12)], ids=str)
def test_observables_are_those_of_brute_force(make_ising, random_spins, shape):
    states = random_spins((20, 1, *shape), up=0.7)
    expected = [brute_force_observables(state[0]) for state in states]
    np.testing.assert_allclose(make_ising().observe(states), expected, atol=1e-15)


def test_observables_of_known_states(make_ising):
    board = np.indices((6, 4)).sum(axis=0) % 2 * 2 - 1
    stripes = np.repeat([[1], [-1]] * 3, 4, axis=1)
    states = np.stack([np.ones((6, 4)), board, stripes])[:, None].astype(np.int8)
    np.testing.assert_allclose(make_ising().observe(states), [[1, 0], [0, 1], [0, 0.5]])


def test_observables_of_a_patch_use_its_own_bonds(make_ising, random_spins):
    patches = random_spins((10, 1, 3, 5))
    for patch, (m, rho) in zip(patches[:, 0], make_ising().observe_patch(patches), strict=True):
        bonds = [patch[r, c] != patch[r, c + 1] for r in range(3) for c in range(4)]
        bonds += [patch[r, c] != patch[r + 1, c] for r in range(2) for c in range(5)]
        assert m == pytest.approx(patch.mean())
        assert rho == pytest.approx(np.mean(bonds))


def test_mean_over_patches_of_magnetisation_is_the_wholes(make_ising, snapshot):
    system = make_ising()
    patches = split(snapshot, PATCH)[0]
    whole = system.observe(snapshot)[0, 0]
    assert system.observe_patch(patches)[:, 0].mean() == pytest.approx(whole, abs=1e-14)


@pytest.mark.parametrize("buffer", [0, 1, 2, 5])
@pytest.mark.parametrize(("temperature", "field"), [(2.5, 0.1), (1.6, -0.4)], ids=["T2.5", "T1.6"])
def test_patch_drifts_average_to_the_drift_of_the_whole(
    make_ising, snapshot, temperature, field, buffer
):
    # A bond across the edge counts in full for a flip of its end in the patch; flips of the buffer
    # belong to other patches.
    system = make_ising(temperature, field)
    exact = exact_moments(snapshot, temperature, field)[0]
    drifts, _ = patch_moments(
        system, snapshot, PatchGeometry(PATCH, buffer=buffer), temperature, field
    )
    assert drifts.shape == (12, 2)
    assert np.abs(exact).min() > 1e-3
    np.testing.assert_allclose(drifts.mean(axis=0), exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize("buffer", [0, 1, 2])
def test_patch_fluctuations_are_k_times_those_of_the_whole(make_ising, snapshot, buffer):
    _, exact = exact_moments(snapshot, 2.5, 0.1)
    geometry = PatchGeometry(PATCH, buffer=buffer)
    _, squares = patch_moments(make_ising(), snapshot, geometry, 2.5, 0.1)
    np.testing.assert_allclose(squares.mean(axis=0), len(squares) * exact, rtol=1e-11)


def test_buffered_increments_add_up_to_the_change_of_the_whole(make_ising, snapshot, random_spins):
    # For any two states of the whole, however far apart.
    system, geometry = make_ising(), PatchGeometry(PATCH, buffer=1)
    other = random_spins((1, 1, *LATTICE), seed=3, up=0.8)
    origins = Tiling(LATTICE, PATCH).origins() - geometry.margin
    before, after = (gather(s, origins, geometry.window)[0] for s in (snapshot, other))
    shares = system.observable_increment(before, after, geometry)
    change = system.observe(other) - system.observe(snapshot)
    np.testing.assert_allclose(shares.mean(axis=0), change[0], atol=1e-14)
    # Moved first, and frozen surroundings: the other half of the edge's pairs is then missing.
    frozen = system.observable_increment(before, after, PatchGeometry(geometry.shape, halo=2))
    assert abs(frozen[:, 1].mean() - change[0, 1]) > 1e-3


def test_periodic_patches_have_a_biased_drift(make_ising, snapshot):
    system = make_ising()
    exact = exact_moments(snapshot, 2.5, 0.1)[0]
    periodic = PatchGeometry(PATCH, 0, 0, "periodic")
    drift = patch_moments(system, snapshot, periodic, 2.5, 0.1)[0].mean(axis=0)
    assert abs(drift[1] - exact[1]) > 0.05 * abs(exact[1])


@pytest.mark.parametrize("buffer", [0, 2])
@pytest.mark.parametrize("algorithm", ["uniformisation", "n-fold"])
def test_simulated_increments_have_the_exact_drift(make_ising, snapshot, algorithm, buffer):
    system, dt, n = make_ising(5.0, -1.5, algorithm), 0.02, 4000
    states = np.repeat(snapshot, n, axis=0)
    pairs = evolve_patches(
        system,
        states,
        PatchGeometry(PATCH, buffer=buffer),
        number=3,
        dt=dt,
        lags=(1,),
        keys=seeds(9, algorithm, index=n),
        cost=Cost(),
    )
    rates = pairs.increments[:, :, 0] / dt
    exact = exact_moments(snapshot, 5.0, -1.5)[0]
    # Patches of one snapshot are drawn without repeats: their mean is one independent number.
    mean = rates.mean(axis=1)
    error = mean.std(axis=0) / np.sqrt(n)
    # The next order is dt / 2 times the rate at which the drift itself decays, of order 1.
    assert np.all(np.abs(mean.mean(axis=0) - exact) < 5 * error + dt * np.abs(exact))
    assert np.all(error < 0.05 * np.abs(exact))


@pytest.mark.parametrize("algorithm", ["uniformisation", "n-fold"])
@pytest.mark.parametrize("buffer", [0, 1, 3])
def test_halo_never_changes(make_ising, random_spins, algorithm, buffer):
    geometry = PatchGeometry((5, 7), buffer=buffer)
    windows = random_spins((40, 1, *geometry.window))
    before = windows.copy()
    after, _ = make_ising(algorithm=algorithm).evolve_patch(
        windows, geometry, 20.0, seeds(1, "halo", index=40)
    )
    np.testing.assert_array_equal(windows, before)
    halo = np.ones(geometry.window, dtype=bool)
    halo[1:-1, 1:-1] = False
    np.testing.assert_array_equal(after[:, 0, halo], before[:, 0, halo])
    moved = (after != before).any(axis=(0, 1))
    assert moved[1:-1, 1:-1].all()


@pytest.mark.parametrize("algorithm", ["uniformisation", "n-fold"])
def test_periodic_patch_is_a_whole_lattice(make_ising, random_spins, algorithm):
    system, states = make_ising(algorithm=algorithm), random_spins((30, 1, 20, 12))
    keys = seeds(1, "periodic", index=30)
    geometry = PatchGeometry((20, 12), 0, 0, "periodic")
    after, elapsed = system.evolve_patch(states, geometry, 2.0, keys)
    np.testing.assert_array_equal(after, system.evolve(states, 2.0, keys))
    np.testing.assert_array_equal(elapsed, 2.0)
    np.testing.assert_allclose(
        system.observable_increment(states, after, geometry),
        system.observe(after) - system.observe(states),
    )


@pytest.mark.parametrize("events", [0, 1, 2, 240])
def test_number_of_events_is_exact(random_spins, events):
    blocks = random_spins((50, 22, 14))
    before = blocks.copy()
    elapsed, updates, flips = kernels.advance(
        blocks, False, kernels.flip_rates(2.5, 0.1), 0.0, events, seeds(1, "e", index=50), 0
    )
    np.testing.assert_array_equal(flips, events)
    np.testing.assert_array_equal(updates, events)
    changed = (blocks != before).sum(axis=(1, 2))
    assert np.all(changed <= events) and np.all(changed % 2 == events % 2)
    if events == 1:
        assert np.all(changed == 1)
    assert np.all(elapsed > 0) if events else np.all(elapsed == 0)


def test_events_of_a_buffered_patch_include_its_buffer(make_ising, random_spins):
    geometry = PatchGeometry((2, 2), buffer=2)
    windows = random_spins((400, 1, *geometry.window))
    after, _ = make_ising().evolve_patch(windows, geometry, 0.0, seeds(1, "b", index=400), events=1)
    assert np.all((after != windows).sum(axis=(1, 2, 3)) == 1)
    assert 0 < (geometry.cut(after) != geometry.cut(windows)).sum() < 400
