"""Whole Curie-Weiss systems against exact results: rates, master equations, moments."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.special import comb

from macrodyn.streams import seeds
from macrodyn.systems.curie_weiss import kernels

from .curie_weiss_exact import (
    DEFAULT,
    Enumeration,
    chain,
    make,
    site_rates,
)


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
