"""The covariance factor from the scatter between patches."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from macrodyn.dynamics import (
    CovarianceFactor,
    LatentArrays,
    covariance_factor,
    estimate_covariance_factor,
    within_factor,
)
from macrodyn.dynamics.regression import polynomial_features

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


def test_the_standard_error_counts_groups_not_snapshots(
    ornstein_uhlenbeck: OrnsteinUhlenbeck,
) -> None:
    """Each snapshot nine times over in its group: no more is known than without the copies."""
    once = LatentArrays.from_dataset(ornstein_uhlenbeck(samples=4000, evolved=4))
    copied = replace(
        once,
        **{
            name: np.repeat(getattr(once, name), 9, axis=0)
            for name in ("z", "increment", "elapsed", "conditions", "group")
        },
    )
    error, same = (estimate_covariance_factor(a, seed=1).standard_error for a in (once, copied))
    assert same == pytest.approx(error, rel=0.05)


def test_one_group_shows_no_standard_error(ornstein_uhlenbeck: OrnsteinUhlenbeck) -> None:
    arrays = LatentArrays.from_dataset(ornstein_uhlenbeck(samples=500, groups=1))
    estimate = estimate_covariance_factor(arrays)
    assert np.isfinite(estimate.estimated)
    assert np.isnan(estimate.standard_error)


def test_patches_of_different_times(ornstein_uhlenbeck: OrnsteinUhlenbeck) -> None:
    times = np.random.default_rng(0).uniform(0.01, 0.03, (20_000, 4))
    latents = ornstein_uhlenbeck(evolved=4, elapsed=times)
    estimate = estimate_covariance_factor(LatentArrays.from_dataset(latents))
    assert estimate.theory == PATCHES
    assert abs(estimate.estimated - PATCHES) < 4 * estimate.standard_error


def _independent(seed: int, unequal: bool) -> LatentArrays:
    """16 of 64 independent patches, four variables, few snapshots: the fit has 35 parameters."""
    rng = np.random.default_rng(seed)
    samples, m, d, total = 1000, 16, 4, 64
    z = rng.normal(size=(samples, d))
    low, high = (0.002, 0.03) if unequal else (0.02, 0.02)
    elapsed = rng.uniform(low, high, (samples, m))
    noise = np.sqrt(total * elapsed)[..., None] * rng.normal(size=(samples, m, d))
    return LatentArrays(
        z=z,
        increment=noise - z[:, None] * elapsed[..., None],
        elapsed=elapsed,
        controls=np.empty((*elapsed.shape, 0)),
        conditions=np.zeros((samples, 1)),  # one value: it adds no parameter
        group=np.arange(samples),
        patches_total=total,
        n_observables=d,
    )


@pytest.mark.parametrize("unequal", [False, True], ids=["equal-times", "unequal-times"])
def test_what_the_fit_absorbs_is_not_missing(unequal: bool) -> None:
    """Without it the factor of equal times is 12 to 17 % too large."""
    runs = 80
    estimates = [
        estimate_covariance_factor(_independent(seed, unequal), bootstrap=2) for seed in range(runs)
    ]
    # The factor's noise is in its denominator: its inverse has no bias.
    inverse = np.array([(e.theory / e.per_component).mean() for e in estimates])
    error = inverse.std(ddof=1) / np.sqrt(runs)
    assert abs(inverse.mean() - 1.0) < 5 * error < 0.08
    correlation = np.array([e.correlation.mean() for e in estimates])
    assert abs(correlation.mean()) < 5 * correlation.std() / np.sqrt(runs)
    factor = np.median([e.estimated / e.theory for e in estimates])
    assert factor == pytest.approx(1.0, abs=0.07)
    curve = np.mean([e.curve[-1].mean() for e in estimates])
    assert curve == pytest.approx(1.0, abs=0.015)


def test_variances_are_those_of_a_regression() -> None:
    """Residual mean square of the means over N - P, and the scatter within snapshots as it is."""
    arrays = _independent(0, unequal=False)
    estimate = estimate_covariance_factor(arrays, bootstrap=2)
    samples, m = arrays.elapsed.shape
    features = polynomial_features(arrays.z, 3)
    mean = arrays.increment.mean(axis=1)
    fit = features @ np.linalg.lstsq(features, mean, rcond=None)[0]
    of_mean = np.square(mean - fit).sum(axis=0) / (samples - 35)
    within = arrays.increment.var(axis=1, ddof=1).mean(axis=0)
    ratio = estimate.correlation / (1 - estimate.correlation)
    np.testing.assert_allclose(ratio, (of_mean - within / m) / within, atol=1e-6)


def test_only_observables_count(ornstein_uhlenbeck: OrnsteinUhlenbeck) -> None:
    """A closure variable whose patches are correlated has a factor of its own."""
    ours = LatentArrays.from_dataset(ornstein_uhlenbeck(samples=4000, evolved=4))
    other = LatentArrays.from_dataset(
        ornstein_uhlenbeck(samples=4000, evolved=4, correlation=0.4, seed=1)
    )
    both = replace(
        ours,
        z=np.concatenate([ours.z, other.z], axis=1),
        increment=np.concatenate([ours.increment, other.increment], axis=2),
    )
    estimate = estimate_covariance_factor(both)
    observable, closure = estimate.per_component
    assert observable - closure > 5 * estimate.per_component_error.max()
    assert estimate.estimated == observable
    assert estimate.standard_error == pytest.approx(estimate.per_component_error[0])
    alone = CovarianceFactor(**{
        **vars(estimate),
        "per_component": estimate.per_component[:1],
        "correlation": estimate.correlation[:1],
    })  # fmt: skip
    assert within_factor("estimated", estimate, both) == within_factor("estimated", alone, both)


def test_increments_of_long_and_short_times_weigh_alike(
    ornstein_uhlenbeck: OrnsteinUhlenbeck,
) -> None:
    """Correlated noise, times that differ tenfold: c / s2 is that of increments per root time."""
    times = np.random.default_rng(0).choice([0.002, 0.02], (20_000, 4))
    latents = ornstein_uhlenbeck(evolved=4, elapsed=times, correlation=0.4)
    estimate = estimate_covariance_factor(LatentArrays.from_dataset(latents))
    assert estimate.correlation[0] == pytest.approx(0.4, abs=0.015)


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
