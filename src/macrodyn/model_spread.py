"""What a prediction does not know, apart: noise, members, and bands around whole trajectories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from macrodyn.evaluation.conformal import Calibration

Floats = NDArray[np.float64]

# Trajectories from each initial state from which on bands are given: those of fewer say their own
# mean and spread too roughly.
FEWEST = 20


def mean_and_spreads(members: ArrayLike, mean_model: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Mean of a prediction, and what it does not know: noise and members apart.

    Args:
        members: z of the members that count, shape [member, initial, replica, time, variable].
        mean_model: z of the mean model, shape [initial, replica, time, variable].

    Returns:
        Of shape [initial, time, variable] each: the mean of the mean model's trajectories; their
        standard deviation, which is the noise; and the standard deviation of the members' means,
        of which what finite replicas scatter is taken off, as in an analysis of variance. The last
        is 0 of a single member.

    Source: Searle, Casella and McCulloch, Variance Components (1992), section 3.6.
    """
    z, mean = np.asarray(members, np.float64), np.asarray(mean_model, np.float64)
    replicas = mean.shape[1]
    noise = mean.std(axis=1, ddof=1) if replicas > 1 else np.zeros_like(mean[:, 0])
    between = np.zeros_like(noise)
    if len(z) > 1:
        between = z.mean(axis=2).var(axis=0, ddof=1)
        if replicas > 1:
            between = between - z.var(axis=2, ddof=1).mean(axis=0) / replicas
    return mean.mean(axis=1), noise, np.sqrt(np.maximum(between, 0.0))


def scale_of(noise: Floats, members: Floats) -> Floats:
    """What bands are in units of: noise and members together."""
    return np.asarray(np.hypot(noise, members))


def calibration_for(
    calibrations: Sequence[Calibration], until: float, replicas: int
) -> tuple[Calibration | None, str]:
    """The widest of the calibrations that reach the last time; else why there is none.

    Args:
        calibrations: Of the model.
        until: Last time that is predicted.
        replicas: Trajectories from each initial state.
    """
    if not calibrations:
        return None, "the model was not compared with a reference"
    if replicas < FEWEST:
        return None, f"bands need {FEWEST} replicas"
    reaching = [one for one in calibrations if until <= one.until * (1 + 1e-9)]
    if not reaching:
        last = max(one.until for one in calibrations)
        return None, f"bands were calibrated until {last:g}"
    return max(reaching, key=lambda one: one.factor), ""


def band_variables(
    centre: Floats, scale: Floats, bounds: Sequence[tuple[float, float]], found: Calibration
) -> dict[str, Any]:
    """Bands of the observables, for a data set.

    Args:
        centre: Means, shape [initial, time, variable].
        scale: Scales, the same shape.
        bounds: Bounds of the variables, which a band does not leave.
        found: How wide they are.
    """
    k = len(found.floor)
    half = found.factor * np.maximum(scale[..., :k], np.asarray(found.floor))
    low, high = (np.array([pair[side] for pair in bounds[:k]]) for side in (0, 1))
    dims = ("initial", "time", "observable")
    return {
        "band_low": (
            dims,
            np.maximum(centre[..., :k] - half, low),
            {"long_name": "lower end of the band around whole trajectories", "units": "1"},
        ),
        "band_high": (
            dims,
            np.minimum(centre[..., :k] + half, high),
            {"long_name": "upper end of the band around whole trajectories", "units": "1"},
        ),
    }
