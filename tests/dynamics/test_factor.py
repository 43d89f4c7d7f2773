"""The covariance factor from the scatter between patches."""

from __future__ import annotations

import json

import numpy as np
import pytest

from macrodyn.dynamics import LatentArrays, covariance_factor, estimate_covariance_factor

from .conftest import PATCHES, OrnsteinUhlenbeck


@pytest.mark.parametrize("evolved", [2, 4])
def test_independent_patches_give_theory(
    ornstein_uhlenbeck: OrnsteinUhlenbeck, evolved: int
) -> None:
    arrays = LatentArrays.from_dataset(ornstein_uhlenbeck(evolved=evolved))
    estimate = estimate_covariance_factor(arrays)
    assert estimate.theory == PATCHES / evolved
    assert estimate.reason is None
    assert 0 < estimate.standard_error < 0.2 * estimate.theory
    assert abs(estimate.estimated - estimate.theory) < 4 * estimate.standard_error
    np.testing.assert_array_equal(estimate.curve_patches, [1, 2, 4][: 1 + evolved // 2])
    np.testing.assert_allclose(estimate.curve, 1.0, atol=0.06)


@pytest.mark.parametrize("correlation", [0.1, 0.4])
def test_correlated_patches_give_the_exact_ratio(
    ornstein_uhlenbeck: OrnsteinUhlenbeck, correlation: float
) -> None:
    evolved = 4
    latents = ornstein_uhlenbeck(evolved=evolved, correlation=correlation)
    estimate = estimate_covariance_factor(LatentArrays.from_dataset(latents))
    exact = (1 + (evolved - 1) * correlation) / evolved
    exact /= (1 + (PATCHES - 1) * correlation) / PATCHES
    assert abs(estimate.estimated - exact) < 4 * estimate.standard_error
    assert abs(estimate.estimated - estimate.theory) > 10 * estimate.standard_error
    curve = 1 + (estimate.curve_patches - 1) * correlation
    np.testing.assert_allclose(estimate.curve[:, 0], curve, rtol=0.05)


def test_the_standard_error_is_the_scatter_over_data_sets(
    ornstein_uhlenbeck: OrnsteinUhlenbeck,
) -> None:
    estimates = [
        estimate_covariance_factor(
            LatentArrays.from_dataset(ornstein_uhlenbeck(samples=4000, evolved=4, seed=seed))
        )
        for seed in range(30)
    ]
    scatter = np.std([e.estimated for e in estimates], ddof=1)
    assert 0.6 < np.mean([e.standard_error for e in estimates]) / scatter < 1.6


def test_patches_of_different_times(ornstein_uhlenbeck: OrnsteinUhlenbeck) -> None:
    times = np.random.default_rng(0).uniform(0.01, 0.03, (20_000, 4))
    latents = ornstein_uhlenbeck(evolved=4, elapsed=times)
    estimate = estimate_covariance_factor(LatentArrays.from_dataset(latents))
    assert estimate.theory == PATCHES
    assert abs(estimate.estimated - PATCHES) < 4 * estimate.standard_error


def test_one_patch_gives_no_estimate(ornstein_uhlenbeck: OrnsteinUhlenbeck) -> None:
    arrays = LatentArrays.from_dataset(ornstein_uhlenbeck(samples=500, evolved=1))
    estimate = estimate_covariance_factor(arrays)
    assert np.isnan(estimate.estimated)
    assert covariance_factor("theory", estimate) == PATCHES
    assert json.loads(json.dumps(estimate.as_dict(), allow_nan=False))["estimated"] is None
    with pytest.raises(ValueError, match="evolve at least 2"):
        covariance_factor("estimated", estimate)


def test_a_variance_that_is_not_positive_gives_no_estimate(
    ornstein_uhlenbeck: OrnsteinUhlenbeck,
) -> None:
    latents = ornstein_uhlenbeck(samples=500, evolved=2)
    latents["increment"][:, 1] = -latents["increment"][:, 0]
    estimate = estimate_covariance_factor(LatentArrays.from_dataset(latents))
    with pytest.raises(ValueError, match="not positive"):
        covariance_factor("estimated", estimate)


def test_all_patches_give_one(ornstein_uhlenbeck: OrnsteinUhlenbeck) -> None:
    latents = ornstein_uhlenbeck(samples=2000, evolved=PATCHES)
    estimate = estimate_covariance_factor(LatentArrays.from_dataset(latents))
    assert estimate.theory == 1.0
    assert estimate.estimated == pytest.approx(1.0, abs=1e-12)


def test_the_choice(ornstein_uhlenbeck: OrnsteinUhlenbeck) -> None:
    arrays = LatentArrays.from_dataset(ornstein_uhlenbeck(samples=2000))
    estimate = estimate_covariance_factor(arrays)
    assert covariance_factor("theory", estimate) == estimate.theory
    assert covariance_factor("estimated", estimate) == estimate.estimated
    assert covariance_factor(3.5, estimate) == 3.5
    for wrong in ("guess", -1.0, float("nan")):
        with pytest.raises(ValueError, match="covariance_factor is"):
            covariance_factor(wrong, estimate)  # type: ignore[arg-type]
