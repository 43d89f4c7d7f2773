"""Expected rates of the predator-prey field, and what its schemes make of them along a path."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.lattice import PatchGeometry, Surroundings, Tiling
from macrodyn.streams import seeds
from macrodyn.systems.patch_system import PatchSystem
from macrodyn.systems.predator_prey import PredatorPrey, PredatorPreyParameters
from macrodyn.systems.shared.integrators import SCHEMES
from macrodyn.systems.shared.noise import NormalNoise
from macrodyn.systems.windows import cut_windows

A, B, N = 3.0, 0.4, 40
INTEGRATORS = list(SCHEMES)
# Side, buffer and boundary of a patch; a line as a whole is a frozen patch of its length.
WAYS = pytest.mark.parametrize(
    ("side", "buffer", "boundary"),
    [(8, 0, "frozen"), (8, 3, "frozen"), (8, 0, "periodic"), (N, 0, "frozen")],
    ids=["patch", "buffer", "periodic", "whole"],
)


def make(**parameters):
    return PredatorPrey(PredatorPreyParameters(**parameters))


def rough_states(batch, n=N):
    """Densities between 0.2 and 0.8 that differ from site to site."""
    return np.random.default_rng(1).uniform(0.2, 0.8, (batch, 2, n)).astype(np.float32)


def drift(states, diffusion=0.0, mode="edge"):
    """The drift of whole lines in float64: np.pad makes the ends (edge) or joins them (wrap)."""
    x = states.astype(float)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1)), mode)
    lap = padded[..., 2:] + padded[..., :-2] - 2 * x
    u, v = x[:, 0], x[:, 1]
    return np.stack([u * (1 - u - v) + diffusion * lap[:, 0], A * v * (u - B) + lap[:, 1]], axis=1)


def cut(system, states, patch):
    origins = Tiling(states.shape[2:], patch.shape, periodic=False).origins()
    return cut_windows(system, states, origins, patch)


@pytest.mark.parametrize("side", [8, 10, N])
@pytest.mark.parametrize("buffer", [0, 3])
def test_rates_of_patches_are_mean_drifts_of_their_sites(side, buffer):
    system, states = make(diffusion=0.7), rough_states(6)
    patch = PatchGeometry((side,), buffer=0 if side == N else buffer)
    windows, around = cut(system, states, patch)
    rates = system.expected_rates(windows, patch, around).reshape(6, -1, 2)
    exact = drift(states, 0.7)
    expected = exact.reshape(6, 2, N // side, side).mean(axis=3).swapaxes(1, 2)
    np.testing.assert_allclose(rates, expected, atol=1e-13)
    np.testing.assert_allclose(rates.mean(axis=1), exact.mean(axis=2), atol=1e-13)
    part = system.expected_rates(windows[2:3], patch, Surroundings(around.outside[2:3]))
    np.testing.assert_array_equal(part, rates.reshape(-1, 2)[2:3])


def test_rates_of_a_loop_have_no_ends():
    system, states = make(diffusion=0.7), rough_states(6, 8)
    rates = system.expected_rates(states, PatchGeometry((8,), boundary="periodic"))
    np.testing.assert_allclose(rates, drift(states, 0.7, "wrap").mean(axis=2), atol=1e-13)


def test_sites_outside_count_as_the_end_site():
    system, states = make(), rough_states(3)
    patch = PatchGeometry((10,), buffer=2)
    windows, around = cut_windows(system, states, np.array([[-4], [34]]), patch)
    exact = drift(states)
    low = np.concatenate([exact[..., :1].repeat(4, 2), exact[..., :6]], axis=2)
    high = np.concatenate([exact[..., -6:], exact[..., -1:].repeat(4, 2)], axis=2)
    expected = np.stack([low, high], axis=1).reshape(6, 2, 10).mean(axis=2)
    np.testing.assert_allclose(system.expected_rates(windows, patch, around), expected, atol=1e-13)
    keys = seeds(1, index=6)
    after, compensator = system.evolve_compensated(windows, patch, 0.01, keys, around)
    np.testing.assert_allclose(compensator, 0.01 * expected, atol=2e-7)
    assert np.abs(system.observable_increment(windows, after, patch) - compensator).min() > 1e-6


@WAYS
@pytest.mark.parametrize("name", INTEGRATORS)
@pytest.mark.parametrize("duration", [0.0, 0.3])
def test_states_are_those_of_the_plain_evolution(name, duration, side, buffer, boundary):
    system, states = make(integrator=name), rough_states(7)
    patch = PatchGeometry((side,), buffer=buffer, boundary=boundary)
    windows, around = cut(system, states, patch)
    before, keys = windows.copy(), seeds(2, index=len(windows))
    after, compensator = system.evolve_compensated(windows, patch, duration, keys, around)
    expected, _ = system.evolve_patch(windows, patch, duration, keys, around=around)
    np.testing.assert_array_equal(windows, before)
    np.testing.assert_array_equal(after, expected)
    assert np.all(compensator == 0) == (duration == 0)
    outside = None if around.outside is None else around.outside[3:7]
    part, of_part = system.evolve_compensated(
        windows[3:7], patch, duration, keys[3:7], Surroundings(outside)
    )
    np.testing.assert_array_equal(part, after[3:7])
    np.testing.assert_array_equal(of_part, compensator[3:7])


@pytest.mark.parametrize("buffer", [0, 3])
@pytest.mark.parametrize("name", INTEGRATORS)
def test_compensator_is_the_drift_of_the_recursion(name, buffer):
    """The same noise through the schemes written anew, in float64: A sums their drifts."""
    steps, h, s = 25, 0.02, 0.05
    patch = PatchGeometry((8,), buffer=buffer)
    length, batch = patch.window[0], 6
    windows, keys = rough_states(batch, length), seeds(3, index=batch)
    kicks = NormalNoise(keys, 2, length, steps).fill(0).numpy().astype(float) * s * np.sqrt(h)
    x, total = windows.astype(float), 0.0

    def f(state):
        slope = drift(state)
        slope[..., [0, -1]] = 0.0
        return slope

    for kick in np.moveaxis(kicks, -1, 1).copy():
        kick[..., [0, -1]] = 0.0
        k1 = f(x)
        change = h * k1
        if name == "runge-kutta":
            k2 = f(x + h / 2 * k1)
            k3 = f(x + h / 2 * k2 + kick)
            k4 = f(x + h * k3 + kick)
            change = h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        total = total + change
        x = x + change + kick
    system = make(noise=s, step=h, integrator=name)
    after, compensator = system.evolve_compensated(windows, patch, steps * h, keys)
    np.testing.assert_allclose(compensator, patch.cut(total).mean(axis=2), rtol=0, atol=3e-6)
    martingale = system.observable_increment(windows, after, patch) - compensator
    assert np.abs(martingale).max() > 1e-3


@WAYS
@pytest.mark.parametrize("name", INTEGRATORS)
@pytest.mark.parametrize("duration", [0.05, 0.5, 3.0])
def test_increments_have_the_mean_of_integrated_rates(name, duration, side, buffer, boundary):
    """Simpson's rule over the rates along the path, which knows nothing of the noise."""
    system, n = make(noise=0.1, integrator=name, diffusion=0.3), 600 if side == N else 1500
    patch = PatchGeometry((side,), buffer=buffer, boundary=boundary)
    windows, around = cut(system, rough_states(1), patch)
    windows = windows[:1].repeat(n, axis=0)
    outside = None if around.outside is None else around.outside[:1].repeat(n, axis=0)
    around, keys = Surroundings(outside), seeds(4, name, index=n)
    parts = 4 if duration < 1 else 12
    system.rate_intervals = parts
    after, quadrature = PatchSystem.evolve_compensated(
        system, windows, patch, duration, keys, around
    )
    increment = system.observable_increment(windows, after, patch, around)
    martingale = increment - quadrature
    error = martingale.std(axis=0) / np.sqrt(n)
    scale = np.abs(increment.mean(axis=0)).max()
    # Euler's drift lags by half a step of 0.01, and Simpson's rule is of fourth order.
    room = 4 * error + (0.02 if name == "euler-maruyama" else 0.003) * scale
    assert np.all(np.abs(martingale.mean(axis=0)) < room)
    assert np.all(4 * error < 0.15 * scale)
    after, exact = system.evolve_compensated(windows, patch, duration, keys, around)
    increment = system.observable_increment(windows, after, patch, around)
    noise = (increment - exact).mean(axis=0)
    expected = 0.1 * np.sqrt(duration / side / n)
    assert np.all(np.abs(noise) < 4 * expected)
    error = np.hypot(exact.std(axis=0), quadrature.std(axis=0)) / np.sqrt(n)
    room = 4 * error + (0.02 if name == "euler-maruyama" else 0.003) * scale
    assert np.all(np.abs(exact.mean(axis=0) - quadrature.mean(axis=0)) < room)


