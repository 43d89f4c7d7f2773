"""Polynomial ridge regression of increments: a first, closed-form estimate of the drift."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def standardise(values: Array) -> tuple[Array, Array, Array]:
    """Values [N, k] with mean 0 and standard deviation 1, the mean [k] and the scale [k].

    A column that does not vary, but for rounding, is scaled by its size, or by 1 if it is zero: no
    number here may depend on the units of the values.
    """
    mean, scale = values.mean(axis=0), values.std(axis=0)
    size = np.abs(values).max(axis=0)
    scale = np.where(scale > 1e-12 * size, scale, np.where(size > 0, size, 1.0))
    return (values - mean) / scale, mean, scale


def polynomial_features(inputs: Array, degree: int) -> Array:
    """All monomials of the inputs up to a total degree, the constant first.

    Args:
        inputs: Standardised inputs, shape [N, k].
        degree: Highest total degree.

    Returns:
        Features, shape [N, C(k + degree, degree)].
    """
    columns = [np.ones(len(inputs))]
    for order in range(1, degree + 1):
        for indices in combinations_with_replacement(range(inputs.shape[1]), order):
            columns.append(np.prod(inputs[:, indices], axis=1))
    return np.stack(columns, axis=1)


def affordable_features(inputs: Array, degree: int, samples: int) -> tuple[Array, int]:
    """Polynomial features of the highest degree that the samples allow.

    Args:
        inputs: Standardised inputs, shape [N, k].
        degree: Highest total degree; lowered until there are samples enough.
        samples: Fewest samples for each feature.

    Returns:
        Features, see `polynomial_features`, and their degree.
    """
    features = polynomial_features(inputs, degree)
    while degree > 0 and len(inputs) < samples * features.shape[1]:
        degree -= 1
        features = polynomial_features(inputs, degree)
    return features, degree


def fitted(features: Array, values: Array) -> Array:
    """Values of the least-squares fit of the features.

    Args:
        features: Shape [N, feature].
        values: Shape [N, variable].

    Returns:
        Shape [N, variable].
    """
    found: Array = features @ np.linalg.lstsq(features, values, rcond=1e-9)[0]
    return found


@dataclass(frozen=True, kw_only=True)
class DriftFit:
    """A polynomial fit of the drift.

    Attributes:
        drift: Fitted drift at the samples, per unit time, shape [N, d].
        coefficients: Shape [features, d].
        degree: Highest total degree of the features.
        noise: Covariance of the increment per unit time around the fit, shape [d, d].
    """

    drift: Array
    coefficients: Array
    degree: int
    noise: Array

    def noise_of(
        self, increment: ArrayLike, elapsed: ArrayLike, factor: ArrayLike | None = None
    ) -> Array:
        """Covariance per unit time of other increments of the same samples around the fit.

        Args:
            increment: Shape [N, d].
            elapsed: Physical time, shape [N].
            factor: Relative variance of each sample, shape [N]; 1 if left out.

        Returns:
            Shape [d, d].
        """
        increment, elapsed = (np.asarray(v, np.float64) for v in (increment, elapsed))
        root, size = _roots(elapsed, factor)
        residual = increment / size - self.drift * root
        freedom = max(len(residual) - len(self.coefficients), 1)
        noise: Array = residual.T @ residual / freedom
        return noise


def fit_drift(
    inputs: Array,
    increment: Array,
    elapsed: Array,
    *,
    degree: int = 3,
    ridge: float = 1e-6,
    factor: ArrayLike | None = None,
) -> DriftFit:
    """Fit increment = drift(inputs) * elapsed + noise of variance factor * elapsed.

    Args:
        inputs: Standardised z and conditions, shape [N, k].
        increment: Shape [N, d].
        elapsed: Physical time, shape [N].
        degree: Highest total degree; lowered until there are 10 samples for each feature.
        ridge: Penalty, relative to the mean square of the features.
        factor: Relative variance of each sample, shape [N]; 1 if left out. The fit's noise is
            that of a sample of factor 1.

    Returns:
        The fit.
    """
    features, degree = affordable_features(inputs, degree, 10)
    root, size = _roots(elapsed, factor)
    design, target = features * root, increment / size
    gram = design.T @ design
    penalty = ridge * np.diag(gram).mean() * np.eye(len(gram))
    coefficients = np.linalg.solve(gram + penalty, design.T @ target)
    drift = features @ coefficients
    residual = target - drift * root
    freedom = max(len(inputs) - features.shape[1], 1)
    noise = residual.T @ residual / freedom
    return DriftFit(drift=drift, coefficients=coefficients, degree=degree, noise=noise)


def _roots(elapsed: Array, factor: ArrayLike | None) -> tuple[Array, Array]:
    """Of t / sqrt(f t) and sqrt(f t), f the factor: what drift and increment are weighed by."""
    if factor is None:
        root = np.sqrt(elapsed)[:, None]
        return root, root
    size = np.sqrt(np.asarray(factor, np.float64) * elapsed)[:, None]
    return elapsed[:, None] / size, size
