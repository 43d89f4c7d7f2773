"""Larger lattices: Onsager's results, equal laws of both algorithms, reproducible bits."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from scipy import stats
from scipy.special import ellipk

from macrodyn.lattice import PatchGeometry, Tiling, gather
from macrodyn.streams import seeds
from macrodyn.systems.ising import kernels

REPLICAS, RECORDS = 16, 40


def onsager_energy(temperature: float) -> float:
    """Energy per site of the infinite lattice at h = 0 (Onsager, Phys. Rev. 65, 117 (1944))."""
    k = 2.0 * np.sinh(2 / temperature) / np.cosh(2 / temperature) ** 2
    factor = 1 + 2 / np.pi * (2 * np.tanh(2 / temperature) ** 2 - 1) * ellipk(k**2)
    return -factor / np.tanh(2 / temperature)


def yang_magnetisation(temperature: float) -> float:
    """Spontaneous magnetisation (Yang, Phys. Rev. 85, 808 (1952))."""
    return (1 - np.sinh(2 / temperature) ** -4) ** 0.125


def equilibrium_averages(system, temperature, *, side=64, warm_up, spacing):
    """Time averages of (m, rho) of replicas that start fully magnetised: [replica, 2]."""
    states = np.ones((REPLICAS, 1, side, side), dtype=np.int8)
    name = f"equilibrium-{temperature}"
    states = system.evolve(states, warm_up, seeds(11, name, index=REPLICAS))
    values = []
    for record in range(RECORDS):
        states = system.evolve(states, spacing, seeds(11, name, record, index=REPLICAS))
        values.append(system.observe(states))
    return np.mean(values, axis=0)


# L = 64 is ten correlation lengths or more: finite-size corrections are below 1e-4.
@pytest.mark.parametrize("temperature", [2.0, 2.6, 3.5])
def test_energy_is_onsagers(make_ising, temperature):
    system = make_ising(temperature, 0.0)
    averages = equilibrium_averages(system, temperature, warm_up=150.0, spacing=8.0)
    energy = -2.0 * (1.0 - 2.0 * averages[:, 1])
    error = energy.std(ddof=1) / np.sqrt(REPLICAS)
    assert error < 0.005
    assert abs(energy.mean() - onsager_energy(temperature)) < 4.5 * error + 1e-4
    magnetisation = averages[:, 0].mean()
    spread = averages[:, 0].std(ddof=1) / np.sqrt(REPLICAS)
    exact = yang_magnetisation(temperature) if temperature < 2.27 else 0.0
    assert spread < 0.05
    assert abs(magnetisation - exact) < 4.5 * spread + 1e-4


@pytest.mark.parametrize("temperature", [1.0, 1.5])
def test_cold_lattices_with_the_nfold_way(make_ising, temperature):
    system = make_ising(temperature, 0.0, "n-fold")
    averages = equilibrium_averages(system, temperature, side=48, warm_up=40.0, spacing=4.0)
    mean, error = averages.mean(axis=0), averages.std(axis=0, ddof=1) / np.sqrt(REPLICAS)
    assert np.all(error < 3e-4)
    energy = -2.0 * (1.0 - 2.0 * mean[1])
    assert abs(energy - onsager_energy(temperature)) < 4.5 * 4 * error[1]
    assert abs(mean[0] - yang_magnetisation(temperature)) < 4.5 * error[0]


def test_first_flip_of_a_frozen_lattice_waits_exponentially(make_ising):
    # At T = 0.3 an aligned spin flips every 4e11 attempts: only the n-fold way gets there.
    n, sites, patch = 5000, 15, PatchGeometry((3, 5), halo=0, boundary="periodic")
    after, elapsed = make_ising(0.3, 0.0).evolve_patch(
        np.ones((n, 1, 3, 5), dtype=np.int8), patch, 1.0, seeds(2, "cold", index=n), events=1
    )
    rate = sites / (1 + np.exp(8 / 0.3))
    assert stats.kstest(elapsed * rate, "expon").pvalue > 1e-4
    assert np.all((after == -1).sum(axis=(1, 2, 3)) == 1)
    flipped = np.argmin(after.reshape(n, -1), axis=1)
    assert stats.chisquare(np.bincount(flipped, minlength=sites)).pvalue > 1e-4


def test_hopelessly_frozen_lattices_end(make_ising):
    states = np.ones((2, 1, 4, 4), dtype=np.int8)
    system = make_ising(1e-3, 0.0, "n-fold")
    np.testing.assert_array_equal(system.evolve(states, 5.0, seeds(1, "x", index=2)), states)
    patch = PatchGeometry((4, 4), halo=0, boundary="periodic")
    _, elapsed = system.evolve_patch(states, patch, 1.0, seeds(1, "x", index=2), events=3)
    assert np.all(np.isinf(elapsed))


@pytest.mark.parametrize(
    ("temperature", "uniformised"), [(2.5, True), (1.0, False)], ids=["warm", "cold"]
)
def test_automatic_choice_follows_the_acceptance(temperature, uniformised):
    blocks = np.ones((20, 18, 18), dtype=np.int8)
    rates = kernels.flip_rates(temperature, 0.1)
    _, updates, flips = kernels.advance(
        blocks, True, rates, 5.0, -1, seeds(1, "auto", index=20), kernels.AUTOMATIC
    )
    assert flips.sum() > 0
    if uniformised:
        assert abs(updates.mean() - 5 * 256) < 5 * np.sqrt(5 * 256 / 20)
        assert np.all(updates > flips)
    else:
        np.testing.assert_array_equal(updates, flips)


@pytest.mark.parametrize(
    ("temperature", "field", "time"), [(2.5, 0.1, 1.0), (1.8, 0.0, 4.0)], ids=["warm", "cool"]
)
def test_both_algorithms_have_the_same_law(make_ising, temperature, field, time):
    n = 12_000
    start = make_ising().initial_states(np.full(n, 0.3), (16, 16), seeds(1, "start", index=n))
    m, rho = [], []
    for algorithm in ("uniformisation", "n-fold"):
        system = make_ising(temperature, field, algorithm)
        other = start if algorithm == "n-fold" else start[::-1]
        values = system.observe(system.evolve(other, time, seeds(1, algorithm, index=n)))
        m.append(values[:, 0])
        rho.append(values[:, 1])
    for one, two in (m, rho):
        edges = np.unique(np.quantile(np.concatenate([one, two]), np.linspace(0, 1, 21)))[1:-1]
        table = [np.bincount(np.searchsorted(edges, x), minlength=20) for x in (one, two)]
        assert stats.chi2_contingency(np.array(table)[:, np.sum(table, 0) > 0]).pvalue > 1e-4
        assert stats.ttest_ind(one, two).pvalue > 1e-4


def cases(system):
    """Something to compute at 60x48 with patches of 20x12, from states and keys."""
    frozen, periodic = PatchGeometry((20, 12), buffer=2), PatchGeometry((20, 12), 0, 0, "periodic")

    def patches(geometry, events=None):
        def run(states, keys):
            origins = Tiling((60, 48), (20, 12)).origins()[3:4] - geometry.margin
            windows = gather(states, origins, geometry.window)[:, 0]
            after, elapsed = system.evolve_patch(windows, geometry, 0.7, keys, events)
            return after.reshape(len(states), -1), elapsed

        return run

    def initial(states, keys):
        return (system.initial_states(np.full(len(keys), 0.2), (20, 12), keys),)

    return {
        "whole": lambda states, keys: (system.evolve(states, 1.3, keys),),
        "frozen": patches(frozen),
        "periodic": patches(periodic),
        "events": patches(frozen, events=50),
        "initial": initial,
    }


@pytest.mark.parametrize("what", ["whole", "frozen", "periodic", "events", "initial"])
@pytest.mark.parametrize("algorithm", ["uniformisation", "n-fold", "auto"])
def test_same_bits_for_any_batching_and_order(make_ising, random_spins, algorithm, what):
    run = cases(make_ising(2.2, 0.05, algorithm))[what]
    states, keys = random_spins((23, 1, 60, 48)), seeds(5, "bits", index=23)
    states[::2] = np.abs(states[::2])  # auto takes the n-fold way for these
    before = states.copy()
    whole = run(states, keys)
    np.testing.assert_array_equal(states, before)
    order = np.random.default_rng(1).permutation(23)
    for cut in (np.split(order, [1, 8, 9, 20]), np.split(np.arange(23), [5])):
        for part in cut:
            for got, expected in zip(run(states[part], keys[part]), whole, strict=True):
                np.testing.assert_array_equal(got, expected[part])


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")
@pytest.mark.parametrize("what", ["whole", "frozen", "periodic", "events"])
@pytest.mark.parametrize("algorithm", ["uniformisation", "n-fold"])
def test_same_bits_for_one_and_two_threads(make_ising, random_spins, algorithm, what):
    run = cases(make_ising(2.5, 0.1, algorithm))[what]
    states, keys = random_spins((24, 1, 60, 48)), seeds(6, "bits", index=24)
    used = numba.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            results.append(run(states, keys))
    finally:
        numba.set_num_threads(used)
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_different_keys_give_different_histories(make_ising, random_spins):
    states = np.repeat(random_spins((1, 1, 60, 48)), 50, axis=0)
    for algorithm in ("uniformisation", "n-fold"):
        after = make_ising(algorithm=algorithm).evolve(states, 0.5, seeds(1, "k", index=50))
        assert len(np.unique(after.reshape(50, -1), axis=0)) == 50


def test_initial_states_are_independent_spins(make_ising):
    n = 4000
    macrostate = np.repeat([-1.0, -0.4, 0.0, 0.75, 1.0], n)
    states = make_ising().initial_states(macrostate, (6, 5), seeds(1, "iid", index=5 * n))
    assert states.shape == (5 * n, 1, 6, 5) and states.dtype == np.int8
    sums = states.reshape(5, n, 30)
    for m, spins in zip([-1.0, -0.4, 0.0, 0.75, 1.0], sums, strict=True):
        if abs(m) == 1:
            assert np.all(spins == m)
            continue
        ups = np.bincount((spins > 0).sum(axis=1), minlength=31)
        law = stats.binom.pmf(np.arange(31), 30, (1 + m) / 2) * n
        keep = law > 5
        statistic = ((ups - law)[keep] ** 2 / law[keep]).sum()
        assert stats.chi2.sf(statistic, keep.sum() - 1) > 1e-4


def test_impossible_requests_are_refused(make_ising, random_spins):
    system, keys = make_ising(), seeds(1, "x", index=1)
    with pytest.raises(ValueError, match="between -1 and 1"):
        system.initial_states(np.array([1.2]), (4, 4), keys)
    with pytest.raises(ValueError, match="must not be negative"):
        system.evolve(random_spins((1, 1, 4, 4)), -1.0, keys)
    with pytest.raises(ValueError, match="must not be negative"):
        system.evolve(random_spins((1, 1, 4, 4)), float("nan"), keys)
    with pytest.raises(TypeError, match="int8"):
        system.evolve(np.ones((1, 1, 4, 4)), 1.0, keys)
    with pytest.raises(ValueError, match=r"do not fit the patch \(6, 6\)"):
        system.evolve_patch(random_spins((1, 1, 4, 4)), PatchGeometry((4, 4)), 1.0, keys)
