"""The predator-prey field: its drift, ends, patches and noise against independent arithmetic."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.fft import dct
from scipy.linalg import solve_continuous_lyapunov, solve_discrete_lyapunov

from macrodyn.lattice import PatchGeometry, Surroundings
from macrodyn.streams import seeds
from macrodyn.systems.predator_prey import PredatorPrey, PredatorPreyParameters, kernels
from macrodyn.systems.predator_prey.kernels import Diffusion, Dynamics, Segment, advance
from macrodyn.systems.predator_prey.system import gpu_is_usable
from macrodyn.systems.shared.integrators import SCHEMES, runge_kutta_step
from macrodyn.systems.shared.noise import NormalNoise

INTEGRATORS = list(SCHEMES)
A, B = 3.0, 0.4
# float32 has a relative rounding of 6e-8; a few operations on densities of order 1.
ROUNDING = 5e-7


def make(device="cpu", **parameters):
    return PredatorPrey(PredatorPreyParameters(**parameters), device=device)


def rough_states(batch, n, seed=1):
    """Densities between 0.2 and 0.8 that differ from site to site."""
    return np.random.default_rng(seed).uniform(0.2, 0.8, (batch, 2, n)).astype(np.float32)


def drift(states, diffusion=0.0, mode="edge"):
    """The drift of whole lines, in float64: np.pad makes the ends (edge) or joins them (wrap)."""
    x = states.astype(float)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1)), mode)
    lap = padded[..., 2:] + padded[..., :-2] - 2 * x
    u, v = x[:, 0], x[:, 1]
    return np.stack([u * (1 - u - v) + diffusion * lap[:, 0], A * v * (u - B) + lap[:, 1]], axis=1)


def cut_windows(states, starts, geometry):
    """Windows whose patches start at the given sites, and how far they reach beyond the ends."""
    n, first = states.shape[2], np.asarray(starts) - geometry.margin
    sites = first[:, None] + np.arange(geometry.window[0])
    windows = states[:, :, np.clip(sites, 0, n - 1)]  # [batch, channel, patch, site]
    outside = np.stack([(sites < 0).sum(axis=1), (sites >= n).sum(axis=1)], axis=1)
    windows = np.ascontiguousarray(windows.swapaxes(1, 2)).reshape(-1, 2, geometry.window[0])
    return windows, Surroundings(np.tile(outside, (len(states), 1))[:, None].astype(np.int64))


def test_class_says_what_it_is():
    system = make()
    assert (system.dimension, system.channels, system.halo) == (1, 2, 1)
    assert system.dtype == np.float32 and system.kind == "field" and not system.periodic
    assert system.observable_names == ("prey", "predator")
    assert system.component_names == ("mean", "amplitude")
    p = PredatorPreyParameters()
    assert (p.conversion, p.threshold, p.diffusion, p.noise, p.step) == (3, 0.4, 0, 0.02, 0.01)


@pytest.mark.parametrize("spacing", [0.005, 0.02, None], ids=str)
def test_initial_states_are_waves(spacing):
    macrostates = np.array([[0.45, 0.05], [0.5, 0.15], [0.55, 0.0]])
    states = make(spacing=spacing).initial_states(macrostates, (80,), seeds(1, index=3))
    assert states.shape == (3, 2, 80) and states.dtype == np.float32
    for state, (m, k) in zip(states, macrostates, strict=True):
        for i, (u, v) in enumerate(state.T):
            x = (i + 0.5) * (spacing or 1 / 80)
            assert u == pytest.approx(m + k * np.cos(10 * np.pi * x), abs=1e-6)
            assert v == pytest.approx(1 - m - k * np.cos(10 * np.pi * x), abs=1e-6)


def test_wave_is_forty_sites_long_at_every_size():
    system, macrostate = make(), np.array([[0.5, 0.1]])
    small, large = (system.initial_states(macrostate, (n,), seeds(1, index=1)) for n in (100, 200))
    np.testing.assert_array_equal(small, large[:, :, :100])
    np.testing.assert_allclose(large[:, :, 40:], large[:, :, :-40], atol=1e-6)


@pytest.mark.parametrize("macrostate", [[0.1, 0.2], [0.9, 0.15], [0.5, -0.1], [np.nan, 0.1]])
def test_negative_densities_are_refused(macrostate):
    with pytest.raises(ValueError, match="negative densities"):
        make().initial_states(np.array([[0.5, 0.1], macrostate]), (40,), seeds(1, index=2))


def test_macrostates_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(3,\) should be \(3, 2\)"):
        make().initial_states(np.full(3, 0.5), (40,), seeds(1, index=3))


@pytest.mark.parametrize("diffusion", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("n", [1, 2, 3, 40])
def test_one_step_is_the_drift(n, diffusion):
    states = rough_states(20, n)
    after = make(noise=0.0, diffusion=diffusion).evolve(states, 0.01, seeds(1, index=20))
    expected = states + 0.01 * drift(states, diffusion)
    np.testing.assert_allclose(after, expected, rtol=0, atol=ROUNDING)


def test_runge_kutta_is_the_classical_scheme():
    states, h = rough_states(20, 12), 0.1
    x = states.astype(float)
    k1 = drift(x)
    k2 = drift(x + h / 2 * k1)
    k3 = drift(x + h / 2 * k2)
    k4 = drift(x + h * k3)
    after = make(noise=0.0, step=h, integrator="runge-kutta").evolve(states, h, seeds(1, index=20))
    expected = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    np.testing.assert_allclose(after, expected, rtol=0, atol=ROUNDING)


def test_fixed_point_stays():
    states = np.broadcast_to(np.float32([[[0.4], [0.6]]]), (3, 2, 30)).copy()
    after = make(noise=0.0).evolve(states, 5.0, seeds(1, index=3))
    np.testing.assert_allclose(after, states, atol=1e-5)


@pytest.mark.parametrize("name", INTEGRATORS)
def test_diffusion_alone_keeps_the_sum_and_damps_cosines_exactly(name):
    n, h, steps, mode = 32, 0.1, 50, 3
    nothing = Dynamics(lambda *_: None, (0.3, 1.0), 0.0, SCHEMES[name], h)
    wave = np.cos(np.pi * mode * (np.arange(n) + 0.5) / n)
    states = (0.5 + 0.2 * np.tile(wave, (4, 2, 1))).astype(np.float32)
    after = advance(states, Segment(0, n), nothing, h * steps, seeds(1, index=4))
    # A cosine with closed ends is an eigenvector of [1, -2, 1].
    for channel, diffusion in enumerate((0.3, 1.0)):
        z = -diffusion * h * (2 - 2 * np.cos(np.pi * mode / n))
        euler = 1 + z
        factor = euler if name == "euler-maruyama" else euler + z**2 / 2 + z**3 / 6 + z**4 / 24
        expected = 0.5 + 0.2 * factor**steps * wave
        np.testing.assert_allclose(after[:, channel], np.tile(expected, (4, 1)), atol=3e-6)
    rough = rough_states(4, n)
    after = advance(rough, Segment(0, n), nothing, h * steps, seeds(1, index=4))
    np.testing.assert_allclose(after.sum(axis=2), rough.sum(axis=2), rtol=2e-6)
    assert np.abs(after - rough).max() > 0.1


def test_integrators_agree_at_small_steps():
    states = make().initial_states(np.array([[0.5, 0.1]] * 5), (40,), seeds(1, index=5))
    gaps = []
    for step in (0.02, 0.01, 0.005):
        ends = [
            make(noise=0.0, step=step, integrator=name).evolve(states, 2.0, seeds(1, index=5))
            for name in INTEGRATORS
        ]
        gaps.append(np.abs(ends[0] - ends[1]).max())
    assert gaps[0] < 0.01
    # Euler's error is of first order.
    np.testing.assert_allclose(np.divide(gaps[:-1], gaps[1:]), 2.0, atol=0.15)


@pytest.mark.parametrize("name", INTEGRATORS)
def test_noisy_path_is_that_of_the_recursion(name):
    # The same numbers through the scheme written anew, in float64.
    n, steps, h, s = 10, 25, 0.02, 0.05
    keys, states = seeds(3, index=6), rough_states(6, n)
    kicks = NormalNoise(keys, 2, n, steps).fill(0).numpy().astype(float) * s * np.sqrt(h)
    x = states.astype(float)
    for kick in np.moveaxis(kicks, -1, 1):
        if name == "euler-maruyama":
            x = x + h * drift(x) + kick
            continue
        k1 = drift(x)
        k2 = drift(x + h / 2 * k1)
        k3 = drift(x + h / 2 * k2 + kick)
        k4 = drift(x + h * k3 + kick)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4) + kick
    after = make(noise=s, step=h, integrator=name).evolve(states, steps * h, keys)
    np.testing.assert_allclose(after, x, rtol=0, atol=5e-6)


def test_duration_is_cut_into_equal_steps():
    states, keys = rough_states(5, 20), seeds(1, index=5)
    np.testing.assert_array_equal(
        make().evolve(states, 0.025, keys), make(step=0.025 / 3).evolve(states, 0.025, keys)
    )
    np.testing.assert_array_equal(make().evolve(states, 0.0, keys), states)
    assert not np.array_equal(make().evolve(states, 1e-6, keys), states)


def linear_modes(n, diffusion=0.0):
    """Matrices of the linearised modes at the fixed point u = b, v = 1 - b: [mode, 2, 2]."""
    damping = 2 - 2 * np.cos(np.pi * np.arange(n) / n)
    matrices = np.zeros((n, 2, 2))
    matrices[:, 0, 0] = -B - diffusion * damping
    matrices[:, 0, 1] = -B
    matrices[:, 1, 0] = A * (1 - B)
    matrices[:, 1, 1] = -damping
    return matrices


@pytest.mark.parametrize("name", INTEGRATORS)
def test_small_noise_has_the_modes_of_the_lyapunov_equation(name):
    # The slowest mode decays at rate 0.2: after 30 its variance is within 1e-5 of the stationary.
    # Corrections of the nonlinear terms are of relative order (s / b)^2 = 2.5e-5.
    n, batch, s, h, duration = 6, 12_000, 0.002, 0.05, 30.0
    start = np.broadcast_to(np.float32([[[B], [1 - B]]]), (batch, 2, n)).copy()
    system = make(noise=s, step=h, integrator=name, diffusion=0.1)
    states = system.evolve(start, duration, seeds(4, name, index=batch))
    modes = dct(states.astype(float) - start, axis=2, norm="ortho", type=2) / s
    for k, matrix in enumerate(linear_modes(n, 0.1)):
        if name == "runge-kutta":  # the limit of small steps, which it is near to
            exact = solve_continuous_lyapunov(matrix, -np.eye(2))
        else:  # the law of the scheme itself, whose bias is 10 % here
            exact = solve_discrete_lyapunov(np.eye(2) + h * matrix, h * np.eye(2))
        found = modes[:, :, k].T @ modes[:, :, k] / batch
        variances = np.diag(exact)
        error = np.sqrt((np.outer(variances, variances) + exact**2) / batch)
        assert np.all(np.abs(found - exact) < 5 * error), k


def test_noise_of_one_step_is_s_squared_dt():
    batch, n, h = 4000, 10, 0.01
    states = rough_states(1, n).repeat(batch, axis=0)
    after = make(noise=0.3).evolve(states, h, seeds(5, index=batch))
    kicks = (after - states - h * drift(states)).reshape(batch, -1) / (0.3 * np.sqrt(h))
    assert stats.kstest(kicks.ravel(), "norm").pvalue > 1e-4
    covariance = kicks.T @ kicks / batch
    error = np.sqrt((1 + np.eye(2 * n)) / batch)
    assert np.all(np.abs(covariance - np.eye(2 * n)) < 5 * error)


@pytest.mark.parametrize("name", INTEGRATORS)
@pytest.mark.parametrize("values", [64, 1000, 1 << 20], ids=["small", "middle", "one chunk"])
def test_part_of_a_batch_has_the_same_bits(monkeypatch, name, values):
    states, keys = rough_states(37, 21), seeds(6, index=37)
    system = make(integrator=name)
    whole = system.evolve(states, 0.2, keys)
    geometry = PatchGeometry((7,), buffer=2)
    windows, around = cut_windows(states, [0, 7, 14], geometry)
    window_keys = seeds(7, index=len(windows))
    moved, _ = system.evolve_patch(windows, geometry, 0.2, window_keys, around=around)
    for name_ in ("_STATE_VALUES", "_NOISE_VALUES"):
        monkeypatch.setattr(kernels, name_, {"cpu": values})
    np.testing.assert_array_equal(system.evolve(states[5:18], 0.2, keys[5:18]), whole[5:18])
    part = np.array([100, 3, 2, 7, 0, 50])
    again, _ = system.evolve_patch(
        windows[part], geometry, 0.2, window_keys[part], around=Surroundings(around.outside[part])
    )
    np.testing.assert_array_equal(again, moved[part])


@pytest.mark.parametrize("buffer", [0, 1, 4])
def test_patch_drifts_average_to_that_of_the_whole(buffer):
    # One step without noise: what flows out of a patch flows into its neighbour.
    system, states, h = make(noise=0.0, diffusion=0.7), rough_states(8, 60), 0.01
    geometry = PatchGeometry((12,), buffer=buffer)
    windows, around = cut_windows(states, range(0, 60, 12), geometry)
    after, _ = system.evolve_patch(windows, geometry, h, seeds(1, index=40), around=around)
    increments = system.observable_increment(windows, after, geometry, around)
    mean = increments.reshape(8, 5, 2).mean(axis=1)
    whole = system.observe(system.evolve(states, h, seeds(1, index=8))) - system.observe(states)
    np.testing.assert_allclose(mean, whole, rtol=0, atol=2e-8)
    np.testing.assert_allclose(mean / h, drift(states, 0.7).mean(axis=2), rtol=0, atol=2e-6)
    assert np.abs(whole).min() > 1e-5
    # Wrapped onto itself a patch lacks what flows through its edges.
    loop = PatchGeometry((12,), boundary="periodic")
    patches = geometry.cut(windows).copy()
    wrapped, _ = system.evolve_patch(patches, loop, h, seeds(1, index=40))
    expected = patches + h * drift(patches, 0.7, "wrap")
    np.testing.assert_allclose(wrapped, expected, rtol=0, atol=ROUNDING)
    each = system.observable_increment(patches, wrapped, loop)
    assert np.abs(each - increments).max() > 1e-4


@pytest.mark.parametrize("name", INTEGRATORS)
def test_neighbours_patches_together_are_the_whole_for_one_step(name):
    # With a buffer as wide as the influence of all stages, patches move exactly as the whole does.
    system, states, h = make(noise=0.0, integrator=name), rough_states(5, 48), 0.05
    geometry = PatchGeometry((12,), buffer=4)
    windows, around = cut_windows(states, range(0, 48, 12), geometry)
    after, _ = make(noise=0.0, integrator=name, step=h).evolve_patch(
        windows, geometry, h, seeds(1, index=20), around=around
    )
    joined = geometry.cut(after).reshape(5, 4, 2, 12).swapaxes(1, 2).reshape(5, 2, 48)
    whole = system.with_parameters(step=h).evolve(states, h, seeds(1, index=5))
    np.testing.assert_array_equal(joined, whole)


def test_patch_increment_has_variance_s_squared_dt_over_its_sites():
    batch, h, s, sites = 8000, 0.01, 0.02, 8
    system, geometry = make(noise=s), PatchGeometry((sites,), buffer=1)
    windows, around = cut_windows(rough_states(1, 40), [16], geometry)
    windows = windows.repeat(batch, axis=0)
    around = Surroundings(around.outside.repeat(batch, axis=0))
    after, elapsed = system.evolve_patch(windows, geometry, h, seeds(8, index=batch), around=around)
    np.testing.assert_array_equal(elapsed, h)
    covariance = np.cov(system.observable_increment(windows, after, geometry).T)
    exact = s**2 * h / sites
    np.testing.assert_allclose(np.diag(covariance), exact, atol=5 * exact * np.sqrt(2 / batch))
    assert abs(covariance[0, 1]) < 5 * exact / np.sqrt(batch)
    _, rate = system.exact_moments(np.zeros((1, 2)), (40,))
    np.testing.assert_allclose(np.diag(covariance) / h * sites / 40, np.diag(rate[0]), rtol=0.08)


@pytest.mark.parametrize("buffer", [0, 2])
@pytest.mark.parametrize("name", INTEGRATORS)
def test_patch_that_sticks_out_by_half_is_its_part_inside(name, buffer):
    system = make(noise=0.0, integrator=name, diffusion=0.2)
    states = rough_states(6, 40)
    geometry = PatchGeometry((10,), buffer=buffer)
    windows, around = cut_windows(states, [-5, 35], geometry)
    rim = buffer + 1
    np.testing.assert_array_equal(around.outside[:2, 0], [[5 + rim, 0], [0, 5 + rim]])
    after, _ = system.evolve_patch(windows, geometry, 0.5, seeds(1, index=12), around=around)
    inside = 5 + rim
    # The part inside is a line of its own with one frozen site: a patch of half the sites.
    half = PatchGeometry((5,), buffer=buffer)
    parts, ends = cut_windows(states, [0, 35], half)
    moved, _ = system.evolve_patch(parts, half, 0.5, seeds(1, index=12), around=ends)
    low, high = after[::2], after[1::2]
    np.testing.assert_array_equal(low[:, :, -inside:], moved[::2, :, rim:])
    np.testing.assert_array_equal(high[:, :, :inside], moved[1::2, :, :-rim])
    # Sites outside hold the end site's final value.
    np.testing.assert_array_equal(low[:, :, :inside], low[:, :, inside, None].repeat(inside, 2))
    np.testing.assert_array_equal(
        high[:, :, inside:], high[:, :, inside - 1, None].repeat(5 + rim, 2)
    )
    assert np.abs(low[:, :, inside] - windows[::2, :, inside]).min() > 1e-4


def test_content_of_sites_outside_does_not_act():
    system, geometry = make(), PatchGeometry((8,), buffer=1)
    windows, around = cut_windows(rough_states(5, 24), [0, 8, 16], geometry)
    keys = seeds(2, index=15)
    after, _ = system.evolve_patch(windows, geometry, 0.3, keys, around=around)
    garbage = windows.copy()
    for window, (low, high) in zip(garbage, around.outside[:, 0], strict=True):
        window[:, :low] = np.nan
        window[:, window.shape[1] - high :] = np.nan
    again, _ = system.evolve_patch(garbage, geometry, 0.3, keys, around=around)
    np.testing.assert_array_equal(again, after)


def test_whole_line_as_one_patch_is_evolve():
    # Without noise: its numbers belong to the sites of the window.
    system, states = make(noise=0.0), rough_states(7, 30)
    geometry = PatchGeometry((30,))
    windows, around = cut_windows(states, [0], geometry)
    after, _ = system.evolve_patch(windows, geometry, 1.0, seeds(1, index=7), around=around)
    np.testing.assert_array_equal(
        geometry.cut(after), system.evolve(states, 1.0, seeds(1, index=7))
    )


@pytest.mark.parametrize("halo", [1, 3])
@pytest.mark.parametrize("buffer", [0, 2])
@pytest.mark.parametrize("name", INTEGRATORS)
def test_halo_is_frozen_and_buffers_move(name, buffer, halo):
    geometry = PatchGeometry((9,), halo=halo, buffer=buffer)
    windows = rough_states(40, geometry.window[0])
    before = windows.copy()
    after, elapsed = make(integrator=name).evolve_patch(windows, geometry, 0.5, seeds(1, index=40))
    np.testing.assert_array_equal(windows, before)
    np.testing.assert_array_equal(after[:, :, :halo], before[:, :, :halo])
    np.testing.assert_array_equal(after[:, :, -halo:], before[:, :, -halo:])
    assert np.all(after[:, :, halo:-halo] != before[:, :, halo:-halo])
    np.testing.assert_array_equal(elapsed, np.full(40, 0.5))


def test_halo_acts_on_the_patch():
    system, geometry = make(noise=0.0), PatchGeometry((6,))
    windows = rough_states(2, 8)
    windows[1] = windows[0]
    windows[1, 1, 0] += 0.1
    after, _ = system.evolve_patch(windows, geometry, 0.01, seeds(1, index=2))
    assert after[1, 1, 1] - after[0, 1, 1] == pytest.approx(0.01 * 0.1, abs=ROUNDING)
    np.testing.assert_array_equal(after[1, :, 2:], after[0, :, 2:])


def test_end_may_cut_into_a_wide_halo():
    # Two sites are outside, the third is inside but frozen.
    geometry = PatchGeometry((4,), halo=3)
    segment = Segment.of_window(10, 3, low=2)
    assert segment == Segment(3, 7, low_end=False, high_end=False)
    windows = rough_states(3, 10)
    around = Surroundings(np.tile([[[2, 0]]], (3, 1, 1)))
    after, _ = make().evolve_patch(windows, geometry, 0.1, seeds(1, index=3), around=around)
    np.testing.assert_array_equal(after[:, :, 2], windows[:, :, 2])
    np.testing.assert_array_equal(after[:, :, :2], windows[:, :, 2, None].repeat(2, 2))


def test_window_with_nothing_inside_is_refused():
    around = Surroundings(np.array([[[8, 0]]]))
    with pytest.raises(ValueError, match="8 and 0 sites beyond the ends"):
        make().evolve_patch(
            rough_states(1, 8), PatchGeometry((6,)), 0.1, seeds(1, index=1), around=around
        )


def test_observables_are_means_in_double_precision():
    states = np.full((2, 2, 10_000), 0.1, dtype=np.float32)
    states[:, 1] = np.linspace(0, 1, 10_000)
    system = make()
    exact = states.astype(float).mean(axis=2)
    for values in (system.observe(states), system.observe_patch(states)):
        assert values.dtype == np.float64
        np.testing.assert_allclose(values, exact, rtol=1e-14)
    changed = states.copy()
    changed[:, 0, 1:6] += np.float32(0.5)
    increment = system.observable_increment(states, changed, PatchGeometry((9_998,)))
    np.testing.assert_allclose(increment, [[0.5 * 5 / 9_998, 0]] * 2, rtol=1e-6)


def test_exact_moments():
    drift_, covariance = make(noise=0.1).exact_moments(np.full((3, 2), 0.5), (200,))
    assert drift_.shape == (3, 2) and np.isnan(drift_).all()
    np.testing.assert_allclose(covariance, [np.eye(2) * 0.01 / 200] * 3, rtol=1e-14)


def test_covariance_rate_of_the_means_is_exact_for_the_whole():
    batch, n, h = 8000, 20, 0.01
    system, states = make(noise=0.05), rough_states(1, n).repeat(batch, axis=0)
    after = system.evolve(states, h, seeds(9, index=batch))
    change = system.observe(after) - system.observe(states)
    _, exact = system.exact_moments(system.observe(states[:1]), (n,))
    found = np.cov(change.T) / h
    error = exact[0, 0, 0] * np.sqrt((1 + np.eye(2)) / batch)
    assert np.all(np.abs(found - exact[0]) < 5 * error)


def test_events_are_refused():
    with pytest.raises(ValueError, match="events must be None: 3"):
        make().evolve_patch(
            rough_states(2, 8), PatchGeometry((6,)), 0.1, seeds(1, index=2), events=3
        )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s, x, k: s.evolve(x.astype(np.float64), 1.0, k), TypeError, "float32"),
        (lambda s, x, k: s.evolve(x[:, :1], 1.0, k), ValueError, r"\[batch, 2, sites\]"),
        (lambda s, x, k: s.evolve(x, -1.0, k), ValueError, "-1.0"),
        (lambda s, x, k: s.evolve(x, np.inf, k), ValueError, "inf"),
        (lambda s, x, k: s.evolve_patch(x, PatchGeometry((5,)), 1.0, k), ValueError, "do not fit"),
        (
            lambda s, x, k: s.evolve_patch(x, PatchGeometry((8,), halo=0), 1.0, k),
            ValueError,
            "halo must be 1",
        ),
        (
            lambda s, x, k: s.evolve_patch(
                x, PatchGeometry((6,)), 1.0, k, around=Surroundings(np.zeros((2, 2), np.int64))
            ),
            ValueError,
            "outside has the shape",
        ),
    ],
    ids=["dtype", "channels", "negative", "endless", "window", "halo", "outside"],
)
def test_wrong_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(make(), rough_states(2, 8), seeds(1, index=2))


def test_field_that_runs_away_is_reported():
    states = np.full((1, 2, 8), -5.0, dtype=np.float32)
    with pytest.raises(FloatingPointError, match=r"smaller step than 0\.01"):
        make().evolve(states, 5.0, seeds(1, index=1))


def test_diffusion_takes_any_real_type():
    x = torch.rand((2, 9, 3), dtype=torch.float64)
    out = torch.empty_like(x)
    Diffusion(x, Segment(0, 9), (1.0, 0.25))(x, out)
    padded = np.pad(x.numpy(), ((0, 0), (1, 1), (0, 0)), "edge")
    lap = padded[:, 2:] + padded[:, :-2] - 2 * x.numpy()
    np.testing.assert_allclose(out.numpy(), lap * [[[1.0]], [[0.25]]], atol=1e-14)


def test_cuda_without_a_gpu_warns_once_and_gives_the_same_bits(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu_is_usable.cache_clear()
    states, keys = rough_states(3, 10), seeds(1, index=3)
    with caplog.at_level(logging.WARNING, "macrodyn"):
        systems = [make("cuda"), make("cuda").with_parameters(noise=0.02)]
    assert len(caplog.records) == 1 and "torch sees no GPU" in caplog.text
    expected = make().evolve(states, 0.1, keys)
    for system in systems:
        np.testing.assert_array_equal(system.evolve(states, 0.1, keys), expected)
    gpu_is_usable.cache_clear()


def test_unknown_device_is_refused():
    with pytest.raises(ValueError, match="cpu, cuda only"):
        make("tpu")


def test_global_generators_are_left_alone():
    torch.manual_seed(1)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    make().evolve(rough_states(2, 10), 0.1, seeds(1, index=2))
    torch.testing.assert_close(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_scheme_of_the_default_is_named_in_the_parameters():
    assert SCHEMES["runge-kutta"] is runge_kutta_step
    with pytest.raises(ValueError, match="integrator"):
        make(integrator="leapfrog")
