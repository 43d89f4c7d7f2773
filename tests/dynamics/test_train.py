"""Training on a lattice of independent Ornstein-Uhlenbeck sites, where all is known."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from macrodyn.dynamics import (
    DynamicsSettings,
    Ensemble,
    LatentArrays,
    TransitionData,
    covariance_factor,
    estimate_covariance_factor,
    partial_log_likelihood,
    train_ensemble,
)
from macrodyn.storage.checkpoints import Checkpoints, Interrupted

from .conftest import NOISE, PATCHES, RATE, SITES, OrnsteinUhlenbeck, changed

SETTINGS = DynamicsSettings(
    hidden=(16, 16), members=2, steps=500, batch=1024, validation_every=25, patience=8
)
SIGMA = NOISE**2 / SITES
"""Exact covariance rate of the mean over the sites, as the elapsed time goes to zero."""


def _train(data: TransitionData, settings: DynamicsSettings = SETTINGS) -> Ensemble:
    return train_ensemble(*data.split(0.15, seed=0), settings)[0]


def _drift_slope(model: Ensemble, data: TransitionData) -> np.ndarray:
    """Least-squares slope of the learned drift over the data's states, one per member."""
    with torch.no_grad():
        drift = model.drift(data.z)[..., 0].double().numpy()
    z = data.z[:, 0].double().numpy()
    return (drift * (z - z.mean())).mean(axis=1) / z.var()


def _mean_sigma(model: Ensemble, data: TransitionData) -> np.ndarray:
    with torch.no_grad():
        return model.covariance(data.z)[..., 0, 0].double().mean(1).numpy()


def _slope_error(data: TransitionData, sigma: float = SIGMA) -> float:
    """Standard error of the maximum-likelihood slope on the training share of the data."""
    used = 0.85 * len(data) * float(data.elapsed.mean())
    return float(np.sqrt(data.factor * sigma / used) / data.z.double().std())


# Of the exact transitions at finite time: (1 - exp(-a t)) / t, and the variance of the increment
# given z, in which sites scatter with unit variance around the patch's mean.
T = 0.02
SLOPE = -(1 - np.exp(-RATE * T)) / T
VARIANCE = (1 - np.exp(-2 * RATE * T)) / (2 * RATE) * NOISE**2
SIGMA_T = SIGMA * VARIANCE / T


@pytest.mark.parametrize(
    ("evolved", "covariance"),
    [
        pytest.param(2, "full", id="2-patches-network"),
        pytest.param(2, "constant", id="2-patches-constant"),
        pytest.param(PATCHES, "full", id="all-patches"),
    ],
)
def test_drift_and_covariance_are_recovered(
    ornstein_uhlenbeck: OrnsteinUhlenbeck, evolved: int, covariance: str
) -> None:
    data = TransitionData.from_latents(ornstein_uhlenbeck(evolved=evolved))
    assert data.factor == PATCHES / evolved
    model = _train(data, changed(SETTINGS, covariance=covariance))
    slope_error = _slope_error(data)
    assert np.all(np.abs(_drift_slope(model, data) - SLOPE) < 4 * slope_error + 0.02 * RATE)
    sigma_error = SIGMA * np.sqrt(2 / (0.85 * len(data)))
    sigma = _mean_sigma(model, data)
    assert np.all(np.abs(sigma - SIGMA_T) < 4 * sigma_error + 0.02 * SIGMA)


def test_without_the_factor_the_covariance_is_wrong_by_it(
    ornstein_uhlenbeck: OrnsteinUhlenbeck,
) -> None:
    data = TransitionData.from_latents(ornstein_uhlenbeck(evolved=2))
    settings = changed(SETTINGS, steps=300)
    ratio = _mean_sigma(_train(replace(data, factor=1.0), settings), data) / SIGMA_T
    assert ratio == pytest.approx(PATCHES / 2, rel=0.06)


