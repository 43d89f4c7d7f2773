"""Variance-reduced increments: what is known of their noise, given the snapshot, is taken out.

A control variate is a quantity that comes with a pair and whose mean, given the snapshot, is known
to be zero. Two are at hand where the system says its expected rates L phi:

- the martingale Delta - A of the observables, A the integral of L phi along the path (Dynkin);
- the excess of L phi in the m patches that were drawn over that of the whole snapshot.

Of closure variables, whose L zhat nobody knows, a field has the like to first order, if it tells
the noise of its sites: what this makes of zhat when it is added to the snapshot, of which the odd
part is taken, as the noise and its negative are equally likely.

For any matrix C the compensated increment Delta - C controls has the mean of Delta, for any dt. The
C of least variance is a regression. It is fitted on other groups than those it is used for
(cross-fitting): so it knows nothing of the noise that it is multiplied with, and the mean stays.

The covariance is that of Delta less the excess alone. Patches of a snapshot differ: their rates
scatter, and that m of K were drawn adds this scatter to an increment of their mean. The whole has
none of it, as all of its patches count.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from macrodyn.dynamics.latents import LatentArrays
from macrodyn.dynamics.regression import affordable_features, fitted, standardise
from macrodyn.learning.holdout import group_folds

Floats = NDArray[np.float64]

FOLDS = 5
# Of the polynomial in z that stands for the mean of the increments; C hardly depends on it.
DEGREE = 3
# Share of the variance of scaled increments below which a combination of them is constant.
_RELATION = 1e-12


@dataclass(frozen=True, kw_only=True)
class Compensation:
    """Compensated increments, and what was gained.

    Attributes:
        increment: Increments averaged over the patches, less their controls, shape [N, d].
        coefficients: C, averaged over the folds, shape [d, control].
        of_whole: Increments of each patch, less what its own rates add to those of the whole; shape
            [N, m, d]. Their covariance is that of the noise.
        gain: Variance of the increments around a polynomial of z over that of the compensated
            ones, of each variable, shape [d].
    """

    increment: Floats
    coefficients: Floats
    of_whole: Floats
    gain: Floats


def compensate(arrays: LatentArrays, *, seed: int = 0) -> Compensation | None:
    """Take the controls out of the mean increments of one lag.

    Args:
        arrays: Latent pairs of one lag.
        seed: Seed of the division of the groups into folds.

    Returns:
        The compensated increments; None where there are no controls, where the patches of a
        snapshot evolved for different times, or where there are fewer than two groups.
    """
    fold = group_folds(arrays.group, FOLDS, seed=seed)
    if arrays.controls.shape[-1] == 0 or not arrays.synchronous or fold.max() == 0:
        return None
    increment, controls = arrays.increment.mean(axis=1), arrays.controls.mean(axis=1)
    inputs = np.concatenate([arrays.z, arrays.conditions], axis=1)
    regression = _Regression(inputs, increment, controls)
    compensated = increment.copy()
    found = []
    for number in range(fold.max() + 1):
        here = fold == number
        coefficients = regression.coefficients(~here)
        compensated[here] -= controls[here] @ coefficients.T
        found.append(coefficients)
    before, after = regression.noise(increment), regression.noise(compensated)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where(after > 0, before / after, np.where(before > 0, np.inf, 1.0))
    # Of too few groups a regression finds nothing but accidents.
    worse = gain < 1.0
    # Variables with a linear relation among them keep it only if all of them are compensated.
    linked = _linked(increment)
    worse[linked] = np.log(np.clip(gain[linked], 1e-300, 1e300)).sum() < 0.0
    compensated[:, worse] = increment[:, worse]
    coefficients = np.where(worse[:, None], 0.0, np.mean(found, axis=0))
    return Compensation(
        increment=compensated,
        coefficients=coefficients,
        of_whole=_of_whole(arrays, fold, found),
        gain=np.where(worse, 1.0, gain),
    )


def compensate_by_rates(
    arrays: LatentArrays, rates: Floats, found: Compensation | None
) -> Compensation:
    """Put the snapshots' expected rates in place of increments: no noise, and no time passes.

    For dt to 0 an increment less its martingale is the rate times dt; what a patch misses of its
    surroundings within dt, as they stand still, is no matter then.

    Args:
        arrays: Latent pairs of one lag.
        rates: Expected rates of change of the snapshots, shape [N, d].
        found: What the increments' noise is compensated by; None if by nothing.

    Returns:
        The same for the noise, with rates for the drift; gains are not told.
    """
    mean = arrays.increment.mean(axis=1)
    if found is None:
        coefficients = np.zeros((mean.shape[1], arrays.controls.shape[-1]))
        found = Compensation(
            increment=mean,
            coefficients=coefficients,
            of_whole=arrays.increment,
            gain=np.ones(mean.shape[1]),
        )
    return replace(found, increment=rates * arrays.elapsed.mean(axis=1)[:, None])


def _linked(increment: Floats) -> NDArray[np.bool_]:
    """Variables that have an exact linear relation among their increments, shape [d]."""
    size = np.sqrt(np.square(increment).mean(axis=0))
    scaled = increment / np.where(size > 0, size, 1.0)
    values, axes = np.linalg.eigh(scaled.T @ scaled)
    null = axes[:, values <= _RELATION * max(values[-1], 0.0)]
    found: NDArray[np.bool_] = np.abs(null).max(axis=1, initial=0.0) > 1e-6
    return found & (size > 0)


def _of_whole(arrays: LatentArrays, fold: NDArray[np.int64], of_mean: list[Floats]) -> Floats:
    """Increments of each patch less what its own rates add, shape [N, m, d].

    Args:
        arrays: Latent pairs.
        fold: Fold of each snapshot, shape [N].
        of_mean: C of each fold for the mean of the patches, shape [d, control] each; used where a
            snapshot has one patch. Else how patches of a snapshot differ tells C far better, also
            where all were drawn, of which the mean has no excess.
    """
    found, excess = arrays.increment.copy(), list(arrays.excess)
    if not excess:
        return found
    if arrays.patches > 1:
        increment, controls = (
            values - values.mean(axis=1, keepdims=True)
            for values in (arrays.increment, arrays.controls)
        )
        size = np.sqrt(np.square(controls).mean(axis=(0, 1)))
        controls = controls / np.where(size > 0, size, 1.0)
        squares, products = (
            np.stack([np.tensordot(controls[fold == f], other[fold == f], ((0, 1), (0, 1)))
                      for f in range(len(of_mean))])
            for other in (controls, increment)
        )  # fmt: skip
    for number, coefficients in enumerate(of_mean):
        here = fold == number
        if arrays.patches > 1:
            others = np.arange(len(of_mean)) != number
            square, product = (sums[others].sum(axis=0) for sums in (squares, products))
            solved = np.linalg.lstsq(square, product, rcond=1e-12)[0].T
            coefficients = solved / np.where(size > 0, size, 1.0)
        found[here] -= arrays.controls[here][..., excess] @ coefficients[:, excess].T
    return found


def mean_increment(arrays: LatentArrays, *, seed: int = 0) -> Floats:
    """Increments averaged over the patches, compensated where they can be, shape [N, d].

    Args:
        arrays: Latent pairs of one lag.
        seed: Seed of the division of the groups into folds.
    """
    compensation = compensate(arrays, seed=seed)
    return arrays.increment.mean(axis=1) if compensation is None else compensation.increment


def control_variates(
    elapsed: Floats, martingales: Floats | None, rate_excess: Floats | None
) -> Floats:
    """Lay out what is zero on average, given the snapshot.

    Args:
        elapsed: Physical time, shape [N, m, lag].
        martingales: What chance has made of the pair, shape [N, m, lag, variable]; None where it is
            not known.
        rate_excess: Rates of each patch less those of the whole, shape [N, m, variable]; None where
            they are not known, or where the whole was evolved.

    Returns:
        Martingales, then excesses over the time of the pair, shape [N, m, lag, control].
    """
    parts = [np.empty((*elapsed.shape, 0))]
    if martingales is not None:
        parts.append(martingales)
    if rate_excess is not None:
        parts.append(rate_excess[:, :, None] * elapsed[..., None])
    return np.concatenate(parts, axis=-1)


class _Regression:
    """Regression of increments on a polynomial of z and on the controls.

    Args:
        inputs: z and conditions, shape [N, k].
        increment: Shape [N, d].
        controls: Shape [N, control].
    """

    def __init__(self, inputs: Floats, increment: Floats, controls: Floats) -> None:
        self.features = affordable_features(standardise(inputs)[0], DEGREE, 20)[0]
        self.increment = increment
        # Controls differ by powers of ten: scaled, a small one is not lost in the rounding.
        size = np.sqrt(np.square(controls).mean(axis=0))
        self._used = size > 0
        self._size = np.where(self._used, size, 1.0)
        self._controls = controls / self._size

    def coefficients(self, rows: NDArray[np.bool_]) -> Floats:
        """C by least squares over some samples, shape [d, control]."""
        design = np.concatenate([self.features, self._controls[:, self._used]], axis=1)[rows]
        solution = np.linalg.lstsq(design, self.increment[rows], rcond=1e-9)[0]
        found = np.zeros((self.increment.shape[1], len(self._size)))
        found[:, self._used] = solution[self.features.shape[1] :].T
        return found / self._size

    def noise(self, increment: Floats) -> Floats:
        """Variance of increments around their polynomial fit, shape [d]."""
        left = increment - fitted(self.features, increment)
        variance: Floats = np.square(left).mean(axis=0)
        return variance
