"""Predictions of observables that need no forces and no closure: what a method must beat.

All of them see the observables of training trajectories, [run, time, observable], alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline, RBFInterpolator

from macrodyn.dynamics.regression import polynomial_features, standardise
from macrodyn.evaluation.available import Unavailable

Array = NDArray[np.float64]

# Largest degree of the polynomials of observables: drift of an equation, or regression.
DEGREE = 4
# Parts of the training runs that choose a regression's degree and ridge, and ridges to choose from.
_FOLDS = 5
_RIDGES = (1e-8, 1e-6, 1e-4, 1e-2)
# How far beyond the training data such an equation may lead, over their range.
_MARGIN = 1.0


def interpolated(initial: Array, observables: Array, wanted: Array) -> Array:
    """Interpolate trajectories by their initial macrostates, at each time.

    Cubic splines where a macrostate is one number, else thin-plate splines.

    Args:
        initial: Initial macrostates of the training runs, shape [run, component].
        observables: Their observables, shape [run, time, observable].
        wanted: Initial macrostates of other runs, shape [other, component].

    Returns:
        Shape [other, time, observable].

    Raises:
        Unavailable: If there are too few different initial macrostates.
    """
    places, first = np.unique(initial, axis=0, return_index=True)
    values = observables[first].reshape(len(places), -1)
    if len(places) < 4 + places.shape[1]:
        raise Unavailable("too few training runs of different initial macrostates to interpolate")
    if places.shape[1] == 1:
        found = CubicSpline(places[:, 0], values)(wanted[:, 0])
    else:
        scale = np.ptp(places, axis=0)
        found = RBFInterpolator(places / scale, values)(wanted / scale)
    return np.asarray(found).reshape(len(wanted), *observables.shape[1:])


def nearest(initial: Array, observables: Array, wanted: Array) -> Array:
    """Take the trajectory of the training run that began nearest; see `interpolated`."""
    scale = np.maximum(np.ptp(initial, axis=0), 1e-300)
    distance = np.linalg.norm((wanted[:, None] - initial) / scale, axis=2)
    return observables[distance.argmin(axis=1)]


def regressed(observables: Array, start: Array) -> Array:
    """Regress the observables at each time on the first ones.

    Polynomials of the degree, up to `DEGREE`, and the ridge that predict left-out runs best.

    Args:
        observables: Those of the training runs, shape [run, time, observable].
        start: First observables of other runs, shape [other, observable].

    Returns:
        Shape [other, time, observable].

    Raises:
        Unavailable: If there are too few training runs.
    """
    runs = len(observables)
    if runs < 2 * _FOLDS:
        raise Unavailable(f"{runs} training runs are too few for a regression: simulate more")
    values = observables.reshape(runs, -1)
    # The score is a sum over observables of different units.
    unit = standardise(values)[2]
    first, centre, scale = standardise(observables[:, 0])
    fold = np.arange(runs) % _FOLDS
    best: tuple[float, int, float] | None = None
    for degree in range(1, DEGREE + 1):
        features = polynomial_features(first, degree)
        if features.shape[1] > runs // 2:
            break
        for ridge in _RIDGES:
            left = np.concatenate(
                [
                    _ridge(features[fold != k], values[fold != k], ridge, features[fold == k])
                    - values[fold == k]
                    for k in range(_FOLDS)
                ]
            )
            score = float(np.square(left / unit).mean())
            if best is None or score < best[0]:
                best = score, degree, ridge
    if best is None:
        raise Unavailable(f"{runs} training runs are too few for so many observables")
    _, degree, ridge = best
    asked = polynomial_features((start - centre) / scale, degree)
    found = _ridge(polynomial_features(first, degree), values, ridge, asked)
    return found.reshape(len(start), *observables.shape[1:])


def _ridge(features: Array, values: Array, ridge: float, asked: Array) -> Array:
    """Fit values to features, the first of which is 1 and free, and predict others."""
    penalty = ridge * len(features) * np.diag(np.square(features).mean(0))
    penalty[0, 0] = 0.0
    found = np.linalg.lstsq(features.T @ features + penalty, features.T @ values, rcond=1e-12)[0]
    return np.asarray(asked @ found)


def constant(start: Array, times: int) -> Array:
    """Stay at the first observables, [run, observable] to [run, time, observable]."""
    return np.repeat(start[:, None], times, axis=1)


def own_equation(times: Array, observables: Array, start: Array, wanted: Array) -> Array:
    """Solve an ordinary differential equation of the observables alone.

    Its right-hand side is the polynomial of degree `DEGREE` that fits the differences between
    records best, at the middle between them.

    Args:
        times: Record times of the training runs, shape [time].
        observables: Their observables, shape [run, time, observable].
        start: First observables of other runs, shape [other, observable].
        wanted: Record times of these, shape [t], the first that of the start.

    Returns:
        Shape [other, t, observable]; what leaves the data far behind stays where it left.
    """
    middle = 0.5 * (observables[:, 1:] + observables[:, :-1]).reshape(-1, start.shape[1])
    rate = (np.diff(observables, axis=1) / np.diff(times)[:, None]).reshape(middle.shape)
    fine = np.isfinite(middle).all(1) & np.isfinite(rate).all(1)
    inputs, centre, scale = standardise(middle[fine])
    low, high = middle[fine].min(0), middle[fine].max(0)
    margin = _MARGIN * (high - low)
    coefficients = np.linalg.lstsq(polynomial_features(inputs, DEGREE), rate[fine], rcond=1e-10)[0]

    def drift(_: float, flat: Array) -> Array:
        z = np.clip(flat.reshape(start.shape), low - margin, high + margin)
        found: Array = (polynomial_features((z - centre) / scale, DEGREE) @ coefficients).ravel()
        return found

    span = wanted - wanted[0]
    solved = solve_ivp(drift, (0.0, span[-1]), start.ravel(), t_eval=span, rtol=1e-7, atol=1e-10)
    found = np.full((len(span), start.size), np.nan)
    found[: solved.y.shape[1]] = solved.y.T
    return found.reshape(len(span), *start.shape).swapaxes(0, 1)


def relative_errors(predicted: Array, true: Array, used: NDArray[np.bool_]) -> Array:
    """sum_t |z* predicted - z*| / sum_t |z*| of each run and observable.

    Args:
        predicted: Shape [..., run, time, observable].
        true: Shape [run, time, observable].
        used: Which records count, shape [run, time].

    Returns:
        Shape [..., run, observable]; infinite where a prediction diverged.

    Source: section 4 of arXiv:2410.23938.
    """
    weight = used[..., None]
    gap = np.where(weight, np.abs(predicted - true), 0.0).sum(axis=-2)
    size = np.where(weight, np.abs(true), 0.0).sum(axis=-2)
    found = gap / np.maximum(size, 1e-300)
    return np.where(np.isfinite(found), found, np.inf)