def test_the_estimated_factor_recovers_the_covariance_of_correlated_patches(
    ornstein_uhlenbeck: OrnsteinUhlenbeck,
) -> None:
    latents = ornstein_uhlenbeck(evolved=4, correlation=0.2)
    estimate = estimate_covariance_factor(LatentArrays.from_dataset(latents))
    factor = covariance_factor("estimated", estimate)
    data = TransitionData.from_latents(latents, factor=factor)
    exact = SIGMA_T * (1 + (PATCHES - 1) * 0.2)
    tolerance = 0.06 + 4 * estimate.standard_error / estimate.estimated
    settings = changed(SETTINGS, steps=300)
    assert _mean_sigma(_train(data, settings), data) == pytest.approx(exact, rel=tolerance)
    by_theory = _mean_sigma(_train(replace(data, factor=estimate.theory), settings), data)
    assert np.all(np.abs(by_theory / exact - 1) > 2 * tolerance)


def test_one_model_covers_a_condition(ornstein_uhlenbeck: OrnsteinUhlenbeck) -> None:
    """The decay rate is a condition: the drift is a product of z and the condition."""
    rates = np.random.default_rng(1).uniform(0.5, 3.0, 20_000)
    latents = ornstein_uhlenbeck(evolved=PATCHES, rate=rates, conditions=rates[:, None])
    data = TransitionData.from_latents(latents)
    model = _train(data, changed(SETTINGS, steps=800, learning_rate=3e-3))
    z = torch.linspace(-1.5, 1.5, 21)[:, None]
    for rate in (0.8, 1.75, 2.7):
        with torch.no_grad():
            drift = model.drift(z, torch.full((21, 1), rate))[..., 0]
        slope = ((drift * z[:, 0]).mean(1) / z.square().mean()).numpy()
        error = np.sqrt(3) * _slope_error(data)
        assert np.all(np.abs(slope + (1 - np.exp(-rate * T)) / T) < 4 * error + 0.05 * rate)


def test_elapsed_may_vary(ornstein_uhlenbeck: OrnsteinUhlenbeck) -> None:
    times = np.random.default_rng(2).choice([0.005, 0.02, 0.04], 20_000)
    data = TransitionData.from_latents(ornstein_uhlenbeck(evolved=PATCHES, elapsed=times))
    model = _train(data)
    error = _slope_error(data)
    assert np.all(np.abs(_drift_slope(model, data) + RATE) < 4 * error + 0.03 * RATE)
    assert _mean_sigma(model, data) == pytest.approx(SIGMA, rel=0.06)


def stopping(folder: Path, step: int) -> Checkpoints:
    """Checkpoints that stop the training after so many steps."""
    calls = itertools.count(1)
    return Checkpoints(folder, stop=lambda: next(calls) >= step)


def weights(ensemble: Ensemble) -> bytes:
    return b"".join(value.numpy().tobytes() for value in ensemble.state_dict().values())


@pytest.mark.parametrize("stop_at", [(1,), (37,), (50, 45), (149,), (150,)], ids=str)
def test_an_interrupted_training_ends_in_the_same_bits(
    ornstein_uhlenbeck: OrnsteinUhlenbeck, tmp_path: Path, stop_at: tuple[int, ...]
) -> None:
    data = TransitionData.from_latents(ornstein_uhlenbeck(samples=2000))
    split = data.split(0.2, seed=0)
    settings = changed(SETTINGS, steps=150, batch=128, validation_every=10, patience=100)
    whole, whole_history = train_ensemble(*split, settings)
    for steps in stop_at:
        with pytest.raises(Interrupted):
            train_ensemble(*split, settings, checkpoints=stopping(tmp_path / "c", steps))
    seen: list[int] = []
    checkpoints = Checkpoints(tmp_path / "c")
    resumed, history = train_ensemble(
        *split, settings, checkpoints=checkpoints, progress=lambda step, steps, _: seen.append(step)
    )
    assert all(step > sum(stop_at) for step in seen)
    assert weights(resumed) == weights(whole)
    assert history.validation_loss == whole_history.validation_loss
    assert history.training_loss == whole_history.training_loss
    # They go when the model is saved, not before.
    assert any((tmp_path / "c").iterdir())
    checkpoints.remove()
    assert not (tmp_path / "c").exists()


