"""Regression of a covariance that is positive definite wherever it is evaluated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RIDGE = 1e-6
"""Penalty, relative to the mean square of the features: for features that others determine."""
_STEPS = 100


def gamma_regression(features: Array, squares: Array, weights: Array) -> Array:
    """Fit log E[y] = f a to squares of Gaussian numbers, by maximum likelihood.

    The likelihood of a Gaussian of mean 0 is that of a Gamma variable, its square, with a
    logarithmic link. Its Fisher information is constant, so that scoring is a fixed matrix times
    the gradient.

    Args:
        features: Shape [N, F], the first one constant.
        squares: y, not negative, shape [N].
        weights: Shape [N].

    Returns:
        a, shape [F].

    Raises:
        ValueError: If all squares are zero.

    Source: McCullagh and Nelder (1989), chapter 8.
    """
    mean = float(np.average(squares, weights=weights))
    if not mean > 0:
        raise ValueError("The noise of a variable vanishes: it does not fluctuate")
    weighted = features * weights[:, None]
    gram = weighted.T @ features
    penalty = np.full(len(gram), RIDGE * np.trace(gram) / len(gram))
    penalty[0] = 0.0
    inverse = np.linalg.inv(gram + np.diag(penalty))
    found = np.zeros(features.shape[1])
    found[0] = np.log(mean)
    for _ in range(_STEPS):
        ratio = squares * np.exp(-np.clip(features @ found, -80.0, 80.0))
        step = inverse @ (weighted.T @ (ratio - 1.0) - penalty * found)
        # Far from the optimum a full step may overshoot: at most a factor of e^2 anywhere.
        largest = float(np.abs(features @ step).max())
        found = found + step * min(1.0, 2.0 / max(largest, 1e-300))
        if largest < 1e-6:
            break
    return found


@dataclass(frozen=True, kw_only=True)
class NoiseFit:
    """Functions phi and eta of r_i = sum_{j<i} phi_ij r_j + exp(eta_i / 2) xi_i.

    Attributes:
        coefficients: Of phi_ij (j < i) and eta_i (j = i), row by row, shape [F, d (d + 1) / 2].
    """

    coefficients: Array

    def nll(self, features: Array, squares: Array, patches: int | Array) -> Array:
        """Negative log likelihood of samples, but for a constant, shape [N].

        Args:
            features: Shape [N, F].
            squares: Sums of r r^T, shape [N, d, d].
            patches: How many vectors r each of them sums, one number or shape [N].
        """
        d = squares.shape[1]
        total = np.zeros(len(features))
        values = features @ self.coefficients
        for i in range(d):
            first = i * (i + 1) // 2
            eta = values[:, first + i]
            own = _innovation(values[:, first : first + i], squares, i)
            total += 0.5 * (patches * eta + own * np.exp(-eta))
        return total


def fit_noise(
    features: Array,
    squares: Array,
    patches: int | Array,
    weights: Array,
    *,
    diagonal: bool = False,
) -> NoiseFit:
    """Fit the covariance of vectors r of mean 0 as a function of features.

    For each variable in turn, phi by least squares weighted by 1/exp(eta), and eta by
    `gamma_regression` of what phi leaves; twice, as each needs the other.

    Args:
        features: Shape [N, F].
        squares: Sums of r r^T over the vectors of each sample, shape [N, d, d].
        patches: How many vectors r each of them sums, one number or shape [N].
        weights: Weight of each sample, shape [N].
        diagonal: Whether phi = 0.

    Source: Pourahmadi (1999), Biometrika 86, 677.
    """
    number = features.shape[1]
    d = squares.shape[1]
    # A mean of m squares says as much as m of them.
    of_mean = weights if isinstance(patches, int) else weights * patches
    found = np.zeros((number, d * (d + 1) // 2))
    for i in range(d):
        first = i * (i + 1) // 2
        own = squares[:, i, i]
        phi = np.zeros((number, i))
        eta = np.zeros(number)
        for repeat in range(2 if i and not diagonal else 1):
            if i and not diagonal:
                inverse = weights * np.exp(-(features @ eta)) if repeat else weights
                phi = _regress(features, squares, inverse, i)
                own = _innovation(features @ phi, squares, i)
            eta = gamma_regression(features, np.maximum(own, 0.0) / patches, of_mean)
        found[:, first : first + i] = phi
        found[:, first + i] = eta
    return NoiseFit(coefficients=found)


def _regress(features: Array, squares: Array, weights: Array, i: int) -> Array:
    """Coefficients of phi_ij, shape [F, i]."""
    number = features.shape[1]
    gram = np.zeros((i, number, i, number))
    right = np.zeros((i, number))
    for j in range(i):
        right[j] = features.T @ (weights * squares[:, j, i])
        for k in range(j + 1):
            block = (features * (weights * squares[:, j, k])[:, None]).T @ features
            gram[j, :, k] = gram[k, :, j] = block
    flat = gram.reshape(i * number, i * number)
    flat = flat + RIDGE * np.trace(flat) / len(flat) * np.eye(len(flat))
    return np.linalg.solve(flat, right.reshape(-1)).reshape(i, number).T


def _innovation(phi: Array, squares: Array, i: int) -> Array:
    """Sum of (r_i - sum_j phi_j r_j)^2 of each sample, shape [N]."""
    cross = np.einsum("nj,nj->n", phi, squares[:, :i, i])
    inner = np.einsum("nj,njk,nk->n", phi, squares[:, :i, :i], phi)
    return np.asarray(squares[:, i, i] - 2.0 * cross + inner)
