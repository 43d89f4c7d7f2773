"""Squared maximum mean discrepancy between predicted and direct distributions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist, pdist

__all__ = [
    "BANDWIDTH_FACTORS",
    "Discrepancy",
    "mmd_at_equilibrium",
    "mmd_at_times",
    "mmd_squared",
    "null_distribution",
    "rbf_bandwidths",
    "standardised",
]

Floats = NDArray[np.float64]

BANDWIDTH_FACTORS = (0.5, 1.0, 2.0)
_BLOCK = 512
_FLOOR = 1e-3


@dataclass(frozen=True, kw_only=True)
class Discrepancy:
    """A squared MMD beside what two halves of the reference give.

    Attributes:
        value: Unbiased estimate of the squared MMD; it may be negative when both agree, and is
            infinite when a predicted value is not finite.
        null_mean: Mean over random splits of the reference into halves (about 0).
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


def rbf_bandwidths(reference: ArrayLike, factors: Sequence[float] = BANDWIDTH_FACTORS) -> Floats:
    """Choose kernel widths: the median distance between reference points times each factor.

    Args:
        reference: Standardised points, shape [point, dimension].
        factors: Multiples of the median.

    Returns:
        Widths, shape [factor]. A reference whose points coincide gets a small floor, so that any
        deviation from it shows.
    """
    points = np.asarray(reference, np.float64)
    median = float(np.median(pdist(points))) if len(points) > 1 else 0.0
    return np.asarray(factors, np.float64) * max(median, _FLOOR)


def mmd_squared(x: ArrayLike, y: ArrayLike, bandwidths: ArrayLike) -> float:
    """Estimate the squared MMD of two samples without bias.

    With k(a, b) = sum_s exp(-|a - b|^2 / (2 s^2)) over the bandwidths s,
    MMD^2 = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j).

    Args:
        x: First sample, shape [n, dimension].
        y: Second sample, shape [m, dimension].
        bandwidths: Kernel widths, shape [kernel].

    Returns:
        The estimate; its expectation is 0 when both samples have one distribution.

    Raises:
        ValueError: If a sample has fewer than two points.

    Source: Gretton et al., JMLR 13, 723 (2012), eq. (3).
    """
    first, second = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(first) < 2 or len(second) < 2:
        raise ValueError("the unbiased MMD needs at least two points in each sample")
    points = np.concatenate([first, second])
    membership = np.zeros((len(points), 1), bool)
    membership[: len(first)] = True
    return float(_mmd_of_splits(points, membership, np.asarray(bandwidths, np.float64))[0])


