"""The sampling error (exact model) against closed forms and against brute force."""

from __future__ import annotations

import time

import numpy as np
import pytest

from macrodyn.evaluation.available import Unavailable
from macrodyn.evaluation.bootstrap import sampling_error
from macrodyn.evaluation.metrics import mean_error, spread_error, trajectory_errors

REPLICAS = 100


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    rng = np.random.default_rng(4)
    mean = np.linspace(2.0, 1.0, 50)[None, None, :, None] * np.array([1.0, 0.3])
    return mean + np.array([0.4, 0.1]) * rng.standard_normal((3, REPLICAS, 50, 2))


def test_mean_matches_variance_over_replicas(reference: np.ndarray) -> None:
    variance = reference.var(axis=1, ddof=1).sum(axis=(1, 2)) / REPLICAS
    exact = variance / np.square(reference.mean(axis=1)).sum(axis=(1, 2))
    result = sampling_error(reference, resamples=2000, seed=1)
    np.testing.assert_allclose(result.mean_by_initial, exact, rtol=0.02)
    assert result.mean.mean() == pytest.approx(exact.mean(), rel=0.02)


def test_spread_matches_gaussian_closed_form(reference: np.ndarray) -> None:
    # Var(std) = sigma^2 / (2 R) for Gaussians, so the relative error is 1 / (2 R).
    result = sampling_error(reference, resamples=1000, seed=2)
    assert result.spread.mean() == pytest.approx(1 / (2 * REPLICAS), rel=0.1)


def test_prediction_replicas_add_their_own_noise(reference: np.ndarray) -> None:
    alone = sampling_error(reference, resamples=2000, seed=1).mean.mean()
    both = sampling_error(reference, resamples=2000, seed=1, prediction_replicas=50).mean.mean()
    assert both / alone == pytest.approx(1 + REPLICAS / 50, rel=0.03)


def test_few_replicas_give_the_unbiased_variance() -> None:
    """With ten replicas the variance within the sample is 10 % below that of the mean."""
    values = np.random.default_rng(6).normal(2.0, 0.5, (4, 10, 30, 2))
    exact = values.var(axis=1, ddof=1).sum(axis=(1, 2)) / 10
    exact /= np.square(values.mean(axis=1)).sum(axis=(1, 2))
    result = sampling_error(values, resamples=4000, seed=1)
    np.testing.assert_allclose(result.mean_by_initial, exact, rtol=0.02)


@pytest.mark.parametrize("predicted", [None, 4], ids=["exact-std", "std-of-4"])
def test_spread_is_that_of_unbiased_variances(predicted: int | None) -> None:
    """Against a bootstrap by drawing replicas, of ten."""
    rng = np.random.default_rng(7)
    sample = rng.normal(2.0, 0.5, (10, 40))

    def drawn(number: int) -> np.ndarray:
        return sample[rng.integers(10, size=(4000, number))].std(axis=1, ddof=1)

    std = sample.std(axis=0)
    errors = np.square(drawn(10) - (std if predicted is None else drawn(predicted)))
    expected = errors.sum(axis=1).mean() / np.square(std).sum() * 10 / 9
    result = sampling_error(
        sample[None, :, :, None], resamples=4000, seed=3, prediction_replicas=predicted
    )
    assert result.spread.mean() == pytest.approx(expected, rel=0.02)


def test_finite_prediction_of_an_exact_model_scores_the_sampling_error() -> None:
    """Gaussian trajectories against as many of the same law again, many times."""
    rng = np.random.default_rng(10)
    truth = np.linspace(1.0, 0.2, 12)[:, None]
    scores, quoted = np.empty(400), np.empty(400)
    for k in range(400):
        reference = truth + 0.3 * rng.standard_normal((1, 20, 12, 1))
        prediction = truth + 0.3 * rng.standard_normal((1, 1, 12, 12, 1))
        scores[k] = trajectory_errors(prediction, reference)[0].mean
        quoted[k] = sampling_error(
            reference, resamples=50, seed=k, prediction_replicas=12
        ).mean.mean()
    difference = scores - quoted
    assert abs(difference.mean()) < 5 * difference.std() / np.sqrt(400)
    # Without the prediction's own noise it would be this far off.
    assert 0.5 * quoted.mean() > 5 * difference.std() / np.sqrt(400)


def test_agrees_with_scores_of_fresh_exact_samples() -> None:
    """An exact model's mean and spread, scored against many independent references."""
    rng = np.random.default_rng(8)
    truth = np.linspace(1.0, 0.2, 20)[:, None]
    samples = truth + 0.3 * rng.standard_normal((400, 60, 20, 1))
    scores = [mean_error(truth[None, None], s.mean(axis=0)[None]).mean for s in samples]
    std = np.full((1, 1, 20, 1), 0.3)
    spreads = [spread_error(std, s.std(axis=0, ddof=1)[None]).mean for s in samples]
    estimates = [sampling_error(s[None], resamples=50, seed=k) for k, s in enumerate(samples[:40])]
    assert np.mean([e.mean.mean() for e in estimates]) == pytest.approx(np.mean(scores), rel=0.05)
    assert np.mean([e.spread.mean() for e in estimates]) == pytest.approx(np.mean(spreads), rel=0.1)


def test_correlation_in_time_widens_the_distribution() -> None:
    rng = np.random.default_rng(3)
    offsets = rng.standard_normal((1, 80, 1, 1)) + np.zeros((1, 80, 100, 1)) + 3.0
    independent = rng.standard_normal((1, 80, 100, 1)) + 3.0
    wide = sampling_error(offsets, resamples=400).mean
    narrow = sampling_error(independent, resamples=400).mean
    assert wide.std() > 5 * narrow.std()


def test_is_seeded(reference: np.ndarray) -> None:
    first, again, other = (sampling_error(reference, seed=s, resamples=20) for s in (5, 5, 6))
    np.testing.assert_array_equal(first.mean, again.mean)
    assert not np.array_equal(first.mean, other.mean)


def test_full_size_takes_seconds() -> None:
    values = np.random.default_rng(0).standard_normal((7, 200, 800, 2)) + 2
    start = time.perf_counter()
    sampling_error(values, resamples=200)
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((1, 1, 4, 1)), "two reference trajectories"),
        (np.full((1, 5, 4, 1), np.nan), "not finite"),
    ],
    ids=["one-replica", "nan"],
)
def test_unusable_reference_is_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(Unavailable, match=message):
        sampling_error(values)


@pytest.mark.parametrize("value", [1.0, 0.1, 0.0])
def test_replicas_that_agree_have_a_sampling_error_of_the_mean_alone(value: float) -> None:
    values = np.concatenate(
        [np.full((1, 5, 4, 1), value), np.random.default_rng(0).normal(size=(1, 5, 4, 1))]
    )
    error = sampling_error(values)
    assert np.isnan(error.spread).all()
    assert np.isnan(error.mean).all() == (value == 0)
    assert value == 0 or abs(error.mean_by_initial[0]) < 1e-20
    kinds = ["mean", "spread"] if value == 0 else ["spread"]
    assert set(error.undefined()) == {f"{k}{q}" for k in kinds for q in ("", "_q05", "_q95")}
    assert {k for k, v in error.summary().items() if np.isnan(v)} == set(error.undefined())
    assert sampling_error(values[1:]).undefined() == {}
