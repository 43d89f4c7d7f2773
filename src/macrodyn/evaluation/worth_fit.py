"""Cross-validated polynomial fits of the drift with and without further variables."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from macrodyn.dynamics.chebyshev import chebyshev_exponents, chebyshev_features
from macrodyn.evaluation.available import Unavailable
from macrodyn.evaluation.residual import FEWEST_GROUPS
from macrodyn.learning.holdout import group_folds

Floats = NDArray[np.float64]

FOLDS = 8
# Degrees in the base's variables; and of what others add: in them, and in all.
_BASE_DEGREES = (1, 2, 3, 4, 5, 6, 7)
_EXTRA_DEGREES = ((1, 1), (1, 2), (2, 2), (2, 3), (3, 3))
_RIDGES = (1e-8, 1e-5, 1e-3)
# Samples for each coefficient of a fit, at least.
_SAMPLES = 20


class DriftFits:
    """Predictions of the drift by fits to other groups, for any set of further variables.

    A fit is a ridge regression on Chebyshev polynomials of the base (observables and conditions),
    of the degree that predicts best, and on products of low degree with further variables. Of
    these enters only what the base's polynomials leave of them: the fit without them is a special
    case, and what they add is not lost in what they share. Degrees and penalty of every set are
    those that predict best.

    Args:
        base: Variables that every fit has, shape [N, k].
        extra: Further variables by name, each of shape [N].
        increment: What the drift is fitted to, shape [N, d].
        elapsed: Its time, shape [N]; samples are weighted by it.
        group: Group of each sample, shape [N].
        seed: Seed of the division of the groups into folds.
    """

    def __init__(
        self,
        base: Floats,
        extra: Mapping[str, Floats],
        increment: Floats,
        elapsed: Floats,
        group: NDArray[np.int64],
        *,
        seed: int = 0,
    ) -> None:
        self._base = _scaled(base)
        self._rate, self._weight = increment / elapsed[:, None], elapsed
        self._group = np.unique(group, return_inverse=True)[1]
        self._fold = group_folds(group, FOLDS, seed=seed)
        self._spread = np.square(self._rate - self._mean()).mean(axis=0)
        self._spread[self._spread == 0] = 1.0
        self._known: dict[frozenset[str], Floats] = {}
        designs = [
            columns
            for degree in _BASE_DEGREES
            # Half of the coefficients that the samples allow are for what others add.
            if self._affordable(columns := _chebyshev(self._base, degree), 2)
        ]
        self._design = self._best(designs or [_chebyshev(self._base, 0)])[0]
        self._extra = {name: self._left(values) for name, values in extra.items()}

    @classmethod
    def of(
        cls,
        observables: Mapping[str, Floats],
        extra: Mapping[str, Floats],
        *,
        conditions: Floats,
        increment: Floats,
        elapsed: Floats,
        group: NDArray[np.int64],
        seed: int,
    ) -> DriftFits:
        """Fits whose base are the observables, each of shape [N], and conditions, [N, condition].

        Raises:
            Unavailable: If there are too few groups for errors over them.
        """
        groups = len(np.unique(group))
        if groups < FEWEST_GROUPS:
            raise Unavailable(
                f"errors by group need {FEWEST_GROUPS} groups, there are {groups}: raise "
                "simulate.groups"
            )
        base = np.concatenate([np.stack(list(observables.values()), axis=1), conditions], axis=1)
        return cls(base, extra, increment, elapsed, group, seed=seed)

    def predicted(self, names: tuple[str, ...]) -> Floats:
        """Drift of each sample by fits to other groups, with some variables, shape [N, d].

        NaN where there are too few samples for so many variables.
        """
        key = frozenset(names)
        if key not in self._known:
            designs = [self._design]
            if names:
                ordered = [name for name in self._extra if name in key]
                extra = np.stack([self._extra[name] for name in ordered], axis=1)
                wider = [
                    np.concatenate([self._design, _products(self._base, extra, *degrees)], axis=1)
                    for degrees in _EXTRA_DEGREES
                ]
                designs = [design for design in wider if self._affordable(design)]
            unknown = np.full_like(self._rate, np.nan)
            self._known[key] = self._best(designs)[1] if designs else unknown
        return self._known[key]

    def gain(self, without: tuple[str, ...], given: tuple[str, ...]) -> tuple[Floats, Floats]:
        """Mean square of the drift that further variables explain, over the drift's variance.

        Args:
            without: Variables of the one fit.
            given: Variables of the other.

        Returns:
            The gain and its standard error over groups, each of shape [d]; NaN where the base
            explains no variance of the drift beyond the noise, or samples are too few.
        """
        without_squares, given_squares, base, mean = (
            self._squares(drift)
            for drift in (
                self.predicted(without),
                self.predicted(given),
                self.predicted(()),
                self._cross_validated(np.ones((len(self._rate), 1)))[0],
            )
        )
        variance, uncertain = self._sum(mean - base)
        variance = np.where(variance > 2 * uncertain, variance, np.nan)
        total, error = self._sum(without_squares - given_squares)
        return total / variance, error / variance

    def _sum(self, values: Floats) -> tuple[Floats, Floats]:
        """Sum over samples, and its standard error with the groups as units, [N, d] to [d]."""
        number = self._group.max() + 1
        sums, weight = np.zeros((number, values.shape[1])), np.zeros(number)
        np.add.at(sums, self._group, values)
        np.add.at(weight, self._group, self._weight)
        total = sums.sum(axis=0)
        influence = sums - weight[:, None] * (total / weight.sum())
        return total, np.sqrt(number / (number - 1) * np.square(influence).sum(axis=0))

    def _mean(self) -> Floats:
        return np.average(self._rate, axis=0, weights=self._weight)

    def _squares(self, predicted: Floats) -> Floats:
        return self._weight[:, None] * np.square(self._rate - predicted)

    def _affordable(self, design: Floats, times: int = 1) -> bool:
        return len(design) >= times * _SAMPLES * design.shape[1]

    def _left(self, values: Floats) -> Floats:
        """What the base's polynomials leave of a variable, with a standard deviation of 1."""
        centred = values - values.mean()
        left = centred - self._design @ np.linalg.lstsq(self._design, centred, rcond=1e-10)[0]
        scale = left.std()
        # A function of the base leaves rounding.
        return left / scale if scale > 1e-9 * max(centred.std(), 1e-300) else np.zeros_like(left)

    def _best(self, designs: list[Floats]) -> tuple[Floats, Floats]:
        """The design that predicts best, and its predictions."""
        best, found = np.inf, None
        for design in designs:
            for predicted in self._cross_validated(design, _RIDGES):
                score = float((self._squares(predicted).sum(axis=0) / self._spread).sum())
                if score < best:
                    best, found = score, (design, predicted)
        assert found is not None
        return found

    def _cross_validated(self, design: Floats, ridges: tuple[float, ...] = (1e-8,)) -> list[Floats]:
        """Predictions of each fold by a fit to the others, for each penalty."""
        folds = range(self._fold.max() + 1)
        rows = [self._fold == fold for fold in folds]
        weighted = design * self._weight[:, None]
        grams = [weighted[r].T @ design[r] for r in rows]
        moments = [weighted[r].T @ self._rate[r] for r in rows]
        gram, moment = np.sum(grams, axis=0), np.sum(moments, axis=0)
        penalty = np.trace(gram) / len(gram) * np.eye(len(gram))
        # The constant is not shrunk.
        penalty[0, 0] *= 1e-9
        found = [np.empty_like(self._rate) for _ in ridges]
        for fold, r in enumerate(rows):
            for ridge, predicted in zip(ridges, found, strict=True):
                solution = np.linalg.solve(
                    gram - grams[fold] + ridge * penalty, moment - moments[fold]
                )
                predicted[r] = design[r] @ solution
        return found


