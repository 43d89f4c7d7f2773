"""Small lattices against exact results: rates, Boltzmann distribution, transient law."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm

from macrodyn.lattice import PatchGeometry
from macrodyn.streams import seeds
from macrodyn.systems.ising.kernels import flip_rates

ALGORITHMS = ["uniformisation", "n-fold"]


@pytest.mark.parametrize("temperature", [0.8, 2.5, 10.0])
@pytest.mark.parametrize("field", [0.0, 0.1, -0.7])
def test_rates_are_glauber_and_in_detailed_balance(enumerate_block, temperature, field):
    block = enumerate_block((3, 3), temperature, field)
    table = flip_rates(temperature, field)
    s = block.states.astype(int)
    neighbours = sum(np.roll(s, step, axis) for axis in (1, 2) for step in (-1, 1))
    rates = table[5 * ((s + 1) // 2) + (neighbours + 4) // 2].reshape(len(s), 9)
    np.testing.assert_allclose(rates, block.rates, rtol=1e-12)
    flow = block.probability[:, None] * rates
    there = np.arange(len(s))[:, None] ^ (1 << np.arange(9))
    np.testing.assert_allclose(flow, flow[there, np.arange(9)], rtol=1e-11)


def test_rates_survive_the_coldest_temperatures():
    rates = flip_rates(1e-3, 0.1)
    assert np.all(np.isfinite(rates)) and np.all((rates >= 0) & (rates <= 1))


# Durations are eight relaxation times or more: the slowest eigenvalues of the generators are 0.089
# (3x3, T=3, h=0.15), 0.209 (3x3, T=4, h=-0.3) and 0.202 (4x4, T=4, h=0.3).
@pytest.mark.parametrize(("algorithm", "n"), [("uniformisation", 100_000), ("n-fold", 40_000)])
@pytest.mark.parametrize(
    ("temperature", "field", "duration"),
    [(3.0, 0.15, 100.0), (4.0, -0.3, 40.0)],
    ids=["T3", "T4-negative-field"],
)
def test_all_states_of_3x3_have_boltzmann_probabilities(
    enumerate_block,
    chi_square,
    make_ising,
    random_spins,
    algorithm,
    n,
    temperature,
    field,
    duration,
):
    block = enumerate_block((3, 3), temperature, field)
    probability = block.probability
    states = make_ising(temperature, field, algorithm).evolve(
        random_spins((n, 1, 3, 3)), duration, seeds(3, algorithm, index=n)
    )
    counts = np.bincount(block.number(states[:, 0]), minlength=512)
    assert chi_square(counts, probability) > 1e-4
    exact = probability @ block.states.mean(axis=(1, 2))
    assert abs(states.mean() - exact) < 5 / np.sqrt(n) * states.mean(axis=(1, 2, 3)).std()


@pytest.mark.parametrize(("algorithm", "n"), [("uniformisation", 150_000), ("n-fold", 50_000)])
def test_states_of_4x4_have_boltzmann_probabilities(
    enumerate_block, chi_square, make_ising, random_spins, algorithm, n
):
    block = enumerate_block((4, 4), 4.0, 0.3)
    probability, classes = block.probability, block.classes
    states = make_ising(4.0, 0.3, algorithm).evolve(
        random_spins((n, 1, 4, 4)), 45.0, seeds(4, algorithm, index=n)
    )
    numbers = block.number(states[:, 0])
    by_class = np.bincount(classes[numbers], minlength=classes.max() + 1)
    assert chi_square(by_class, np.bincount(classes, probability)) > 1e-4
    assert chi_square(np.bincount(numbers, minlength=2**16), probability) > 1e-4


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2), (2, 2)], ids=str)
@pytest.mark.parametrize("time", [0.1, 1.5])
def test_transient_law_is_the_master_equations(
    enumerate_block, chi_square, make_ising, algorithm, shape, time
):
    block = enumerate_block(shape, 2.5, 0.2)
    start = 0b0110 if shape == (2, 2) else 0b10110110
    n = 100_000
    begin = np.repeat(block.states[start : start + 1, None], n, axis=0)
    states = make_ising(2.5, 0.2, algorithm).evolve(begin, time, seeds(5, algorithm, index=n))
    law = expm(block.generator * time)[start]
    assert chi_square(np.bincount(block.number(states[:, 0]), minlength=len(law)), law) > 1e-4


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("buffer", [0, 1], ids=["no-buffer", "buffer"])
def test_transient_law_of_a_patch_in_its_halo(
    enumerate_block, chi_square, make_ising, random_spins, algorithm, buffer
):
    patch = PatchGeometry((1, 1) if buffer else (2, 4), buffer=buffer)
    surroundings = random_spins(patch.window, seed=8)
    active = np.zeros(patch.window, dtype=bool)
    active[1:-1, 1:-1] = True
    block = enumerate_block(patch.window, 2.0, -0.1, surroundings, active)
    start = int(block.number(surroundings[None])[0])
    n = 100_000
    windows = np.repeat(surroundings[None, None], n, axis=0)
    after, elapsed = make_ising(2.0, -0.1, algorithm).evolve_patch(
        windows, patch, 0.8, seeds(6, algorithm, index=n)
    )
    np.testing.assert_array_equal(after[:, 0, ~active], windows[:, 0, ~active])
    np.testing.assert_array_equal(elapsed, 0.8)
    law = expm(block.generator * 0.8)[start]
    assert chi_square(np.bincount(block.number(after[:, 0]), minlength=len(law)), law) > 1e-4


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_two_steps_are_one(enumerate_block, chi_square, make_ising, algorithm):
    block = enumerate_block((3, 3), 2.5, 0.1)
    system, n, start = make_ising(2.5, 0.1, algorithm), 100_000, 0b000111001
    states = np.repeat(block.states[start : start + 1, None], n, axis=0)
    states = system.evolve(states, 0.3, seeds(7, "first", index=n))
    states = system.evolve(states, 0.9, seeds(7, "second", index=n))
    law = expm(block.generator * 1.2)[start]
    assert chi_square(np.bincount(block.number(states[:, 0]), minlength=512), law) > 1e-4


@pytest.mark.parametrize("events", [1, 3, 8])
def test_stopping_after_events_gives_their_exact_mean_time(
    enumerate_block, chi_square, make_ising, events
):
    block = enumerate_block((3, 3), 2.5, 0.2)
    start, n = 0b010110100, 60_000
    patch = PatchGeometry((3, 3), halo=0, boundary="periodic")
    windows = np.repeat(block.states[start : start + 1, None], n, axis=0)
    after, elapsed = make_ising(2.5, 0.2).evolve_patch(
        windows, patch, 1.0, seeds(8, "events", index=n), events=events
    )
    total = -np.diag(block.generator)
    jump = (block.generator + np.diag(total)) / total[:, None]
    law = np.eye(512)[start]
    mean = 0.0
    for _ in range(events):
        mean += (law / total).sum()
        law = law @ jump
    assert abs(elapsed.mean() - mean) < 5 * elapsed.std() / np.sqrt(n)
    reached = law > 0
    counts = np.bincount(block.number(after[:, 0]), minlength=512)
    assert counts[~reached].sum() == 0
    assert chi_square(counts[reached], law[reached]) > 1e-4
