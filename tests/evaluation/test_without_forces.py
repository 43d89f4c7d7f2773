"""Predictions that need no forces, on trajectories whose equation is known."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.evaluation.available import Unavailable
from macrodyn.evaluation.without_forces import (
    constant,
    interpolated,
    nearest,
    own_equation,
    regressed,
    relative_errors,
)

TIMES = np.linspace(0, 2, 41)
STARTS = np.linspace(1, 2, 12)[:, None]
WANTED = np.array([[1.23], [1.87]])


def decay(starts):
    """Of z and of its square, which closes in itself."""
    z = starts * np.exp(-TIMES)
    return np.stack([z, z**2], axis=-1)


def test_interpolation_of_what_depends_smoothly_on_the_start():
    found = interpolated(STARTS, decay(STARTS), WANTED)
    np.testing.assert_allclose(found, decay(WANTED), rtol=1e-10)


def test_interpolation_by_two_numbers():
    rng = np.random.default_rng(1)
    starts = rng.uniform(1, 2, size=(60, 2))
    wanted = rng.uniform(1.2, 1.8, size=(4, 2))

    def runs(s):
        return (s[:, :1] + 0.5 * s[:, 1:] * TIMES)[..., None]

    np.testing.assert_allclose(interpolated(starts, runs(starts), wanted), runs(wanted), rtol=1e-6)


def test_too_few_runs_are_not_interpolated():
    with pytest.raises(Unavailable, match="too few training runs"):
        interpolated(STARTS[:3], decay(STARTS[:3]), WANTED)


def test_nearest_is_the_run_that_began_nearest():
    found = nearest(STARTS, decay(STARTS), WANTED)
    expected = np.abs(STARTS - WANTED.T).argmin(axis=0)
    np.testing.assert_array_equal(found, decay(STARTS)[expected])


def test_regression_on_the_first_observables():
    rng = np.random.default_rng(2)
    starts, wanted = (np.exp(rng.normal(size=(n, 1))) for n in (40, 5))
    found = regressed(decay(starts), decay(wanted)[:, 0])
    np.testing.assert_allclose(found, decay(wanted), rtol=1e-5, atol=1e-5)
    # What the first observables do not tell is left, and is not fitted.
    noise = 0.1 * rng.normal(size=(200, 41, 2)) * (TIMES > 0)[:, None]
    starts = np.exp(0.3 * rng.normal(size=(200, 1)))
    found = regressed(decay(starts) + noise, decay(starts[:50])[:, 0])
    assert np.abs(found - decay(starts[:50])).mean() < 0.03


def test_a_first_observable_that_is_the_same_in_all_runs_tells_nothing():
    """Such as the energy of starts that share positions: the same but for rounding."""
    rng = np.random.default_rng(3)
    starts, wanted = (np.exp(0.3 * rng.normal(size=(n, 1))) for n in (40, 5))

    def runs(s):
        same = -4.0 + np.where(TIMES > 0, TIMES * s, 1e-16 * rng.normal(size=s.shape))
        return np.concatenate([decay(s), same[..., None]], axis=-1)

    found = regressed(runs(starts), runs(wanted)[:, 0])
    np.testing.assert_allclose(found, runs(wanted), rtol=1e-4, atol=1e-4)


def test_few_runs_give_no_regression():
    with pytest.raises(Unavailable, match="9 training runs are too few"):
        regressed(decay(STARTS[:9]), decay(WANTED)[:, 0])


def test_constant_stays():
    found = constant(decay(WANTED)[:, 0], 41)
    np.testing.assert_array_equal(found, np.repeat(decay(WANTED)[:, :1], 41, axis=1))


def test_equation_of_the_observables_is_found_from_differences():
    true = decay(WANTED)[..., :1]
    found = own_equation(TIMES, decay(STARTS)[..., :1], true[:, 0], TIMES)
    np.testing.assert_allclose(found, true, rtol=2e-3)
    later = own_equation(TIMES, decay(STARTS)[..., :1], true[:, 4], TIMES[4:])
    np.testing.assert_allclose(later, true[:, 4:], rtol=2e-3)


def test_errors_are_relative_and_of_the_records_that_count():
    true = decay(WANTED)
    predicted = np.stack([1.1 * true, 0.9 * true])
    used = np.ones(true.shape[:2], dtype=bool)
    np.testing.assert_allclose(relative_errors(predicted, true, used), 0.1)
    predicted[:, :, 20:] = np.nan
    assert np.isinf(relative_errors(predicted, true, used)).all()
    used[:, 20:] = False
    np.testing.assert_allclose(relative_errors(predicted, true, used), 0.1)