def _scaled(values: Floats) -> Floats:
    """Each column on [-1, 1]; 0 where it does not vary."""
    low, high = values.min(axis=0), values.max(axis=0)
    width = np.where(high > low, high - low, 1.0)
    return np.where(high > low, 2 * (values - low) / width - 1, 0.0)


def _chebyshev(values: Floats, degree: int) -> Floats:
    """Products of Chebyshev polynomials up to a total degree, the constant first."""
    exponents = chebyshev_exponents(values.shape[1], degree)
    found: Floats = chebyshev_features(torch.from_numpy(values), exponents).numpy()
    return found


def _products(base: Floats, extra: Floats, degree: int, total: int) -> Floats:
    """Terms of degree 1 to `degree` in the extra variables, and up to `total` in all."""
    columns = []
    in_extra = _monomials(extra, degree)
    for order, values in in_extra:
        columns.append(values[:, None] * _chebyshev(base, total - order))
    return np.concatenate(columns, axis=1)


def _monomials(values: Floats, degree: int) -> list[tuple[int, Floats]]:
    """Monomials of degree 1 to `degree`, with their degrees."""
    found: list[tuple[int, int, Floats]] = [(0, 0, np.ones(len(values)))]
    for place in found:
        order, first, column = place
        if order < degree:
            found += [(order + 1, k, column * values[:, k]) for k in range(first, values.shape[1])]
    return [(order, column) for order, _, column in found[1:]]
