"""The deterministic predator-prey field: forces, order of the scheme, gradients, complement."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from macrodyn.streams import seeds
from macrodyn.systems import ForceSystem
from macrodyn.systems.predator_prey import PredatorPrey, PredatorPreyParameters
from macrodyn.systems.predator_prey_pde import PredatorPreyPDE, PredatorPreyPDEParameters
from macrodyn.systems.trial.declarations import check_class

A, B = 3.0, 0.4


def make(**parameters):
    return PredatorPreyPDE(PredatorPreyPDEParameters(**parameters))


def rough_states(batch, n, seed=1):
    """Densities between 0.2 and 0.8 that differ from site to site."""
    return np.random.default_rng(seed).uniform(0.2, 0.8, (batch, n, 2))


def follow(system, states, times):
    return system.trajectories(states, np.asarray(times, float), seeds(1, index=len(states)))


def all_forces(system, states):
    coordinates = np.tile(np.arange(states[0].size), (len(states), 1))
    return system.forces(states, coordinates).reshape(states.shape)


def rates(states, diffusion=0.0):
    """The right-hand side of the equations in NumPy, ends copied by np.pad."""
    u, v = states[..., 0], states[..., 1]

    def laplacian(x):
        padded = np.pad(x, ((0, 0), (1, 1)), "edge")
        return padded[:, 2:] + padded[:, :-2] - 2 * x

    return np.stack(
        [u * (1 - u - v) + diffusion * laplacian(u), A * v * (u - B) + laplacian(v)], axis=-1
    )


def test_class_says_all_that_is_asked():
    assert list(check_class(PredatorPreyPDE, ForceSystem)) == []
    p = PredatorPreyPDEParameters()
    assert (p.conversion, p.threshold, p.diffusion, p.step) == (3, 0.4, 0, 0.01)


def test_initial_states_on_fifty_sites_are_the_published_waves():
    macrostates = np.array([[0.45, 0.05], [0.55, 0.2]])
    states = make().initial_states(macrostates, (50,), seeds(1, index=2))
    wave = np.cos(5 * np.pi * (np.arange(50) + 0.5) / 50)
    expected = macrostates[:, :1] + macrostates[:, 1:] * wave
    np.testing.assert_allclose(states[..., 0], expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(states.sum(axis=2), 1.0, rtol=0, atol=1e-15)
    np.testing.assert_allclose(make().observe(states)[:, 0], macrostates[:, 0], atol=1e-15)


def test_waves_are_those_of_the_noisy_field():
    macrostates = np.array([[0.45, 0.05]])
    for spacing in (0.005, 0.01, None):
        (states,) = make(spacing=spacing).initial_states(macrostates, (30,), seeds(1, index=1))
        noisy = PredatorPrey(PredatorPreyParameters(spacing=spacing))
        (expected,) = noisy.initial_states(macrostates, (30,), seeds(1, index=1))
        np.testing.assert_allclose(states, expected.T, rtol=0, atol=1e-7)


@pytest.mark.parametrize("macrostate", [[0.1, 0.2], [0.9, 0.15], [0.5, -0.1], [np.nan, 0.1]])
def test_negative_densities_are_refused(macrostate):
    with pytest.raises(ValueError, match="negative densities"):
        make().initial_states(np.array([[0.5, 0.1], macrostate]), (40,), seeds(1, index=2))


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(3,\) should be \(3, 2\): mean and amplitude"):
        make().initial_states(np.full(3, 0.5), (40,), seeds(1, index=3))
    with pytest.raises(ValueError, match="a line has one number of sites"):
        make().initial_states(np.array([[0.5, 0.1]]), (4, 5), seeds(1, index=1))
    with pytest.raises(ValueError, match=r"\(2, 2, 9\) should be \[batch, particle, 2\]"):
        follow(make(), np.zeros((2, 2, 9)), [1.0])
    with pytest.raises(ValueError, match=r"coordinates of shape \(1, 3\) should be \[2, p\]"):
        make().forces(rough_states(2, 9), np.zeros((1, 3), dtype=int))


@pytest.mark.parametrize("number", [-1, 18])
def test_coordinates_that_are_not_there_are_refused(number):
    with pytest.raises(IndexError, match="whose coordinates are 0 to 17"):
        make().forces(rough_states(1, 9), np.array([[3, number]]))


@pytest.mark.parametrize("diffusion", [0.0, 0.7])
@pytest.mark.parametrize("n", [1, 2, 3, 40])
def test_forces_are_the_equations(n, diffusion):
    states = rough_states(5, n)
    found = all_forces(make(diffusion=diffusion), states)
    np.testing.assert_allclose(found, rates(states, diffusion), rtol=0, atol=2e-15)


def test_some_forces_are_those_of_all():
    system, states = make(diffusion=0.7), rough_states(3, 50)
    chosen = np.random.default_rng(2).integers(0, 100, (3, 20))
    chosen[:, :4] = 0, 1, 98, 99  # at both ends
    whole = all_forces(system, states).reshape(3, -1)
    np.testing.assert_array_equal(
        system.forces(states, chosen), np.take_along_axis(whole, chosen, axis=1)
    )


def test_forces_know_only_the_site_and_its_neighbours():
    """So they cost their share: nothing else is looked at."""
    system, states = make(diffusion=0.7), rough_states(1, 50)
    blind = np.full_like(states, np.nan)
    blind[:, 19:22] = states[:, 19:22]
    chosen = np.array([[40, 41]])
    np.testing.assert_array_equal(system.forces(blind, chosen), system.forces(states, chosen))


@pytest.mark.parametrize("n", [1, 2, 50])
def test_forces_are_the_rates_of_change_of_trajectories(n):
    system, states, h = make(diffusion=0.7, step=1e-3), rough_states(4, n), 2e-3
    before, middle, after = np.moveaxis(follow(system, states, [1 - h, 1.0, 1 + h]), 1, 0)
    rate = (after - before) / (2 * h)
    np.testing.assert_allclose(rate, all_forces(system, middle), rtol=0, atol=1e-5)


def test_one_step_is_the_classical_scheme():
    states, h = rough_states(4, 12), 0.05
    k1 = rates(states)
    k2 = rates(states + h / 2 * k1)
    k3 = rates(states + h / 2 * k2)
    k4 = rates(states + h * k3)
    expected = states + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    found = follow(make(step=h), states, [h])[:, 0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)


def test_the_order_is_four():
    states = rough_states(4, 50)
    exact = follow(make(step=0.1 / 64), states, [3.0])
    errors = [
        np.abs(follow(make(step=step), states, [3.0]) - exact).max() for step in (0.1, 0.05, 0.025)
    ]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, 4.0, atol=0.15)


def test_records_do_not_depend_on_those_before():
    """Where the steps are the same, as with times that are multiples of the step."""
    system, states = make(), rough_states(2, 50)
    start, _, end = np.moveaxis(follow(system, states, [0.0, 0.5, 2.0]), 1, 0)
    np.testing.assert_array_equal(start, states)
    np.testing.assert_allclose(end, follow(system, states, [2.0])[:, 0], rtol=0, atol=1e-14)


def test_a_state_has_the_same_bits_in_every_batch_and_with_any_threads():
    system, states, times = make(diffusion=0.7), rough_states(7, 50), [0.0, 0.3, 1.0]
    whole = follow(system, states, times)
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        np.testing.assert_array_equal(follow(system, states, times), whole)
    finally:
        numba.set_num_threads(threads)
    for number in range(7):
        one = states[number : number + 1]
        np.testing.assert_array_equal(follow(system, one, times)[0], whole[number])


def test_a_mirrored_line_moves_as_a_mirror():
    system, states = make(diffusion=0.7), rough_states(2, 50)
    found, mirrored = follow(system, states, [2.0]), follow(system, states[:, ::-1], [2.0])
    np.testing.assert_allclose(found[:, :, ::-1], mirrored, rtol=0, atol=1e-14)


def test_without_noise_the_stochastic_field_moves_alike():
    """Its numbers are float32."""
    states = rough_states(3, 50)
    noisy = PredatorPrey(
        PredatorPreyParameters(noise=0.0, diffusion=0.7, integrator="runge-kutta", step=0.01)
    )
    single = np.ascontiguousarray(states.swapaxes(1, 2)).astype(np.float32)
    expected = noisy.evolve(single, 3.0, seeds(1, index=3)).swapaxes(1, 2)
    found = follow(make(diffusion=0.7), states, [3.0])[:, 0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def test_fixed_point_stays():
    states = np.broadcast_to([0.4, 0.6], (2, 30, 2))
    np.testing.assert_allclose(follow(make(), states, [5.0])[:, 0], states, rtol=0, atol=1e-14)


def test_a_field_that_runs_away_is_said():
    with pytest.raises(FloatingPointError, match=r"choose a smaller step than 3\.0"):
        follow(make(step=3.0), rough_states(2, 50), [300.0])


def test_gradients_are_the_derivatives_of_the_observables():
    system, states = make(), rough_states(2, 7)
    found = system.gradient(states)
    assert found.shape == (2, 2, 7, 2)
    for site, species in ((0, 0), (3, 1), (6, 0)):
        moved = np.zeros_like(states)
        moved[:, site, species] = 0.1
        change = (system.observe(states + moved) - system.observe(states)) / 0.1
        np.testing.assert_allclose(found[..., site, species], change, rtol=0, atol=1e-14)


def test_gradient_and_forces_are_the_rates_of_the_observables():
    """Diffusion changes no mean."""
    system, states = make(diffusion=0.7), rough_states(3, 50)
    found = np.einsum("boic,bic->bo", system.gradient(states), all_forces(system, states))
    u, v = states[..., 0], states[..., 1]
    expected = np.stack([u * (1 - u - v), A * v * (u - B)], axis=-1).mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


def test_pulled_back_modes_are_the_derivatives_of_functions_of_the_complement():
    system, states = make(), rough_states(2, 7)
    modes = np.random.default_rng(3).normal(size=(4, 7, 2))
    found = system.pull_back(states, modes)
    assert found.shape == (2, 4, 7, 2)
    for site, species in ((0, 0), (3, 1), (6, 0)):
        moved = np.zeros_like(states)
        moved[:, site, species] = 0.1
        change = system.complement(states + moved) - system.complement(states)
        expected = np.einsum("fic,bic->bf", modes, change) / 0.1
        np.testing.assert_allclose(found[..., site, species], expected, rtol=0, atol=1e-13)


def test_the_complement_does_not_feel_the_observables():
    system, states = make(), rough_states(2, 50)
    modes = np.random.default_rng(3).normal(size=(4, 50, 2))
    products = np.einsum("bfic,boic->bfo", system.pull_back(states, modes), system.gradient(states))
    np.testing.assert_allclose(products, 0.0, atol=1e-15)
    shifted = states + np.array([0.1, -0.2])
    np.testing.assert_allclose(
        system.complement(shifted), system.complement(states), rtol=0, atol=1e-15
    )
