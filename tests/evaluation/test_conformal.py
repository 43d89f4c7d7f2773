"""Bands around whole trajectories: they hold what they say, exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import betabinom

from macrodyn.evaluation.available import Unavailable
from macrodyn.evaluation.conformal import (
    FLOOR,
    Calibration,
    calibrate,
    conformal_factor,
    least_scale,
    trajectory_scores,
)

TIMES = np.linspace(0.0, 3.0, 16)


def walks(rng, initial, replicas):
    """Skew, correlated trajectories of two variables; nothing about them is Gaussian."""
    steps = rng.gamma(0.5, 1.0, (initial, replicas, len(TIMES), 2)) - 0.5
    start = np.arange(initial)[:, None, None, None]
    return start + np.cumsum(steps * [1.0, 30.0], axis=2)


def wrong_prediction(initial):
    """A centre and a scale that are those of no trajectory: the level must hold all the same."""
    centre = np.tile(np.arange(initial)[:, None, None] + 0.3, (1, len(TIMES), 2))
    scale = np.tile((0.2 + TIMES)[:, None] * [1.0, 10.0], (initial, 1, 1))
    return centre, scale


def test_coverage_is_the_level_within_its_binomial_error():
    """Over many references: the mean is k / (n + 1) exactly, and the spread beta-binomial."""
    rng, repeats = np.random.default_rng(1), 400
    centre, scale = wrong_prediction(3)
    found = [
        calibrate(walks(rng, 3, 40), centre, scale, TIMES, level=0.9, seed=k)
        for k in range(repeats)
    ]
    n, t = found[0].calibrated, found[0].tested
    assert (n, t) == (60, 60)
    k = math.ceil(61 * 0.9)
    exact = betabinom(t, k, n + 1 - k)
    coverage = np.array([one.coverage for one in found])
    assert exact.mean() / t == pytest.approx(k / (n + 1))
    assert found[0].coverage_error == pytest.approx(exact.std() / t)
    error = found[0].coverage_error / math.sqrt(repeats)
    assert abs(coverage.mean() - k / (n + 1)) < 4 * error
    assert coverage.std() == pytest.approx(found[0].coverage_error, rel=0.15)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_a_further_trajectory_is_inside_with_the_probability_of_the_level(level):
    rng, n, repeats = np.random.default_rng(2), 39, 4000
    scores = rng.pareto(1.0, (repeats, n + 1))
    inside = np.mean([s[-1] <= conformal_factor(s[:-1], level) for s in scores])
    exact = math.ceil(round((n + 1) * level, 9)) / (n + 1)
    assert abs(inside - exact) < 4 * math.sqrt(exact * (1 - exact) / repeats)
    assert exact >= level


def test_the_factor_is_the_right_order_statistic():
    assert conformal_factor(np.arange(1, 10), 0.9) == 9
    assert conformal_factor(np.arange(1, 9), 0.9) == math.inf
    assert conformal_factor(np.arange(1, 20)[::-1], 0.9) == 18


def test_a_score_is_the_largest_deviation_anywhere():
    y = np.zeros((1, 2, 3, 2))
    y[0, 1, 2, 1], y[0, 1, 0, 0] = -6.0, 0.5
    centre, scale = np.zeros((1, 3, 2)), np.ones((1, 3, 2))
    scale[0, 2, 1] = 2.0
    np.testing.assert_array_equal(trajectory_scores(y, centre, scale, [0, 0]), [[0.0, 3.0]])
    np.testing.assert_array_equal(trajectory_scores(y, centre, scale, [0, 4]), [[0.0, 1.5]])
    scale[0, 0, 0] = 0.0
    assert trajectory_scores(y, centre, scale, [0, 0])[0].tolist() == [0.0, math.inf]
    y[0, 0, 1, 0] = np.nan
    assert trajectory_scores(y, centre, scale, [0, 1]).max() == math.inf


def test_where_nothing_spreads_the_scale_has_a_floor():
    scale = np.array([[[0.0, 1.0], [2.0, 1.0]]])
    np.testing.assert_allclose(least_scale(scale), [FLOOR * math.sqrt(2.0), FLOOR])


def test_it_does_not_depend_on_the_reference_how_wide_is_measured():
    """The scale is the prediction's alone, so that the halves stay exchangeable."""
    centre, scale = wrong_prediction(2)
    one, other = (
        calibrate(walks(np.random.default_rng(s), 2, 20), centre, scale, TIMES) for s in (1, 2)
    )
    assert one.floor == other.floor and one.factor != other.factor
    assert (one.until, one.spacing) == (3.0, pytest.approx(0.2))
    assert Calibration.from_dict(one.as_dict()) == one


def test_too_few_trajectories_give_no_bands():
    centre, scale = wrong_prediction(1)
    y = walks(np.random.default_rng(3), 1, 18)
    assert calibrate(y, centre, scale, TIMES).calibrated == 9
    with pytest.raises(Unavailable, match="16 reference trajectories are too few for bands of 90%"):
        calibrate(y[:, :16], centre, scale, TIMES)
    with pytest.raises(Unavailable, match="not finite"):
        calibrate(y, np.full_like(centre, np.nan), scale, TIMES)