@pytest.mark.parametrize("buffer", [0, 3])
def test_compensated_increments_scatter_less(buffer):
    system, patch, n = make(), PatchGeometry((8,), buffer=buffer), 2000
    windows, around = cut(system, rough_states(1), patch)
    windows = windows[1:2].repeat(n, axis=0)
    around = Surroundings(around.outside[1:2].repeat(n, axis=0))
    for duration, most in ((0.05, 0.01), (0.5, 0.2)):
        after, compensator = system.evolve_compensated(
            windows, patch, duration, seeds(5, index=n), around
        )
        increment = system.observable_increment(windows, after, patch, around)
        for delta, noise in zip(increment.T, (increment - compensator).T, strict=True):
            c = np.cov(delta, noise)[0, 1] / noise.var()
            assert (delta - c * noise).var() < most * delta.var()


def test_without_noise_compensators_are_the_increments():
    system, patch, states = make(noise=0.0), PatchGeometry((8,)), rough_states(5, 10)
    after, compensator = system.evolve_compensated(states, patch, 0.5, seeds(6, index=5))
    np.testing.assert_array_equal(compensator, system.observable_increment(states, after, patch))
    assert np.abs(compensator).min() > 1e-4


def test_windows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit the patch"):
        make().expected_rates(rough_states(2, 9), PatchGeometry((8,)))
    with pytest.raises(ValueError, match="must be 1 site wide"):
        make().evolve_compensated(
            rough_states(2, 8), PatchGeometry((8,), halo=0), 0.1, seeds(1, index=2)
        )


