"""Unbiased estimates of the squared maximum mean discrepancy, of two samples and of many splits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist, pdist

from macrodyn.evaluation.available import Unavailable

__all__ = [
    "BANDWIDTH_FACTORS",
    "mmd_squared",
    "null_distribution",
    "null_of_sizes",
    "rbf_bandwidths",
    "rbf_kernel",
    "split_sums",
    "subsample",
    "unbiased_mmd",
]

Floats = NDArray[np.float64]

BANDWIDTH_FACTORS = (0.5, 1.0, 2.0)
_BLOCK = 512
_FLOOR = 1e-3


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


def mmd_squared(
    x: ArrayLike,
    y: ArrayLike,
    bandwidths: ArrayLike,
    *,
    groups: tuple[ArrayLike, ArrayLike] | None = None,
) -> float:
    """Estimate the squared MMD of two samples without bias.

    With k(a, b) = sum_s exp(-|a - b|^2 / (2 s^2)) over the bandwidths s,
    MMD^2 = mean_{i, j} k(x_i, x_j) + mean_{i, j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j), where
    the first two means leave out pairs i, j of one group: such pairs are correlated, those across
    the samples never are.

    Args:
        x: First sample, shape [n, dimension].
        y: Second sample, shape [m, dimension].
        bandwidths: Kernel widths, shape [kernel].
        groups: Labels of dependent points (say of one trajectory) of x, shape [n], and of y,
            shape [m]; groups of x and y are distinct whatever their labels. None: all points are
            independent.

    Returns:
        The estimate; its expectation is 0 when both samples have one distribution.

    Raises:
        Unavailable: If a sample has fewer than two groups.

    Source: Gretton et al., JMLR 13, 723 (2012), eq. (3), for independent points.
    """
    first, second = np.asarray(x, np.float64), np.asarray(y, np.float64)
    of_x, of_y = groups or (np.arange(len(first)), np.arange(len(second)))
    labels, more = _numbered(of_x), _numbered(of_y)
    if len(np.unique(labels)) < 2 or len(np.unique(more)) < 2:
        raise Unavailable(
            "the unbiased MMD needs at least two points, of two trajectories, in each sample"
        )
    points = np.concatenate([first, second])
    membership = np.zeros((len(points), 1), bool)
    membership[: len(first)] = True
    labels = np.concatenate([labels, more + len(labels)])
    return float(_mmd_of_splits(points, membership, np.asarray(bandwidths, np.float64), labels)[0])


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
            one half as a whole, and pairs within it do not count. None: points are independent.
        splits: Number of random splits.
        max_points: Largest size of a half; more points are subsampled.
        seed: Seed of subsampling and splits.

    Returns:
        The values, shape [split], and the typical sizes of the two halves.

    Raises:
        Unavailable: If there are fewer than four groups.
    """
    points = np.asarray(reference, np.float64)
    labels = np.arange(len(points)) if groups is None else np.asarray(groups)
    rng = np.random.default_rng(seed)
    keep = subsample(len(points), 2 * max_points, rng)
    points, labels = points[keep], _numbered(labels[keep])
    count = len(np.unique(labels))
    if count < 4:
        raise Unavailable(
            f"splitting the reference needs at least four independent points or trajectories, "
            f"got {count}"
        )
    membership = np.empty((len(points), splits), bool)
    for s in range(splits):
        half = np.zeros(count, bool)
        half[rng.permutation(count)[: count // 2]] = True
        membership[:, s] = half[labels]
    size = round(float(membership.sum(axis=0).mean()))
    values = _mmd_of_splits(points, membership, np.asarray(bandwidths, np.float64), labels)
    return values, (size, len(points) - size)


def null_of_sizes(null: Floats, halves: tuple[int, int], sizes: tuple[int, int]) -> Floats:
    """Bring values that halves of a sample gave to those of samples of other sizes.

    Where two distributions do not differ, the unbiased estimate scales with 1/n + 1/m.

    Args:
        null: Values of random halves, any shape.
        halves: Independent points of the two halves.
        sizes: Independent points of the two samples that are compared.

    Source: Gretton et al., JMLR 13, 723 (2012), theorem 12.
    """
    (a, b), (n, m) = halves, sizes
    return null * ((1 / n + 1 / m) / (1 / a + 1 / b))


def subsample(size: int, limit: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose so many of the numbers below a size at random, in order; all if there are no more."""
    if size <= limit:
        return np.arange(size)
    return np.sort(rng.choice(size, limit, replace=False))


def _mmd_of_splits(
    points: Floats, membership: NDArray[np.bool_], bandwidths: Floats, labels: NDArray[np.int64]
) -> Floats:
    """Squared MMD for many ways to split the same points in two, shape [split].

    The kernel matrix is needed once for all splits, and only in blocks of rows: with indicator
    columns A of the first sample, sum_{ij in A} k_ij = diag(A^T k A). Points of one label are in
    one sample; their pairs are taken out.
    """
    within = np.zeros((2, membership.shape[1]))
    across = np.zeros(membership.shape[1])
    alike = np.empty(len(points))
    first = membership.astype(np.float64)
    for start in range(0, len(points), _BLOCK):
        rows = slice(start, start + _BLOCK)
        kernel = rbf_kernel(points[rows], points, bandwidths)
        sums = split_sums(kernel, first, rows)
        within += sums[:2]
        across += sums[2]
        alike[rows] = kernel.sum(axis=1, where=labels[rows, None] == labels)
    samples = np.stack([first, 1.0 - first])
    sizes = samples.sum(axis=1)
    pairs = np.square(sizes) - np.bincount(labels)[labels] @ samples
    return _from_sums(within - alike @ samples, pairs, across, sizes)


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
    sizes = np.stack([n, points - n])
    return _from_sums(within - diagonal * sizes, sizes * (sizes - 1), across, sizes)


def _from_sums(within: Floats, pairs: Floats, across: Floats, sizes: Floats) -> Floats:
    """Squared MMD from sums over so many pairs within each sample, [2, split], and across."""
    value: Floats = (within / pairs).sum(axis=0) - 2 * across / (sizes[0] * sizes[1])
    return value


def _numbered(labels: ArrayLike) -> NDArray[np.int64]:
    """The labels as numbers 0, 1, 2, ..."""
    return np.unique(np.asarray(labels), return_inverse=True)[1]
