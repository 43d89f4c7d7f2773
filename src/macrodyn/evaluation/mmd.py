"""Squared maximum mean discrepancy between predicted and direct distributions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from macrodyn.evaluation.available import Unavailable
from macrodyn.evaluation.mmd_estimate import (
    mmd_squared,
    null_distribution,
    null_of_sizes,
    rbf_bandwidths,
    subsample,
)

__all__ = ["Discrepancy", "mmd_at_equilibrium", "mmd_at_times", "standardised"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Discrepancy:
    """A squared MMD beside what two halves of the reference give.

    Attributes:
        value: Unbiased estimate of the squared MMD; it may be negative when both agree, and is
            infinite when a predicted value is not finite.
        null_mean: Mean over random splits of the reference into halves, brought to the sizes of
            the compared samples (`null_of_sizes`): about 0.
        null_q95: 95 % quantile over the splits: values below it are not distinguishable from 0.
        bandwidths: Kernel widths, in standardised units.
        points: Number of points used of prediction and reference.
        null_points: Number of points used of each half.
    """

    value: float
    null_mean: float
    null_q95: float
    bandwidths: tuple[float, ...]
    points: tuple[int, int]
    null_points: tuple[int, int]

    def summary(self) -> dict[str, float | list[float]]:
        """Return the figures that are reported, as plain Python numbers."""
        return {
            "value": self.value,
            "null_mean": self.null_mean,
            "null_q95": self.null_q95,
            "bandwidths": list(self.bandwidths),
        }


def mmd_at_times(
    prediction: ArrayLike,
    reference: ArrayLike,
    indices: Sequence[int],
    *,
    splits: int = 50,
    max_points: int = 2000,
    seed: int = 0,
) -> list[list[Discrepancy]]:
    """Compare the distributions over replicas at chosen times, for each initial value.

    Observables are standardised with the reference's mean and std over all its values, so that
    one scale holds for all times. Members' replicas are pooled.

    Args:
        prediction: Trajectories, shape [member, initial, replica, time, variable].
        reference: Trajectories, shape [initial, replica, time, observable].
        indices: Positions on the time axis.
        splits: Random halvings of the reference for the null distribution.
        max_points: Largest number of points of a sample.
        seed: Seed of subsampling and splits.

    Returns:
        One discrepancy for each time (outer list) and initial value (inner list).
    """
    ours, direct = standardised(prediction, reference)
    return [
        [
            _compare(
                ours[:, i, :, t].reshape(-1, direct.shape[-1]),
                direct[i, :, t],
                splits,
                max_points,
                seed,
            )
            for i in range(direct.shape[0])
        ]
        for t in indices
    ]


def mmd_at_equilibrium(
    prediction: ArrayLike,
    reference: ArrayLike,
    *,
    fraction: float = 0.25,
    splits: int = 50,
    max_points: int = 2000,
    seed: int = 0,
) -> Discrepancy:
    """Compare late-time distributions, pooled over replicas, initial values and members.

    Late points of one trajectory are correlated. So the means within a sample leave out pairs of
    one trajectory, and the null distribution splits the reference by trajectory. Every trajectory
    gives equally many points, at random late times.

    Args:
        prediction: Trajectories, shape [member, initial, replica, time, variable].
        reference: Trajectories, shape [initial, replica, time, observable].
        fraction: Share of the time points, at the end, that counts as equilibrium.
        splits: Random halvings of the reference for the null distribution.
        max_points: Largest number of points of a sample.
        seed: Seed of subsampling and splits.

    Returns:
        The discrepancy.

    Raises:
        ValueError: If the fraction is not in (0, 1].
        Unavailable: If there are fewer than two predicted trajectories or four of the reference,
            or the reference is not finite.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction of late times must be in (0, 1], got {fraction}")
    ours, direct = standardised(prediction, reference)
    late = max(1, round(fraction * direct.shape[2]))
    x, y = (v[..., -late:, :].reshape(-1, late, v.shape[-1]) for v in (ours, direct))
    each = min(late, max(1, max_points // max(len(x), len(y))))
    rng = np.random.default_rng(seed)
    sample, of_sample = _late_points(x, each, max_points, rng)
    base, of_base = _late_points(y, each, max_points, rng)
    bandwidths = rbf_bandwidths(base)
    null, halves = null_distribution(
        base, bandwidths, groups=of_base, splits=splits, max_points=max_points, seed=seed + 1
    )
    value = float("inf")
    if np.isfinite(x).all():
        value = mmd_squared(sample, base, bandwidths, groups=(of_sample, of_base))
    return _discrepancy(value, null, bandwidths, (len(sample), len(base)), halves)


def standardised(prediction: ArrayLike, reference: ArrayLike) -> tuple[Floats, Floats]:
    """Scale observables by the reference's mean and std over all its values.

    Args:
        prediction: Shape [..., variable], observables first; other variables are left out.
        reference: Shape [..., observable].

    Returns:
        Both, [..., observable]; an observable that never varies is only centred.

    Raises:
        Unavailable: If the reference is not finite.
    """
    direct = np.asarray(reference, np.float64)
    if not np.isfinite(direct).all():
        raise Unavailable("the reference holds values that are not finite")
    d = direct.shape[-1]
    ours = np.asarray(prediction, np.float64)[..., :d]
    mean = direct.reshape(-1, d).mean(axis=0)
    std = direct.reshape(-1, d).std(axis=0)
    std = np.where(std > 0, std, 1.0)
    return (ours - mean) / std, (direct - mean) / std


def _late_points(
    late: Floats, each: int, max_points: int, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.int64]]:
    """Points at random times of trajectories [trajectory, time, observable], and whose they are."""
    some = late[subsample(len(late), max_points // each, rng)]
    times = rng.permuted(np.tile(np.arange(some.shape[1]), (len(some), 1)), axis=1)[:, :each]
    points = np.take_along_axis(some, times[..., None], axis=1)
    return points.reshape(-1, some.shape[2]), np.repeat(np.arange(len(some)), each)


def _compare(x: Floats, y: Floats, splits: int, max_points: int, seed: int) -> Discrepancy:
    rng = np.random.default_rng(seed)
    ours = x[subsample(len(x), max_points, rng)]
    direct = y[subsample(len(y), max_points, rng)]
    bandwidths = rbf_bandwidths(direct)
    null, halves = null_distribution(
        y, bandwidths, splits=splits, max_points=max_points, seed=seed + 1
    )
    value = mmd_squared(ours, direct, bandwidths) if np.isfinite(x).all() else float("inf")
    return _discrepancy(value, null, bandwidths, (len(ours), len(direct)), halves)


def _discrepancy(
    value: float, null: Floats, bandwidths: Floats, points: tuple[int, int], halves: tuple[int, int]
) -> Discrepancy:
    null = null_of_sizes(null, halves, points)
    return Discrepancy(
        value=value,
        null_mean=float(null.mean()),
        null_q95=float(np.quantile(null, 0.95)),
        bandwidths=tuple(bandwidths.tolist()),
        points=points,
        null_points=halves,
    )
