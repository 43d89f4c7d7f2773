"""Nothing learned depends on the unit of time or of the observables.

Units are scaled by powers of two from 1e-15 to 1e15: these change no rounding.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from macrodyn.dynamics import (
    DynamicsSettings,
    Ensemble,
    LatentArrays,
    TransitionData,
    estimate_covariance_factor,
    integrate,
    train_ensemble,
)
from macrodyn.dynamics.regression import standardise
from macrodyn.evaluation import markov_diagnostic
from macrodyn.learning.history import History

from .conftest import OrnsteinUhlenbeck

UNITS = [
    pytest.param(2.0**-40, 1.0, id="terahertz"),
    pytest.param(2.0**40, 1.0, id="picoseconds"),
    pytest.param(1.0, 2.0**-50, id="small-values"),
    pytest.param(1.0, 2.0**50, id="large-values"),
    pytest.param(2.0**-40, 2.0**-50, id="both"),
]
LITTLE = DynamicsSettings(members=2, hidden=(8,), steps=40, batch=64, validation_every=10)


def _scaled(latents: xr.Dataset, time: float, value: float) -> xr.Dataset:
    return latents.assign(
        z=latents.z * value,
        increment=latents.increment * value,
        elapsed=latents.elapsed * time,
        condition_values=latents.condition_values * value,
    )


def _learned(latents: xr.Dataset) -> tuple[Ensemble, History]:
    data = TransitionData.from_latents(latents, likelihood="patches")
    return train_ensemble(*data.split(0.3, seed=0), LITTLE)


@pytest.fixture(scope="module")
def latents(ornstein_uhlenbeck: OrnsteinUhlenbeck) -> xr.Dataset:
    conditions = np.random.default_rng(1).choice([1.0, 2.0], (2000, 1))
    return ornstein_uhlenbeck(samples=2000, groups=20, conditions=conditions)


@pytest.fixture(scope="module")
def learned(latents: xr.Dataset) -> tuple[Ensemble, History]:
    return _learned(latents)


@pytest.mark.parametrize(("time", "value"), UNITS)
def test_learned_dynamics_and_predictions(
    latents: xr.Dataset, learned: tuple[Ensemble, History], time: float, value: float
) -> None:
    model, history = learned
    other, other_history = _learned(_scaled(latents, time, value))
    assert other_history.best_step == history.best_step
    z = torch.linspace(-1, 1, 20)[:, None]
    condition = torch.ones(20, 1)
    with torch.no_grad():
        drift, noise = model(z, condition)
        scaled_drift, scaled_noise = other(z * value, condition * value)
    torch.testing.assert_close(scaled_drift * time / value, drift, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scaled_noise * time**0.5 / value, noise, rtol=1e-4, atol=1e-5)
    times = 0.02 * np.arange(6)
    path = integrate(model, z, times, step=0.02, conditions=condition)
    scaled = integrate(
        other,
        z * value,
        times * time,
        step=0.02 * time,
        conditions=condition * value,
        bounds=other.domain.limits([(-np.inf, np.inf)], z * value),
    )
    torch.testing.assert_close(scaled / value, path, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("time", "value"), UNITS)
def test_covariance_factor(latents: xr.Dataset, time: float, value: float) -> None:
    first, other = (
        estimate_covariance_factor(LatentArrays.from_dataset(data))
        for data in (latents, _scaled(latents, time, value))
    )
    assert other.estimated == pytest.approx(first.estimated, rel=1e-9)
    assert other.standard_error == pytest.approx(first.standard_error, rel=1e-9)


@pytest.mark.parametrize(("time", "value"), UNITS)
def test_markov_diagnostic(latents: xr.Dataset, time: float, value: float) -> None:
    first, other = (
        markov_diagnostic(data, bins=5) for data in (latents, _scaled(latents, time, value))
    )
    np.testing.assert_allclose(other.drift * time / value, first.drift, rtol=1e-9)
    np.testing.assert_allclose(other.diffusion * time / value**2, first.diffusion, rtol=1e-9)


@pytest.mark.parametrize("unit", [1e-15, 1.0, 1e15])
def test_a_column_that_does_not_vary_is_told_in_any_unit(unit: float) -> None:
    varying = np.linspace(1.0, 1.001, 50) * unit
    values = np.stack([varying, np.full(50, 3.0 * unit), np.zeros(50)], axis=1)
    standard, _, scale = standardise(values)
    np.testing.assert_allclose(standard.std(axis=0), [1, 0, 0], atol=1e-9)
    np.testing.assert_allclose(scale, [varying.std(), 3.0 * unit, 1.0])