def test_a_checkpoint_of_other_data_is_not_used(
    ornstein_uhlenbeck: OrnsteinUhlenbeck, tmp_path: Path
) -> None:
    first, second = (
        TransitionData.from_latents(ornstein_uhlenbeck(samples=500, seed=s)).split(0.2, seed=0)
        for s in (0, 1)
    )
    settings = changed(SETTINGS, steps=20, batch=64, validation_every=5)
    with pytest.raises(Interrupted):
        train_ensemble(*first, settings, checkpoints=stopping(tmp_path, 15))
    fresh, _ = train_ensemble(*second, settings)
    beside, _ = train_ensemble(*second, settings, checkpoints=Checkpoints(tmp_path))
    assert weights(beside) == weights(fresh)


def test_a_damaged_checkpoint_gives_way_to_the_older_one(
    ornstein_uhlenbeck: OrnsteinUhlenbeck, tmp_path: Path
) -> None:
    split = TransitionData.from_latents(ornstein_uhlenbeck(samples=500)).split(0.2, seed=0)
    settings = changed(SETTINGS, steps=40, batch=64, validation_every=5)
    whole, _ = train_ensemble(*split, settings)
    for steps in (21, 10):
        with pytest.raises(Interrupted):
            train_ensemble(*split, settings, checkpoints=stopping(tmp_path, steps))
    newest = max(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:-10])
    seen: list[int] = []
    resumed, _ = train_ensemble(
        *split,
        settings,
        checkpoints=Checkpoints(tmp_path),
        progress=lambda step, steps, _: seen.append(step),
    )
    assert seen[0] == 25
    assert weights(resumed) == weights(whole)


def test_a_member_keeps_its_best_validated_parameters(
    ornstein_uhlenbeck: OrnsteinUhlenbeck,
) -> None:
    """Few samples are overfitted: training stops early, and what is kept is the minimum."""
    split = TransitionData.from_latents(ornstein_uhlenbeck(samples=120)).split(0.3, seed=0)
    settings = changed(
        SETTINGS, steps=2000, learning_rate=1e-2, validation_every=10, patience=5, output_ridge=None
    )
    model, history = train_ensemble(*split, settings)
    assert history.finished_step < settings.steps
    recorded = np.array(history.validation_loss)
    for member, (step, nll) in enumerate(zip(history.best_step, history.best_loss, strict=True)):
        assert nll <= recorded[: history.steps.index(step) + 6, member].min()
    again = _validation_loss(model, split[1])
    np.testing.assert_allclose(again, history.best_loss, rtol=1e-5)


def _validation_loss(model: Ensemble, data: TransitionData) -> np.ndarray:
    with torch.no_grad():
        drift, cholesky = model(data.z)
        density = partial_log_likelihood(
            data.increment, drift, cholesky, data.elapsed, factor=data.factor
        )
    return -density.mean(-1).numpy()


def test_a_variable_without_noise_is_refused() -> None:
    z = torch.linspace(-1, 1, 100)[:, None].repeat(1, 2)
    noise = torch.randn(100, 1, generator=torch.Generator().manual_seed(0))
    data = TransitionData(
        z=z,
        increment=torch.cat([noise, torch.zeros(100, 1)], dim=1),
        elapsed=torch.ones(100),
        conditions=torch.zeros(100, 0),
        group=torch.arange(100),
    )
    with pytest.raises(ValueError, match="does not fluctuate"):
        train_ensemble(data, data, changed(SETTINGS, steps=1))
