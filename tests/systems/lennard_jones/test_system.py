"""The Lennard-Jones systems: starts, trajectories, observables and gradients, against LAMMPS."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.streams import seeds
from macrodyn.systems import ForceSystem, registry, system_class
from macrodyn.systems.lennard_jones import (
    LennardJones,
    LennardJonesParameters,
    LennardJonesThermo,
)
from macrodyn.systems.shared.lammps.errors import LammpsError
from macrodyn.systems.trial.declarations import check_class

from .conftest import disordered, needs_lammps

X, V = slice(0, 3), slice(3, 6)
STEP = 0.001


def starts(system, number, temperatures=(0.7, 1.2), name="starts"):
    keys = seeds(3, name, index=len(temperatures))
    return system.initial_states(np.array(temperatures)[:, None], (number,), keys)


def made_up(number=64, batch=2, density=0.8):
    """States that need no LAMMPS."""
    rng = np.random.default_rng(5)
    box = (number / density) ** (1 / 3)
    x = np.stack([disordered(number, box, seed) for seed in range(batch)])
    return np.concatenate([x, rng.normal(size=(batch, number, 3))], axis=2)


def all_forces(system, states):
    coordinates = np.tile(np.arange(states[0].size), (len(states), 1))
    return system.forces(states, coordinates).reshape(states.shape)


@pytest.mark.parametrize("name", ["lennard-jones", "lennard-jones-thermo"])
def test_class_is_found_and_complete(name):
    cls = system_class(name)
    assert list(check_class(cls, ForceSystem)) == []
    assert registry.parameters_class(name) is LennardJonesParameters


@needs_lammps
@pytest.mark.parametrize("number", [32, 800])
def test_starts_have_their_temperature_and_no_momentum(fluid, number):
    states = starts(fluid, number, (0.5, 1.5))
    assert states.shape == (2, number, 6)
    np.testing.assert_allclose(fluid.observe(states)[:, 0], [0.5, 1.5], rtol=1e-13)
    np.testing.assert_allclose(states[..., V].sum(axis=1), 0.0, atol=1e-10)


@needs_lammps
def test_shared_starts_differ_in_their_temperature_only(fluid):
    cold, warm = starts(fluid, 256, (0.5, 1.5))
    np.testing.assert_array_equal(cold[:, X], warm[:, X])
    np.testing.assert_allclose(warm[:, V], cold[:, V] * np.sqrt(3), rtol=1e-13)
    other = starts(fluid, 256, (0.5, 1.5), "others")
    np.testing.assert_array_equal(other, [cold, warm])


@needs_lammps
def test_independent_starts_share_nothing(independent):
    one, other = starts(independent, 256, (0.8, 0.8))
    assert np.abs(one[:, X] - other[:, X]).min(axis=1).max() > 1.0
    correlation = np.corrcoef(one[:, V].ravel(), other[:, V].ravel())[0, 1]
    assert abs(correlation) < 4 / np.sqrt(one[:, V].size)


@needs_lammps
def test_velocities_are_gaussian_and_positions_uniform(independent):
    states = starts(independent, 800, (1.0,) * 12)
    v = states[..., V].ravel()
    assert (v**2).mean() == pytest.approx(1.0, rel=1e-2)
    # Of a normal distribution; the error of the mean of v^4 is √(96 / number).
    assert (v**4).mean() == pytest.approx(3.0, abs=5 * np.sqrt(96 / v.size))
    # Fourier modes of the density that are uniform up to the noise of a fluid.
    phase = np.exp(2j * np.pi * states[..., X] / independent.box(800))
    assert (np.abs(phase.mean(axis=1)) ** 2).mean() < 2 / 800


@needs_lammps
@pytest.mark.parametrize("number", [800, pytest.param(6400, marks=pytest.mark.slow)])
def test_relaxation_leaves_the_same_energy_at_every_size(thermo, number):
    energy = thermo.observe(starts(thermo, number, (1.0,)))[0, 1]
    assert -4.5 < energy < -4.15


@needs_lammps
def test_relaxation_that_cannot_reach_its_energy_says_so():
    system = LennardJones(LennardJonesParameters(start_energy=-9.0))
    message = r"relaxation stops at .* above -9: give a higher system\.parameters\.start_energy"
    with pytest.raises(LammpsError, match=message):
        starts(system, 100)


@needs_lammps
def test_seeds_give_the_same_bits_whatever_else_is_in_the_batch(independent):
    keys = seeds(4, "bits", index=3)
    temperatures = np.array([[0.6], [0.9], [1.4]])
    states = independent.initial_states(temperatures, (108,), keys)
    times = np.array([0.0, 0.01, 0.05])
    found = independent.trajectories(states, times, keys)
    anew = LennardJones(independent.parameters)
    for row in (2, 0):
        one = slice(row, row + 1)
        alone = anew.initial_states(temperatures[one], (108,), keys[one])
        np.testing.assert_array_equal(alone, states[one])
        np.testing.assert_array_equal(anew.trajectories(alone, times, keys[one]), found[one])


@needs_lammps
def test_trajectories_do_not_depend_on_what_is_recorded(fluid, moving):
    many = np.arange(0, 61) * STEP
    whole = fluid.trajectories(moving, many, seeds(1, index=2))
    few = fluid.trajectories(moving, many[[7, 60]], seeds(1, index=2))
    np.testing.assert_array_equal(whole[:, 0], moving)
    np.testing.assert_allclose(few, whole[:, [7, 60]], rtol=0, atol=1e-10)


@needs_lammps
def test_energy_and_momentum_are_kept(thermo):
    states = starts(thermo, 256)
    found = thermo.trajectories(states, np.linspace(0, 0.25, 26), seeds(1, index=2))
    observed = np.array([thermo.observe(path) for path in found])
    kinetic = 1.5 * (1 - 1 / 256) * observed[..., 0]
    total = kinetic + observed[..., 1]
    assert observed[..., 0].max() > 1.2 * observed[:, 0, 0].max(), "nothing happened"
    # The potential jumps at the cutoff, so that a small noise is the model's own.
    assert np.abs(total - total[:, :1]).max() < 5e-3
    np.testing.assert_allclose(found[..., V].sum(axis=2), 0.0, atol=1e-10)


@needs_lammps
def test_positions_are_unwrapped(thermo):
    states = starts(thermo, 108, (1.0,))
    states[..., 5] += 60.0  # a wind along z: five boxes in half a unit of time
    times = np.arange(0, 26) * 0.02
    found = thermo.trajectories(states, times, seeds(1, index=1))[0]
    drift = (found[..., X] - found[0, :, X]).mean(axis=1)
    np.testing.assert_allclose(drift, np.outer(times, [0.0, 0.0, 60.0]), atol=1e-9)
    assert np.abs(np.diff(found[..., X], axis=0) - [0, 0, 1.2]).max() < 0.5


@needs_lammps
def test_rates_of_trajectories_are_forces(fluid, moving):
    times = np.array([1, 2, 3]) * STEP
    before, now, after = np.moveaxis(fluid.trajectories(moving, times, seeds(1, index=2)), 1, 0)
    forces = all_forces(fluid, now)
    scale = np.abs(forces[..., V]).max()
    # Verlet's positions obey this exactly: second differences are accelerations.
    second = (before[..., X] - 2 * now[..., X] + after[..., X]) / STEP**2
    np.testing.assert_allclose(second, forces[..., V], rtol=0, atol=1e-7 * scale)
    rate = (after - before) / (2 * STEP)
    np.testing.assert_allclose(rate[..., X], now[..., V], atol=1e-9)
    np.testing.assert_allclose(rate[..., V], forces[..., V], rtol=0, atol=1e-2 * scale)


@needs_lammps
@pytest.mark.parametrize("cutoff", [1.9, 2.5, 3.4])
@pytest.mark.parametrize("number", [32, 108, 343, 800, 2700])
def test_forces_and_observables_are_those_of_lammps(number, cutoff):
    system = LennardJonesThermo(LennardJonesParameters(cutoff=cutoff))
    states = np.concatenate([starts(system, number, (0.9,)), made_up(number, 1)])
    states[1:, :, V] -= states[1:, :, V].mean(axis=1, keepdims=True)
    forces, observed = system.evaluate(states)
    found = all_forces(system, states)[..., V]
    for own, theirs in zip(found, forces, strict=True):
        np.testing.assert_allclose(own, theirs, rtol=0, atol=1e-10 * np.abs(theirs).max())
    np.testing.assert_allclose(system.observe(states), observed, rtol=1e-10)


def test_forces_of_positions_are_velocities_and_any_choice_is_that_of_all(fluid):
    states = made_up()
    whole = all_forces(fluid, states).reshape(2, -1)
    np.testing.assert_array_equal(whole.reshape(states.shape)[..., X], fluid.known_rates(states))
    rng = np.random.default_rng(1)
    for chosen in (rng.integers(0, 64 * 6, (2, 40)), np.array([[0, 1, 2], [6, 12, 1]])):
        expected = np.take_along_axis(whole, chosen, axis=1)
        np.testing.assert_array_equal(fluid.forces(states, chosen), expected)


def derivative(system, states, particle, component, step=1e-6):
    moved = np.zeros_like(states)
    moved[:, particle, component] = step
    return (system.observe(states + moved) - system.observe(states - moved)) / (2 * step)


@pytest.mark.parametrize("name", ["fluid", "thermo"])
def test_gradients_are_the_derivatives_of_the_observables(request, name):
    system, states = request.getfixturevalue(name), made_up()
    found = system.gradient(states)
    assert found.shape == (2, len(system.observables), 64, 6)
    for particle, component in ((0, 0), (13, 1), (63, 2), (0, 3), (40, 5)):
        expected = derivative(system, states, particle, component)
        scale = np.abs(found).max(axis=(2, 3))
        error = np.abs(found[..., particle, component] - expected) / scale
        assert error.max() < 1e-6


def test_temperature_and_its_gradient_need_no_force(fluid, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a cell list is made")

    monkeypatch.setattr("macrodyn.systems.lennard_jones.system.CellList.of", refuse)
    states = made_up()
    fluid.observe(states), fluid.gradient(states), fluid.known_rates(states)
    fluid.pull_back(states, fluid.complement(states))
    fluid.forces(states, np.array([[0, 7], [2, 1]]))
    with pytest.raises(AssertionError, match="a cell list"):
        fluid.forces(states, np.array([[0, 7], [2, 3]]))


def test_complement_keeps_positions_and_scales_to_one_temperature(fluid):
    states = made_up()
    found = fluid.complement(states)
    np.testing.assert_array_equal(found[..., X], states[..., X])
    np.testing.assert_allclose(fluid.observe(found), 1.0, rtol=1e-13)
    hotter = states.copy()
    hotter[..., V] *= 3.0
    np.testing.assert_allclose(fluid.complement(hotter), found, rtol=1e-13)


def test_pulled_back_modes_are_derivatives_of_the_complement(fluid):
    states, rng = made_up(), np.random.default_rng(2)
    modes, step = rng.normal(size=(4, 64, 6)), 1e-6
    found = fluid.pull_back(states, modes)
    for particle, component in ((0, 0), (5, 2), (5, 3), (63, 5)):
        moved = np.zeros_like(states)
        moved[:, particle, component] = step
        change = fluid.complement(states + moved) - fluid.complement(states - moved)
        expected = np.einsum("mic,bic->bm", modes, change) / (2 * step)
        np.testing.assert_allclose(found[:, :, particle, component], expected, atol=1e-7)


@pytest.mark.parametrize("name", ["fluid", "thermo"])
def test_pulled_back_modes_do_not_feel_the_temperature(request, name):
    system, states = request.getfixturevalue(name), made_up(800)
    pulled = system.pull_back(states, np.random.default_rng(3).normal(size=(31, 800, 6)))
    gradient = system.gradient(states)[:, 0]
    along = np.einsum("bmic,bic->bm", pulled, gradient)
    lengths = np.sqrt((pulled**2).sum(axis=(2, 3)) * (gradient**2).sum(axis=(1, 2))[:, None])
    assert np.abs(along / lengths).max() < 1e-12


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0.0, 0.0015], "record time 0.0015 is no multiple of the step 0.001: choose other times"),
        ([0.002, 0.001], "record times must be 0 or more, and grow"),
        ([0.001, 0.001], "grow"),
        ([-0.001], "0 or more"),
    ],
)
def test_record_times_are_checked(fluid, times, message):
    with pytest.raises(ValueError, match=message):
        fluid.trajectories(made_up(), np.array(times), seeds(1, index=2))


@pytest.mark.parametrize(
    ("macrostate", "shape", "message"),
    [
        ([[0.7, 1.0]], (64,), r"\(1, 2\) should be \(1, 1\): a temperature for each state"),
        ([[-0.1]], (64,), "negative or not finite"),
        ([[np.nan]], (64,), "negative or not finite"),
        ([[0.7]], (8, 8), r"their number, \(n,\) of 2 or more, not \(8, 8\)"),
        ([[0.7]], (1,), "of 2 or more"),
    ],
)
def test_what_no_start_can_have_is_refused(fluid, macrostate, shape, message):
    with pytest.raises(ValueError, match=message):
        fluid.initial_states(np.array(macrostate), shape, seeds(1, index=1))


def test_state_at_rest_has_no_complement(fluid):
    states = made_up()
    states[1, :, V] = 0.0
    with pytest.raises(ValueError, match="no atom of a state moves"):
        fluid.complement(states)
    with pytest.raises(ValueError, match="no atom of a state moves"):
        fluid.pull_back(states, states)


@needs_lammps
@pytest.mark.slow
@pytest.mark.parametrize("number", [21_600, 51_200])
def test_large_fluids(thermo, number):
    """A start, a short trajectory, and forces on fifty atoms."""
    states = starts(thermo, number, (0.7,))
    found = thermo.trajectories(states, np.array([0.0, 0.01]), seeds(1, index=1))[0]
    forces, observed = thermo.evaluate(found[1:])
    np.testing.assert_allclose(thermo.observe(found[1:]), observed, rtol=1e-9)
    atoms = np.random.default_rng(1).choice(number, 50, replace=False)
    coordinates = (6 * atoms[:, None] + [3, 4, 5]).reshape(1, -1)
    own = thermo.forces(found[1:], coordinates).reshape(50, 3)
    np.testing.assert_allclose(own, forces[0, atoms], rtol=0, atol=1e-10 * np.abs(forces).max())
