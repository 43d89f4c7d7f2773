"""Ridge regression of the drift on Chebyshev polynomials, cross-validated over groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from macrodyn.dynamics.polynomial_noise import gamma_regression

Array = NDArray[np.float64]

# Blocks of groups, of which folds are made and resamples drawn: a bound on memory.
BLOCKS = 64
FOLDS = 8
# Features at most, and fewest samples for each.
MOST_FEATURES = 200
SAMPLES_PER_FEATURE = 10
# Least variance that weights a sample, over the mean one.
LEAST_VARIANCE = 0.1


@dataclass(frozen=True, kw_only=True)
class DriftScores:
    """Cross-validated scores of the drift.

    Attributes:
        degrees: Degrees tried, length D.
        ridges: Ridge strengths tried, length R.
        by_fold: Chi^2 of each fold's increments with the drift of the others, in units of their
            noise and per sample of the whole, less that of a constant drift, shape [fold, D, R].
        fitted: Mean of the same of the increments that were fitted, shape [D, R].
    """

    degrees: tuple[int, ...]
    ridges: tuple[float, ...]
    by_fold: Array
    fitted: Array

    @property
    def scores(self) -> Array:
        """Chi^2 of all held-out increments, per sample, shape [D, R]."""
        return np.asarray(self.by_fold.sum(axis=0))

    @property
    def best(self) -> tuple[int, int]:
        """Indices of the degree and ridge to use: the smoothest drift that is as good as the best.

        That is the lowest degree, at its best ridge, whose score exceeds the best one by less than
        a standard error of their difference over the folds.

        Source: the one-standard-error rule, Breiman et al. (1984), section 3.4.3, of paired scores.
        """
        scores = self.scores
        ridges = scores.argmin(axis=1)
        chosen = self.by_fold[:, np.arange(len(scores)), ridges]
        excess = chosen - chosen[:, [chosen.sum(axis=0).argmin()]]
        error = excess.std(axis=0, ddof=1) * np.sqrt(len(excess))
        degree = int(np.argmax(excess.sum(axis=0) <= error))
        return degree, int(ridges[degree])


class DriftRegression:
    """Weighted least squares from sums over blocks of groups.

    The increments y have the mean c(x) t and a variance of v(x) t, t the elapsed time. v is
    estimated for each variable by a log-linear fit of the squared residuals around a first fit, and
    the sums of f f^T t / v and f y / v over each block of groups are all that cross-validation,
    resampling and the final fit need.

    Args:
        features: Chebyshev features, lower degrees first, shape [N, F].
        increment: What the drift is fitted to, shape [N, d].
        elapsed: Physical time of each sample, shape [N].
        blocks: Block of each sample's group, from 0, shape [N].
        first: Number of features of the first fit.
        smooth: Number of features of v.
        factor: Relative variance of each sample, shape [N], on which v(x) does not depend; 1 if
            left out.
    """

    def __init__(
        self,
        features: Array,
        increment: Array,
        elapsed: Array,
        blocks: NDArray,
        *,
        first: int,
        smooth: int,
        factor: Array | None = None,
    ) -> None:
        n, d = increment.shape
        number = int(blocks.max()) + 1
        size = np.sqrt(elapsed if factor is None else factor * elapsed)[:, None]
        root = size if factor is None else elapsed[:, None] / size
        start = np.linalg.lstsq(features[:, :first] * root, increment / size, rcond=1e-8)[0]
        residual = increment / size - features[:, :first] @ start * root
        few, ones = features[:, :smooth], np.ones(n)
        variance = np.stack(
            [np.exp(few @ gamma_regression(few, residual[:, i] ** 2, ones)) for i in range(d)],
            axis=1,
        )
        # A wrong weight costs little precision, unless it leaves out most of the samples.
        variance = np.maximum(variance, LEAST_VARIANCE * np.square(residual).mean(axis=0))
        if factor is not None:
            variance = variance * factor[:, None]
        self.samples = n
        weight = elapsed[:, None] / variance
        self.gram = np.zeros((number, d, features.shape[1], features.shape[1]))
        self.right = np.zeros((number, d, features.shape[1]))
        for block in range(number):
            rows = blocks == block
            f = features[rows]
            for i in range(d):
                self.gram[block, i] = (f * weight[rows, i, None]).T @ f
                self.right[block, i] = f.T @ (increment[rows, i] / variance[rows, i])

    def solve(self, counts: Array, features: int, ridge: float) -> Array:
        """Coefficients [features, d] with each block counted so many times, shape [blocks]."""
        gram = np.tensordot(counts, self.gram[:, :, :features, :features], 1)
        right = np.tensordot(counts, self.right[:, :, :features], 1)
        return _ridge(gram, right, ridge).T

    def score(self, sizes: Sequence[int], ridges: Sequence[float], folds: NDArray) -> DriftScores:
        """Cross-validate numbers of features and ridge strengths.

        Args:
            sizes: Numbers of features, one for each degree.
            ridges: Ridge strengths.
            folds: Fold of each block, from 0, shape [blocks].
        """
        number = int(folds.max()) + 1
        scores = np.zeros((number, len(sizes), len(ridges)))
        fitted = np.zeros(scores.shape[1:])
        for fold in range(number):
            held, kept = (
                (self.gram[rows].sum(axis=0), self.right[rows].sum(axis=0))
                for rows in (folds == fold, folds != fold)
            )
            for a, size in enumerate(sizes):
                for b, ridge in enumerate(ridges):
                    found = _ridge(kept[0][:, :size, :size], kept[1][:, :size], ridge)
                    scores[fold, a, b] = _misfit(found, *held)
                    fitted[a, b] += _misfit(found, *kept) / (number - 1)
        level = self._level()
        return DriftScores(
            degrees=(),
            ridges=tuple(ridges),
            by_fold=(scores - level / number) / self.samples,
            fitted=(fitted - level) / self.samples,
        )

    def _level(self) -> float:
        """Misfit of a constant drift, fitted to everything."""
        gram, right = self.gram.sum(axis=0), self.right.sum(axis=0)
        return _misfit(right[:, :1] / gram[:, 0, :1], gram, right)


def _ridge(gram: Array, right: Array, ridge: float) -> Array:
    """Coefficients [d, F] with a penalty on all but the constant feature."""
    size = gram.shape[-1]
    penalty = np.ones(size)
    penalty[0] = 0.0
    mean = np.trace(gram, axis1=1, axis2=2) / size
    damped = gram + ridge * mean[:, None, None] * np.diag(penalty)
    return np.linalg.solve(damped, right[..., None])[..., 0]


def _misfit(found: Array, gram: Array, right: Array) -> float:
    """Chi^2 of coefficients [d, F], less that of no drift at all."""
    size = found.shape[1]
    inner = np.einsum("df,dfg,dg->", found, gram[:, :size, :size], found)
    return float(inner - 2.0 * (found * right[:, :size]).sum())
