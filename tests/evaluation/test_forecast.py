"""Scores of growing sets of variables over several lags, on rates that are known."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.evaluation.available import Unavailable
from macrodyn.evaluation.forecast import score_forecasts

GROUPS, EACH = 24, 120


def rates(seed=0, groups=GROUPS):
    """dx = (-x + a y + b w) t: of y over the short lag, of w over the long one."""
    rng = np.random.default_rng(seed)
    n = groups * EACH
    x, y, w, noise = rng.normal(size=(4, n))
    x = np.clip(x, -2, 2)
    times, weights = (0.5, 2.0), ((0.5, 0.0), (0.2, 0.4))
    increments = [
        ((-x + a * y + b * w) * t + 0.2 * np.sqrt(t) * rng.normal(size=n))[:, None]
        for t, (a, b) in zip(times, weights, strict=True)
    ]
    common = {
        "conditions": np.empty((n, 0)),
        "increments": increments,
        "elapsed": [np.full(n, t) for t in times],
        "group": np.repeat(np.arange(groups), EACH),
    }
    return x, {"noise": noise, "w": w, "y": y}, common


def test_variables_are_added_by_what_they_tell_and_each_lag_has_its_own():
    x, extra, common = rates()
    scores = score_forecasts({"x": x}, extra, **common)
    assert scores.order == ("y", "w", "noise")
    np.testing.assert_allclose(scores.elapsed, [0.5, 2.0])
    gain, error = scores.gain[..., 0], scores.standard_error[..., 0]
    assert gain.shape == error.shape == (2, 4)
    # Shares of the variance of -x that a y + b w have.
    y, w = extra["y"], extra["w"]
    exact = (
        np.array([[0, 0.25, 0.25, 0.25], [0, 0.04, 0.2, 0.2]])
        * np.array([y.var(), w.var()]).mean()
        / x.var()
    )
    np.testing.assert_allclose(gain, exact, rtol=0.15, atol=0.01)
    assert (np.abs(gain - exact) < 4 * error + 0.01).all()
    told = scores.summary()
    assert told["order"] == ["y", "w", "noise"]
    assert np.array(told["gain"]["x"]).shape == (2, 4)


def test_at_most_four_are_added():
    x, extra, common = rates()
    more = {f"n{k}": np.random.default_rng(k).normal(size=len(x)) for k in range(4)}
    scores = score_forecasts({"x": x}, {**extra, **more}, **common)
    assert len(scores.order) == 4 and scores.order[:2] == ("y", "w")


def test_what_cannot_be_scored_says_why():
    x, extra, common = rates(groups=2)
    with pytest.raises(Unavailable, match=r"raise simulate\.groups"):
        score_forecasts({"x": x}, extra, **common)
    x, extra, common = rates()
    still = {**common, "increments": [np.zeros_like(v) for v in common["increments"]]}
    with pytest.raises(Unavailable, match="explain no variance"):
        score_forecasts({"x": x}, extra, **still)
