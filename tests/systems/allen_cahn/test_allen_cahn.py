"""The Allen-Cahn equation: scheme, energy, forces, gradients, precision, symmetry."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from macrodyn.streams import seeds
from macrodyn.systems import ForceSystem
from macrodyn.systems.allen_cahn import AllenCahn, AllenCahnParameters, kernels
from macrodyn.systems.trial.declarations import check_class

WIDE = 0.08  # eps of small grids, a few sites wide
ENERGIES = ("consistent", "central")


def make(width=WIDE, **parameters):
    return AllenCahn(AllenCahnParameters(width=width, **parameters))


def double(**parameters):
    return make(precision="float64", **parameters)


def rough_states(batch, side, seed=1):
    """Numbers between -1 and 1 that differ from site to site."""
    return np.random.default_rng(seed).uniform(-1, 1, (batch, side * side, 1))


def ring_states(system, batch, side):
    radii = np.stack([np.linspace(0.3, 0.4, batch), np.linspace(0.1, 0.15, batch)], axis=1)
    return system.initial_states(radii, (side, side), seeds(1, index=batch))


def follow(system, states, times):
    return system.trajectories(states, np.asarray(times, float), seeds(1, index=len(states)))


def all_forces(system, states):
    coordinates = np.tile(np.arange(states[0].size), (len(states), 1))
    return system.forces(states, coordinates).reshape(states.shape)


def fields(states):
    side = round(states.shape[-2] ** 0.5)
    return states.reshape(*states.shape[:-2], side, side)


def rates(u, width=WIDE):
    """The right-hand side for fields [batch, side, side] in NumPy, ends copied by np.pad."""
    padded = np.pad(u, ((0, 0), (1, 1), (1, 1)), "edge")
    neighbours = padded[:, 2:, 1:-1] + padded[:, :-2, 1:-1] + padded[:, 1:-1, 2:]
    laplacian = neighbours + padded[:, 1:-1, :-2] - 4 * u
    return laplacian * u.shape[1] ** 2 - (u**3 - u) / width**2


def runge_kutta(u, h, steps):
    for _ in range(steps):
        k1 = rates(u)
        k2 = rates(u + h / 2 * k1)
        k3 = rates(u + h / 2 * k2)
        k4 = rates(u + h * k3)
        u = u + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return u


def test_class_says_all_that_is_asked():
    assert list(check_class(AllenCahn, ForceSystem)) == []
    published = 10 / 200 / (2 * 2**0.5 * np.arctanh(0.9))
    assert AllenCahnParameters().width == pytest.approx(published, rel=1e-5)


def test_initial_states_are_rings():
    system = make(width=0.02)
    states = system.initial_states(np.array([[0.35, 0.12]]), (40, 40), seeds(1, index=1))
    assert states.shape == (1, 1600, 1)
    for i, j in ((0, 0), (20, 20), (20, 26), (12, 33), (39, 0)):
        distance = np.hypot((i + 0.5) / 40 - 0.5, (j + 0.5) / 40 - 0.5)
        outer, inner = np.tanh((np.array([0.35, 0.12]) - distance) / (2**0.5 * 0.02))
        assert states[0, 40 * i + j, 0] == pytest.approx(outer - inner - 1, abs=1e-14)
    u = fields(states)[0]
    assert u[0, 0] < -0.99 and u[20, 20] < -0.99 and u[20, 29] > 0.99


def test_rough_rings_are_functions_of_seed_and_place():
    radii, keys = np.array([[0.35, 0.12]] * 3), seeds(1, index=3)
    rough = make(roughness=0.02)
    states = rough.initial_states(radii, (30, 30), keys)
    np.testing.assert_array_equal(
        states[1:2], rough.initial_states(radii[1:2], (30, 30), keys[1:2])
    )
    assert np.abs(states[0] - states[1]).max() > 0.05
    # The site (i, j) of 30 is the site (3 i + 1, 3 j + 1) of 90.
    finer = fields(rough.initial_states(radii, (90, 90), keys))
    np.testing.assert_allclose(finer[:, 1::3, 1::3], fields(states), rtol=0, atol=1e-13)


def test_displacements_have_the_deviation_that_is_asked_for():
    from macrodyn.systems.allen_cahn.rings import displacements

    draws = np.stack([displacements(12, seed) for seed in range(2000)])
    assert (draws**2).mean() == pytest.approx(1.0, abs=0.03)
    assert np.abs(draws.mean(axis=0)).max() < 0.15
    assert abs((draws[:, 0] * draws[:, 1]).mean()) < 0.03


@pytest.mark.parametrize("radii", [[0.1, 0.3], [0.3, -0.1], [0.3, 0.3], [np.nan, 0.1]], ids=str)
def test_rings_without_an_inside_are_refused(radii):
    with pytest.raises(ValueError, match="the inner radius must lie between 0 and the outer"):
        make().initial_states(np.array([radii]), (20, 20), seeds(1, index=1))


def test_what_is_no_square_is_refused():
    with pytest.raises(ValueError, match=r"sites \(side, side\), not \(20, 30\)"):
        make().initial_states(np.array([[0.3, 0.1]]), (20, 30), seeds(1, index=1))
    for method in (make().observe, make().gradient, lambda x: follow(make(), x, [1.0])):
        with pytest.raises(ValueError, match="20 sites are no square"):
            method(np.zeros((1, 20, 1)))


@pytest.mark.parametrize("number", [-1, 25])
def test_sites_that_are_not_there_are_refused(number):
    with pytest.raises(IndexError, match="whose coordinates are 0 to 24"):
        make().forces(rough_states(1, 5), np.array([[3, number]]))


@pytest.mark.parametrize("side", [1, 2, 3, 20])
def test_forces_are_the_equation(side):
    states = rough_states(3, side)
    found = fields(all_forces(make(), states))
    np.testing.assert_allclose(found, rates(fields(states)), rtol=1e-12, atol=1e-12 * side**2)


def test_some_forces_are_those_of_all():
    system, states = make(), rough_states(3, 20)
    chosen = np.random.default_rng(2).integers(0, 400, (3, 30))
    chosen[:, :6] = 0, 19, 380, 399, 7, 140  # corners and sides
    whole = all_forces(system, states).reshape(3, -1)
    np.testing.assert_array_equal(
        system.forces(states, chosen), np.take_along_axis(whole, chosen, axis=1)
    )


def test_forces_know_only_the_site_and_its_neighbours():
    """So they cost their share: nothing else is looked at."""
    system, states = make(), rough_states(1, 20)
    blind = np.full_like(states, np.nan)
    site = 8 * 20 + 5
    for near in (site, site - 1, site + 1, site - 20, site + 20):
        blind[:, near] = states[:, near]
    chosen = np.array([[site]])
    np.testing.assert_array_equal(system.forces(blind, chosen), system.forces(states, chosen))


# With fewer rows than a block, several blocks, and ends at, before and after a block's.
@pytest.mark.parametrize("side", [1, 2, 3, 4, 17, 19, 20, 21, 22, 23, 24, 40, 43, 61])
def test_steps_are_the_classical_scheme(side):
    h = 0.1 / side**2 if side > 8 else 2e-4
    states = rough_states(2, side)
    system = double(step=min(0.3, 1.001 * h * side**2))
    found = fields(follow(system, states, [h, 5 * h]))
    for record, steps in enumerate((1, 5)):
        expected = runge_kutta(fields(states), h, steps)
        np.testing.assert_allclose(found[:, record], expected, rtol=0, atol=3e-14)


@pytest.mark.parametrize("rows", [4, 5, 7, 64])
def test_size_of_the_blocks_changes_no_bit(rows, monkeypatch):
    states, times = rough_states(1, 33)[..., 0], np.array([6])
    c = kernels.coefficients(np.array([0.2 / 33**2]), WIDE**-2, 33.0**2, np.float32)
    usual, other = np.empty((1, 1, 33**2)), np.empty((1, 1, 33**2))
    kernels.advance(states, 33, times, c, np.float32(1 / 3), usual)
    # Interpreted, as compiled functions keep the size that they were compiled with.
    names = ("_first", "_middle", "_last", "_copy", "_close", "_step", "_aligned", "_follow")
    for name in (*names, "_around", "_change"):
        monkeypatch.setattr(kernels, name, getattr(kernels, name).py_func)
    monkeypatch.setattr(kernels, "ROWS", rows)
    kernels._follow(states[0], 33, times, c, np.float32(1 / 3), other[0])
    np.testing.assert_array_equal(other, usual)


def test_forces_are_the_rates_of_change_of_trajectories():
    system = double(step=0.02)
    states, h = ring_states(system, 3, 30), 0.02 / 900
    middle = 0.002
    times = [middle - h, middle, middle + h]
    before, now, after = np.moveaxis(follow(system, states, times), 1, 0)
    forces = all_forces(system, now)
    error = np.abs((after - before) / (2 * h) - forces).max()
    assert error < 2e-4 * np.abs(forces).max()


def test_the_order_is_four():
    states, end = ring_states(double(), 2, 20), 6 * 0.3 / 400
    exact = follow(double(step=0.3 / 64), states, [end])
    errors = [
        np.abs(follow(double(step=step), states, [end]) - exact).max() for step in (0.06, 0.03)
    ]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4.0, abs=0.1)


def test_the_energy_falls():
    system = make()
    states = np.concatenate([ring_states(system, 2, 40), rough_states(2, 40)])
    found = follow(system, states, np.linspace(0, 0.05, 60))
    energies = system.observe(found.reshape(-1, 1600, 1)).reshape(4, 60)
    # Where it no longer moves, the energy of a field of float32 scatters.
    assert (np.diff(energies, axis=1) < 2e-6 * energies[:, :1]).all()
    assert (energies[:2, -1] < 0.9 * energies[:2, 0]).all()


def test_the_energy_falls_by_the_square_of_its_gradient():
    """dE/dt = -|dE/du|^2 / h^2."""
    system = double(step=0.02)
    h, t = 0.02 / 900, 0.002
    found = follow(system, ring_states(system, 2, 30), [t - h, t, t + h])
    before, _, after = (system.observe(found[:, k])[:, 0] for k in range(3))
    slope = system.gradient(found[:, 1])
    expected = -900 * (slope**2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose((after - before) / (2 * h), expected, rtol=1e-5)


@pytest.mark.parametrize("side", [1, 2, 3, 20])
def test_the_field_moves_down_the_gradient_of_the_energy(side):
    system, states = make(), rough_states(3, side)
    np.testing.assert_allclose(
        -(side**2) * system.gradient(states)[:, 0],
        all_forces(system, states),
        rtol=1e-12,
        atol=1e-12 * side**2,
    )


@pytest.mark.parametrize("energy", ENERGIES)
@pytest.mark.parametrize("side", [1, 2, 3, 6])
def test_gradients_are_the_derivatives_of_the_energy(side, energy):
    system, states, step = make(energy=energy), rough_states(2, side), 1e-5
    found = system.gradient(states)
    assert found.shape == (2, 1, side**2, 1)
    for site in range(side**2):
        moved = np.zeros_like(states)
        moved[:, site] = step
        change = (system.observe(states + moved) - system.observe(states - moved)) / (2 * step)
        np.testing.assert_allclose(found[..., site, 0], change, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("energy", ENERGIES)
def test_energy_is_what_it_is_defined_as(energy):
    """By loops over the sites, on a small grid."""
    states, side = rough_states(1, 5), 5
    u, h = fields(states)[0], 0.2
    total = 0.0
    for i in range(side):
        for j in range(side):
            down, right = u[min(i + 1, side - 1), j], u[i, min(j + 1, side - 1)]
            if energy == "consistent":
                squares = ((down - u[i, j]) / h) ** 2 + ((right - u[i, j]) / h) ** 2
            else:
                up, left = u[max(i - 1, 0), j], u[i, max(j - 1, 0)]
                squares = ((down - up) / (2 * h)) ** 2 + ((right - left) / (2 * h)) ** 2
            total += h**2 * ((u[i, j] ** 2 - 1) ** 2 / (4 * WIDE**2) + squares / 2)
    assert make(energy=energy).observe(states)[0, 0] == pytest.approx(total, rel=1e-13)


@pytest.mark.parametrize("energy", ENERGIES)
def test_energy_of_a_ring_is_the_tension_times_its_edges(energy):
    """2 sqrt(2) / (3 eps) per length, for edges that are thin and well resolved."""
    system = AllenCahn(AllenCahnParameters(energy=energy))
    states = system.initial_states(np.array([[0.38, 0.14]]), (400, 400), seeds(1, index=1))
    length = 2 * np.pi * (0.38 + 0.14)
    expected = 2 * 2**0.5 / (3 * system.parameters.width) * length
    assert system.observe(states)[0, 0] == pytest.approx(expected, rel=0.02)


def test_a_disc_shrinks_by_its_curvature():
    """Its area loses 2 pi per unit time: dr/dt = -1/r (Allen, Cahn (1979), sharp interfaces)."""
    system = AllenCahn(AllenCahnParameters())
    side = 200
    x = (np.arange(side) + 0.5) / side - 0.5
    disc = np.tanh((0.3 - np.hypot(x[:, None], x)) / (2**0.5 * 0.0120075)).reshape(1, -1, 1)
    found = follow(system, disc, [0.002, 0.012])[0]
    areas = (found.mean(axis=(1, 2)) + 1) / 2
    assert (areas[0] - areas[1]) / 0.01 == pytest.approx(2 * np.pi, rel=0.01)


def test_the_longest_step_is_exact_enough():
    """At the published size: half the step changes the energy by less than 1e-6 of itself."""
    energies = []
    for step in (0.3, 0.15):
        system = AllenCahn(AllenCahnParameters(step=step, precision="float64"))
        states = system.initial_states(np.array([[0.35, 0.12]]), (200, 200), seeds(1, index=1))
        found = follow(system, states, [0.001, 0.004])[0]
        energies.append(system.observe(found)[:, 0])
    np.testing.assert_allclose(energies[0], energies[1], rtol=1e-6)


def test_single_precision_agrees_with_double():
    states, times = ring_states(make(), 2, 100), [0.001, 0.01]
    single, exact = (follow(system, states, times) for system in (make(), double()))
    np.testing.assert_allclose(single, exact, rtol=0, atol=2e-5)
    assert not np.array_equal(single, exact)
    for k in range(2):
        one, other = make().observe(single[:, k]), make().observe(exact[:, k])
        np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_symmetries_are_kept_to_the_bit(precision):
    """Mirrored, transposed and, as the equation is odd, opposite fields move alike."""
    system, states, side = make(precision=precision), rough_states(2, 37), 37
    times = [0.001, 0.004]
    usual = fields(follow(system, states, times))

    def moved(change):
        changed = np.ascontiguousarray(change(fields(states))).reshape(2, side**2, 1)
        return fields(follow(system, changed, times))

    np.testing.assert_array_equal(moved(lambda u: u[:, ::-1]), usual[:, :, ::-1])
    np.testing.assert_array_equal(moved(lambda u: u[:, :, ::-1]), usual[..., ::-1])
    np.testing.assert_array_equal(moved(lambda u: u.swapaxes(1, 2)), usual.swapaxes(2, 3))
    np.testing.assert_array_equal(moved(lambda u: -u), -usual)


def test_a_state_has_the_same_bits_in_every_batch_and_with_any_threads():
    system, states, times = make(), rough_states(5, 30), [0.0, 0.001, 0.003]
    whole = follow(system, states, times)
    np.testing.assert_array_equal(whole[:, 0], states.astype(np.float32))
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        np.testing.assert_array_equal(follow(system, states, times), whole)
    finally:
        numba.set_num_threads(threads)
    for number in range(5):
        one = states[number : number + 1]
        np.testing.assert_array_equal(follow(system, one, times)[0], whole[number])


def test_given_states_are_left_as_they_are():
    states = rough_states(1, 20)
    before = states.copy()
    follow(make(), states, [0.001])
    np.testing.assert_array_equal(states, before)


def test_longer_steps_than_are_stable_are_refused():
    with pytest.raises(ValueError, match=r"less than or equal to 0\.3"):
        AllenCahnParameters(step=0.31)
    coarse = AllenCahn(AllenCahnParameters())
    with pytest.raises(
        ValueError, match=r"unstable with 50 sites .* step of at most 0\.205, or more"
    ):
        follow(coarse, rough_states(1, 50), [0.001])
    follow(coarse.with_parameters(step=0.2), rough_states(1, 50), [0.01])


def test_a_field_that_runs_away_is_said():
    with pytest.raises(FloatingPointError, match="initial states between -1 and 1"):
        follow(make(), np.full((1, 400, 1), 1e6), [0.01])