@WAYS
@pytest.mark.parametrize("name", INTEGRATORS)
def test_the_noise_told_is_what_chance_has_added(name, side, buffer, boundary):
    """Its mean over the patch is the martingale; of one step of Euler's it is all but the drift."""
    system, states = make(integrator=name, step=0.05, noise=0.03), rough_states(5)
    patch = PatchGeometry((side,), buffer=buffer, boundary=boundary)
    windows, around = cut(system, states, patch)
    keys = seeds(4, index=len(windows))
    after, compensator, noise = system.evolve_driven(windows, patch, 0.2, keys, around)
    plain = system.evolve_compensated(windows, patch, 0.2, keys, around)
    np.testing.assert_array_equal(after, plain[0])
    np.testing.assert_array_equal(compensator, plain[1])
    martingale = system.observable_increment(windows, after, patch, around) - compensator
    np.testing.assert_allclose(system.observe(patch.cut(noise)), martingale, atol=1e-7)
    halo = patch.margin - buffer
    if halo and boundary == "frozen" and side < N:
        inner = Tiling((N,), patch.shape).number // 2
        assert not noise[inner, :, :halo].any()
        assert not noise[inner, :, -halo:].any()
    if name != "euler-maruyama":
        return
    after, _, noise = system.evolve_driven(windows, patch, 0.05, keys, around)
    moving = (..., *patch.moving)
    whole = (..., *patch.core)
    if not buffer and boundary == "frozen":
        exact = windows.astype(float)[whole] + noise[whole]
        drifts = drift(states).reshape(5, 2, N // side, side).swapaxes(1, 2).reshape(-1, 2, side)
        np.testing.assert_allclose(after[whole], exact + 0.05 * drifts, atol=1e-6)
    assert noise[moving].std() == pytest.approx(0.03 * 0.05**0.5, rel=0.15)
