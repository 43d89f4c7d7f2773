"""The Markov diagnostic on processes whose drift and diffusion at any lag are known exactly."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from macrodyn.dynamics import latents_dataset
from macrodyn.evaluation.markov import bin_average, bin_edges, bin_index, markov_diagnostic

RATE, NOISE, K, DT = 0.5, 0.3, 16, 0.2
LAGS = np.array([1, 2, 4])


def _latents(z: np.ndarray, increment: np.ndarray, elapsed: np.ndarray) -> xr.Dataset:
    names = ["magnetisation", "domain_wall_density", "closure_0"][: z.shape[1]]
    return latents_dataset(
        z=z,
        increment=increment,
        elapsed=elapsed,
        condition_values=np.empty((len(z), 0)),
        group=np.arange(len(z)),
        time=np.zeros(len(z)),
        variables=names,
        lags=LAGS[: increment.shape[2]].tolist(),
        conditions=[],
        n_observables=1,
        patches_total=K,
        sites=64,
        dt=DT,
        time_unit="1",
    )


def _ou(samples: int, patches: int, seed: int, memory: float = 0.0) -> xr.Dataset:
    """Patches of an exact OU process; `memory` adds a hidden, slowly decaying force."""
    rng = np.random.default_rng(seed)
    z = np.stack([rng.uniform(-1, 1, samples), rng.normal(1.0, 0.2, samples)], axis=1)
    start = np.repeat(z[:, None], patches, axis=1)
    decay = np.exp(-RATE * DT)
    step = np.sqrt(K * NOISE**2 * (1 - decay**2) / (2 * RATE))
    state, path = start.copy(), []
    for n in range(LAGS[-1]):
        state = decay * state + step * rng.standard_normal(state.shape)
        state = state + memory * DT * np.exp(-n) * np.sign(start)
        path.append(state - start)
    increment = np.stack([path[lag - 1] for lag in LAGS], axis=2)
    elapsed = np.broadcast_to(LAGS * DT, (samples, patches, 3))
    return _latents(z, increment, elapsed)


@pytest.fixture(scope="module")
def ou() -> xr.Dataset:
    return markov_diagnostic(_ou(60_000, 2, seed=2), bins=10)


def test_ou_drift_at_every_lag(ou: xr.Dataset) -> None:
    tau = LAGS * DT
    slope = -(1 - np.exp(-RATE * tau)) / tau
    exact = slope[:, None] * ou["centre"].values
    score = (ou["drift"].values[..., 0] - exact) / ou["drift_error"].values[..., 0]
    assert np.abs(score).max() < 4
    # 2nd variable: mean 1 in every bin, whatever the first observable.
    score = (ou["drift"].values[..., 1] - slope[:, None]) / ou["drift_error"].values[..., 1]
    assert np.abs(score).max() < 4


def test_ou_diffusion_at_every_lag(ou: xr.Dataset) -> None:
    tau = LAGS * DT
    exact = NOISE**2 * (1 - np.exp(-2 * RATE * tau)) / (2 * RATE * tau)
    for k in range(2):
        difference = ou["diffusion"].values[..., k] - exact[:, None]
        assert np.abs(difference / ou["diffusion_error"].values[..., k]).max() < 4
    # Independent components: no covariance.
    off = ou["covariance"].values[..., 0, 1]
    assert np.abs(off).max() < 0.05 * exact.min()


def test_standard_errors_match_the_scatter_of_repeated_estimates() -> None:
    runs = [markov_diagnostic(_ou(3000, 2, seed=100 + s), bins=3) for s in range(60)]
    tau, slope = LAGS * DT, -(1 - np.exp(-RATE * LAGS * DT)) / (LAGS * DT)
    exact = NOISE**2 * (1 - np.exp(-2 * RATE * tau)) / (2 * RATE * tau)
    for name, truth in (
        ("drift", [slope[:, None] * r["centre"].values for r in runs]),
        ("diffusion", [np.repeat(exact[:, None], 3, axis=1)] * 60),
    ):
        scores = np.stack(
            [(r[name].values[..., 0] - t) / r[f"{name}_error"].values[..., 0]
             for r, t in zip(runs, truth, strict=True)]
        )  # fmt: skip
        assert scores.std() == pytest.approx(1.0, abs=0.12)
        assert abs(scores.mean()) < 0.3


def test_lag_dependence_of_ou_is_that_of_its_relaxation() -> None:
    result = markov_diagnostic(_ou(200_000, 2, seed=4), bins=10)
    tau = LAGS * DT
    slope = (1 - np.exp(-RATE * tau)) / tau
    expected = 1 - slope / slope[0]
    # Variable 1 has mean drift far from noise; its relative change is the exact one.
    np.testing.assert_allclose(result["drift_excess"].values[1:, 1], expected[1:], atol=0.02)
    assert result["drift_excess"].values[0, 1] == 0.0


@pytest.mark.parametrize("name", ["condition_values", "z"])
def test_what_is_missing_is_not_made_up(name: str) -> None:
    with pytest.raises((ValueError, KeyError), match=name):
        markov_diagnostic(_ou(1000, 1, seed=0).drop_vars(name), bins=2)


def test_memory_shows() -> None:
    closed = markov_diagnostic(_ou(40_000, 2, seed=5), bins=10)
    hidden = markov_diagnostic(_ou(40_000, 2, seed=5, memory=2.0), bins=10)
    assert hidden["drift_excess"].values[2, 1] > 2 * closed["drift_excess"].values[2, 1]
    assert hidden["drift_excess"].values[2, 1] > 0.3
    assert hidden["drift_z"].values[2, 1] > 5


def test_pure_noise_has_no_excess() -> None:
    rng = np.random.default_rng(9)
    steps = rng.standard_normal((20_000, 1, 4, 1)).cumsum(axis=2)[:, :, LAGS - 1]
    z = rng.uniform(-1, 1, (20_000, 1))
    elapsed = np.broadcast_to(LAGS * 1.0, (20_000, 1, 3))
    result = markov_diagnostic(_latents(z, steps, elapsed), bins=40)
    assert result["diffusion_excess"].values[1:, 0].max() < 0.02
    for name in ("drift_z", "diffusion_z"):
        np.testing.assert_allclose(result[name].values[1:, 0], 1.0, atol=0.3)


def test_evolution_stopped_by_events() -> None:
    """Jumps of +-1 at rate 3, stopped after a number of events: elapsed and jump count differ."""
    rng = np.random.default_rng(11)
    samples, rate, up = 20_000, 3.0, 0.8
    events = np.array([2, 4])
    waits = rng.exponential(1 / rate, (samples, 2, 4)).cumsum(axis=2)[..., events - 1]
    jumps = np.where(rng.random((samples, 2, 4)) < up, 1.0, -1.0).cumsum(axis=2)[..., events - 1]
    data = _latents(rng.uniform(-1, 1, (samples, 1)), jumps[..., None], waits)
    result = markov_diagnostic(data, bins=5, covariance_factor=1.0)
    for name, exact in (("drift", rate * (2 * up - 1)), ("diffusion", rate)):
        score = (result[name].values - exact) / result[f"{name}_error"].values
        assert np.abs(score).max() < 4


def test_drift_that_varies_within_a_bin_does_not_count_as_diffusion() -> None:
    z = np.linspace(-1, 1, 4000)[:, None]
    increment = -5.0 * z[:, None, None, :] * np.ones((1, 1, 3, 1))
    elapsed = np.ones((4000, 1, 3))
    result = markov_diagnostic(_latents(z, increment, elapsed), bins=4)
    np.testing.assert_allclose(result["diffusion"].values, 0.0, atol=1e-20)


def test_sparse_bins_are_blank_and_none_left_is_an_error() -> None:
    data = _ou(300, 1, seed=1)
    result = markov_diagnostic(data, bins=20, min_count=15)
    few = result["count"].values < 15
    assert few.any() and not few.all()
    assert np.isnan(result["drift"].values[:, few]).all()
    assert np.isfinite(result["drift"].values[:, ~few]).all()
    with pytest.raises(ValueError, match="lower bins or min_count"):
        markov_diagnostic(data, bins=20, min_count=1000)


@pytest.mark.parametrize("name", ["z", "increment", "elapsed"])
def test_values_that_are_not_finite_are_refused(name: str) -> None:
    data = _ou(300, 1, seed=1)
    values = data[name].values.copy()
    values.flat[3] = np.nan
    with pytest.raises(ValueError, match=name):
        markov_diagnostic(data.assign({name: (data[name].dims, values)}))


def test_covariance_factor_scales_the_diffusion() -> None:
    data = _ou(2000, 1, seed=3)
    theory = markov_diagnostic(data, bins=4)
    halved = markov_diagnostic(data, bins=4, covariance_factor=K / 2)
    np.testing.assert_allclose(halved["diffusion"], 2 * theory["diffusion"])
    np.testing.assert_allclose(halved["drift"], theory["drift"])


def test_binning() -> None:
    edges = bin_edges([0.0, 1.0], 2)
    index = bin_index([0.0, 0.5, 0.4, 1.0, 1.1, -0.1], edges)
    np.testing.assert_array_equal(index, [0, 1, 0, 1, -1, -1])
    values = np.array([[1.0, 2.0, 3.0, 4.0, 9.0, 9.0]])
    np.testing.assert_allclose(bin_average(values, index, 3, axis=1), [[2.0, 3.0, np.nan]])
