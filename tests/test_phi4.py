"""The example of a field that knows its forces: scheme, rates, compensators, and its study."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.linalg import circulant

from macrodyn.config.load import ConfigError, load_study
from macrodyn.lattice import PatchGeometry, Tiling
from macrodyn.streams import seeds
from macrodyn.systems import PatchSystem, system_class
from macrodyn.systems.windows import cut_windows

EXAMPLE = Path(__file__).parents[1] / "examples" / "phi4"
LENGTH, SIDE = 24, 6
# Side, buffer and boundary of a patch.
WAYS = pytest.mark.parametrize(
    ("side", "buffer", "boundary"),
    [(SIDE, 0, "frozen"), (SIDE, 3, "frozen"), (LENGTH, 0, "periodic")],
    ids=["patch", "buffer", "whole"],
)


@pytest.fixture
def make(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    cls = system_class("phi4:Phi4")
    return lambda **parameters: cls(cls.Parameters(**parameters))


def rings(system, number, mean=0.3, spread=0.6):
    macrostates = np.tile([mean, spread], (number, 1))
    return system.initial_states(macrostates, (LENGTH,), seeds(1, "rings", index=number))


def force(x, field=0.1):
    return x - x**3 + np.roll(x, 1, -1) + np.roll(x, -1, -1) - 2 * x + field


def cut(system, states, patch):
    return cut_windows(system, states, Tiling(states.shape[2:], patch.shape).origins(), patch)


def test_initial_states_have_the_mean_and_the_spread(make):
    values = make().observe(rings(make(), 400))
    assert values[:, 0].mean() == pytest.approx(0.3, abs=5 * 0.6 / np.sqrt(400 * LENGTH))
    square = 0.3**2 + 0.6**2
    assert values[:, 1].mean() == pytest.approx(square, abs=5 * 0.63 / np.sqrt(400 * LENGTH))


def test_without_noise_heun_is_of_second_order(make):
    states, keys = rings(make(), 3), seeds(2, index=3)
    steps = (0.025, 0.0125, 0.00625, 0.003125)
    ends = [make(noise=0.0, step=step).evolve(states, 1.0, keys) for step in steps]
    gaps = [np.abs(a - b).max() for a, b in pairwise(ends)]
    np.testing.assert_allclose(np.divide(gaps[:-1], gaps[1:]), 4.0, rtol=0.2)
    h = 1e-4
    slope = (make(noise=0.0).evolve(states, h, keys) - states) / h
    np.testing.assert_allclose(slope, force(states), atol=50 * h)


def test_small_noise_has_the_stationary_covariance(make):
    """About the minimum at 1 the field is linear: covariance s^2 / 2 J^-1, J = 2 - lap."""
    s, number = 0.01, 1500
    system = make(noise=s, field=0.0)
    states = np.ones((number, 1, 8))
    x = system.evolve(states, 4.0, seeds(3, index=number))[:, 0] - 1
    exact = s**2 / 2 * np.linalg.inv(circulant([4.0, -1, 0, 0, 0, 0, 0, -1]))
    error = np.sqrt((np.outer(np.diag(exact), np.diag(exact)) + exact**2) / number)
    assert np.all(np.abs(x.T @ x / number - exact) < 5 * error)


@pytest.mark.parametrize("duration", [0.0, 0.07])
@WAYS
def test_evolution_leaves_the_halo_and_does_not_depend_on_the_batch(
    make, duration, side, buffer, boundary
):
    system, patch = make(), PatchGeometry((side,), buffer=buffer, boundary=boundary)
    windows, _ = cut(system, rings(system, 4), patch)
    before, keys = windows.copy(), seeds(4, index=len(windows))
    after, elapsed = system.evolve_patch(windows, patch, duration, keys)
    np.testing.assert_array_equal(windows, before)
    assert (elapsed == duration).all()
    moved = (after != windows).any(axis=(0, 1))
    expected = np.zeros(patch.window, dtype=bool)
    expected[patch.moving] = duration > 0
    np.testing.assert_array_equal(moved, expected)
    again, compensator = system.evolve_compensated(windows, patch, duration, keys)
    np.testing.assert_array_equal(again, after)
    part, of_part = system.evolve_compensated(windows[1:3], patch, duration, keys[1:3])
    np.testing.assert_array_equal(part, after[1:3])
    np.testing.assert_array_equal(of_part, compensator[1:3])
    if boundary == "periodic":
        np.testing.assert_array_equal(after, system.evolve(windows, duration, keys))


def test_frozen_neighbours_act_on_a_patch(make):
    system, patch = make(noise=0.0), PatchGeometry((1,))
    windows = np.array([[[0.0, 0.2, 0.0]], [[1.0, 0.2, 0.0]], [[0.0, 0.2, 1.0]]])
    after, _ = system.evolve_patch(windows, patch, 0.001, seeds(5, index=3))
    np.testing.assert_allclose(after[1:, 0, 1] - after[0, 0, 1], 0.001, rtol=0.01)


@pytest.mark.parametrize("buffer", [0, 3])
def test_rates_of_patches_average_to_the_generator_of_the_whole(make, buffer):
    system = make(noise=0.7, field=-0.2)
    states, patch = rings(system, 5), PatchGeometry((SIDE,), buffer=buffer)
    x = states[:, 0]
    exact = np.stack([force(x, -0.2), 2 * x * force(x, -0.2) + 0.7**2], axis=1)
    windows, around = cut(system, states, patch)
    rates = system.expected_rates(windows, patch, around).reshape(5, 4, 2)
    each = exact.reshape(5, 2, 4, SIDE).mean(axis=3).swapaxes(1, 2)
    np.testing.assert_allclose(rates, each, atol=1e-13)
    whole = system.expected_rates(states, PatchGeometry((LENGTH,), boundary="periodic"))
    np.testing.assert_allclose(rates.mean(axis=1), whole, atol=1e-13)


@WAYS
@pytest.mark.parametrize("duration", [0.1, 1.0, 5.0])
def test_increments_have_the_mean_of_compensators_and_of_integrated_rates(
    make, duration, side, buffer, boundary
):
    system, number = make(), 3000
    patch = PatchGeometry((side,), buffer=buffer, boundary=boundary)
    window = cut(system, rings(system, 1, mean=-0.8), patch)[0][:1]
    windows, keys = window.repeat(number, axis=0), seeds(6, index=number)
    # Sites relax at rates of up to 8: Simpson's rule for 5 would take many intervals.
    for exact in (True, False) if duration < 5 else (True,):
        system.rate_intervals = 4 if duration < 1 else 12
        evolve = type(system).evolve_compensated if exact else PatchSystem.evolve_compensated
        after, compensator = evolve(system, windows, patch, duration, keys)
        increment = system.observable_increment(windows, after, patch)
        martingale = increment - compensator
        error = martingale.std(axis=0) / np.sqrt(number)
        # Simpson's rule and a step of 0.05 leave an error of less than 1 % of what moves most.
        room = 0.0 if exact else 0.01 * np.abs(increment.mean(axis=0)).max()
        assert np.all(np.abs(martingale.mean(axis=0)) < 4 * error + room)
        assert np.all(4 * error < 0.35 * np.abs(increment.mean(axis=0)).max())
        if exact and duration == 0.1:
            for delta, noise in zip(increment.T, martingale.T, strict=True):
                c = np.cov(delta, noise)[0, 1] / noise.var()
                assert (delta - c * noise).var() < 0.1 * delta.var()


def test_field_that_runs_away_is_reported(make):
    with pytest.raises(FloatingPointError, match=r"smaller step than 0\.2"):
        make(step=0.2).evolve(np.full((1, 1, 8), 20.0), 2.0, seeds(7, index=1))


def test_study_of_the_example_is_accepted(make):
    study = load_study(EXAMPLE / "phi4.yaml")
    assert study.runs["small-64"].sizes.large == (1024,)


def test_wrong_rates_of_the_example_are_found_out(make, monkeypatch, tmp_path):
    source = (EXAMPLE / "phi4.py").read_text(encoding="utf-8")
    right = " + self.parameters.noise**2\n"
    assert source.count(right) == 1
    wrong = source.replace(right, " + 0.5 * self.parameters.noise**2\n")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "phi4_wrong.py").write_text(wrong, encoding="utf-8")
    content = yaml.safe_load((EXAMPLE / "phi4.yaml").read_text(encoding="utf-8"))
    content["system"]["name"] = "phi4_wrong:Phi4"
    message = "system.name: Phi4: expected_rates adds up to .* for square along paths"
    with pytest.raises(ConfigError, match=message):
        load_study(content)