def null_distribution(
    reference: ArrayLike,
    bandwidths: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    splits: int = 50,
    max_points: int = 2000,
    seed: int = 0,
) -> tuple[Floats, tuple[int, int]]:
    """Squared MMD between random halves of the reference.

    Args:
        reference: Points, shape [point, dimension].
        bandwidths: Kernel widths, shape [kernel].
        groups: Labels of dependent points, shape [point]: a group (say one trajectory) goes to
            one half as a whole. None: points are independent.
        splits: Number of random splits.
        max_points: Largest size of a half; more points are subsampled.
        seed: Seed of subsampling and splits.

    Returns:
        The values, shape [split], and the typical sizes of the two halves.

    Raises:
        ValueError: If there are fewer than four points or two groups.
    """
    points = np.asarray(reference, np.float64)
    labels = np.arange(len(points)) if groups is None else np.asarray(groups)
    rng = np.random.default_rng(seed)
    keep = _subsample(len(points), 2 * max_points, rng)
    points, labels = points[keep], np.unique(labels[keep], return_inverse=True)[1]
    count = int(labels.max()) + 1
    if len(points) < 4 or count < 2:
        raise ValueError("splitting the reference needs at least four points in two groups")
    membership = np.empty((len(points), splits), bool)
    for s in range(splits):
        half = np.zeros(count, bool)
        half[rng.permutation(count)[: count // 2]] = True
        membership[:, s] = half[labels]
    size = round(float(membership.sum(axis=0).mean()))
    values = _mmd_of_splits(points, membership, np.asarray(bandwidths, np.float64))
    return values, (size, len(points) - size)


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
                np.arange(direct.shape[1]),
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

    The null distribution splits the reference by trajectory: late points of one trajectory are
    correlated, and splitting them would make the null too narrow.

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
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction of late times must be in (0, 1], got {fraction}")
    ours, direct = standardised(prediction, reference)
    late = max(1, round(fraction * direct.shape[2]))
    trajectories = np.arange(direct.shape[0] * direct.shape[1])
    return _compare(
        ours[..., -late:, :].reshape(-1, direct.shape[-1]),
        direct[..., -late:, :].reshape(-1, direct.shape[-1]),
        np.repeat(trajectories, late),
        splits,
        max_points,
        seed,
    )


def standardised(prediction: ArrayLike, reference: ArrayLike) -> tuple[Floats, Floats]:
    """Scale observables by the reference's mean and std over all its values.

    Args:
        prediction: Shape [..., variable], observables first; other variables are left out.
        reference: Shape [..., observable].

    Returns:
        Both, [..., observable]; an observable that never varies is only centred.
    """
    direct = np.asarray(reference, np.float64)
    d = direct.shape[-1]
    ours = np.asarray(prediction, np.float64)[..., :d]
    mean = direct.reshape(-1, d).mean(axis=0)
    std = direct.reshape(-1, d).std(axis=0)
    std = np.where(std > 0, std, 1.0)
    return (ours - mean) / std, (direct - mean) / std


def _compare(
    x: Floats, y: Floats, groups: NDArray[np.int64], splits: int, max_points: int, seed: int
) -> Discrepancy:
    rng = np.random.default_rng(seed)
    ours = x[_subsample(len(x), max_points, rng)]
    direct = y[_subsample(len(y), max_points, rng)]
    bandwidths = rbf_bandwidths(direct)
    null, halves = null_distribution(
        y, bandwidths, groups=groups, splits=splits, max_points=max_points, seed=seed + 1
    )
    return Discrepancy(
        value=mmd_squared(ours, direct, bandwidths) if np.isfinite(x).all() else float("inf"),
        null_mean=float(null.mean()),
        null_q95=float(np.quantile(null, 0.95)),
        bandwidths=tuple(bandwidths.tolist()),
        points=(len(ours), len(direct)),
        null_points=halves,
    )


def _subsample(size: int, limit: int, rng: np.random.Generator) -> NDArray[np.int64]:
    if size <= limit:
        return np.arange(size)
    return np.sort(rng.choice(size, limit, replace=False))


def _mmd_of_splits(points: Floats, membership: NDArray[np.bool_], bandwidths: Floats) -> Floats:
    """Squared MMD for many ways to split the same points in two, shape [split].

    The kernel matrix is needed once for all splits, and only in blocks of rows: with indicator
    columns A of the first sample, sum_{ij in A} k_ij = diag(A^T k A).
    """
    within = np.zeros((2, membership.shape[1]))
    across = np.zeros(membership.shape[1])
    first = membership.astype(np.float64)
    for start in range(0, len(points), _BLOCK):
        rows = slice(start, start + _BLOCK)
        sums = split_sums(rbf_kernel(points[rows], points, bandwidths), first, rows)
        within += sums[:2]
        across += sums[2]
    return unbiased_mmd(within, across, first.sum(axis=0), len(points), len(bandwidths))


def rbf_kernel(x: Floats, y: Floats, bandwidths: Floats) -> Floats:
    """Sum of Gaussian kernels of all widths, shape [n, m], of points [n, d] and [m, d]."""
    square = cdist(x, y, "sqeuclidean")
    kernel = np.zeros_like(square)
    part = np.empty_like(square)
    for width in bandwidths:
        np.multiply(square, -0.5 / width**2, out=part)
        kernel += np.exp(part, out=part)
    return kernel


def split_sums(kernel: Floats, first: Floats, rows: slice = slice(None)) -> Floats:
    """Sums of some rows of a kernel matrix within and across the two samples of each split.

    Args:
        kernel: Rows of the matrix, shape [row, point].
        first: 1.0 for the points of the first sample, 0.0 for others, shape [point, split].
        rows: Which points the rows are.

    Returns:
        Within the first sample, within the second, from the first to the second: [3, split].
    """
    to_first = kernel @ first
    to_second = kernel.sum(axis=1, keepdims=True) - to_first
    here = first[rows]
    return np.stack(
        [
            (here * to_first).sum(axis=0),
            ((1.0 - here) * to_second).sum(axis=0),
            (here * to_second).sum(axis=0),
        ]
    )


def unbiased_mmd(within: Floats, across: Floats, n: Floats, points: int, diagonal: int) -> Floats:
    """Unbiased squared MMD from sums over the kernel matrix, shape [split].

    Args:
        within: Sums within the first and the second sample, diagonal included, [2, split].
        across: Sums from the first to the second, [split].
        n: Points of the first sample, [split].
        points: Points of both.
        diagonal: Entry of the kernel matrix on its diagonal: the number of kernels.
    """
    m = points - n
    value: Floats = (
        (within[0] - diagonal * n) / (n * (n - 1))
        + (within[1] - diagonal * m) / (m * (m - 1))
        - 2 * across / (n * m)
    )
    return value
