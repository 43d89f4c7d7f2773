"""Squared MMD averaged over times and initial states, of an ensemble and of each member."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from macrodyn.evaluation.available import Unavailable
from macrodyn.evaluation.mmd import standardised
from macrodyn.evaluation.mmd_estimate import (
    BANDWIDTH_FACTORS,
    null_of_sizes,
    rbf_bandwidths,
    rbf_kernel,
    split_sums,
    unbiased_mmd,
)

__all__ = ["AverageDiscrepancy", "mmd_over_times", "spread_indices"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class AverageDiscrepancy:
    """Squared MMD, averaged over times and initial states.

    Attributes:
        pooled: Of all members' trajectories together; infinite when one is not finite.
        members: Of each member alone, shape [member].
        null: What an exact model's members could show, shape [split]: of random halves of the
            reference, brought to the sizes of a member's and the reference's samples.
        bandwidth_factors: Kernel widths, in median distances of the reference's points.
    """

    pooled: float
    members: Floats
    null: Floats
    bandwidth_factors: tuple[float, ...]

    def summary(self) -> dict[str, float | list[float]]:
        """Return the figures that are reported, as plain Python numbers."""
        return {
            "mean": self.pooled,
            "members": self.members.tolist(),
            "null_mean": float(self.null.mean()),
            "null_q95": float(np.quantile(self.null, 0.95)),
            "bandwidth_factors": list(self.bandwidth_factors),
        }


def spread_indices(points: int, number: int = 10) -> list[int]:
    """Return so many positions on a time axis, evenly spaced up to its end, without the first."""
    return sorted({round(f * (points - 1)) for f in np.linspace(0, 1, number + 1)[1:]} - {0})


def mmd_over_times(
    prediction: ArrayLike,
    reference: ArrayLike,
    indices: Sequence[int],
    *,
    splits: int = 50,
    max_points: int = 400,
    factors: Sequence[float] = BANDWIDTH_FACTORS,
    seed: int = 0,
) -> AverageDiscrepancy:
    """Average the unbiased squared MMD over times and initial states.

    Observables are standardised as in `mmd_at_times`. Kernel widths are multiples of the median
    distance of the reference's points at that time and initial state, so that fast and slow,
    narrow and wide distributions weigh alike. A split of the reference divides whole trajectories,
    the same at all times, as the times of one trajectory are not independent.

    Args:
        prediction: Trajectories, shape [member, initial, replica, time, variable].
        reference: Trajectories, shape [initial, replica, time, observable].
        indices: Positions on the time axis.
        splits: Random halvings of the reference for the null distribution.
        max_points: Largest number of trajectories used of each member and of the reference.
        factors: Multiples of the median distance.
        seed: Seed of subsampling and splits.

    Returns:
        The averages.

    Raises:
        Unavailable: If there are no times, fewer than two predicted trajectories or fewer than four
            of the reference.

    Source: Gretton et al., JMLR 13, 723 (2012), eq. (3), for the estimate at one time.
    """
    ours, direct = standardised(prediction, reference)
    if not len(indices):
        raise Unavailable("averaging the MMD over times needs at least one time")
    if ours.shape[2] < 2 or direct.shape[1] < 4:
        raise Unavailable(
            f"the MMD needs two predicted trajectories (got {ours.shape[2]}) and four of the "
            f"reference (got {direct.shape[1]}) for each initial state"
        )
    rng = np.random.default_rng(seed)
    ours = ours[:, :, _some(ours.shape[2], max_points, rng)]
    direct = direct[:, _some(direct.shape[1], max_points, rng)]
    members, initials, replicas, _, d = ours.shape
    size = direct.shape[1]
    finite = np.isfinite(ours[:, :, :, list(indices)]).all(axis=(1, 2, 3, 4))
    kept = ours[finite]
    sizes = np.array([replicas] * len(kept) + [size])
    groups = np.repeat(np.eye(len(sizes)), sizes, axis=0)
    # Independent splits for each initial state, whose trajectories are independent.
    halves = [np.array([rng.permutation(size) < size // 2 for _ in range(splits)], float).T
              for _ in range(initials)]  # fmt: skip

    pooled, values, null = [], [], []
    for i in range(initials):
        for t in indices:
            points = np.concatenate([kept[:, i, :, t].reshape(-1, d), direct[i, :, t]])
            widths = rbf_bandwidths(direct[i, :, t], factors)
            kernel = rbf_kernel(points, points, widths)
            sums = groups.T @ kernel @ groups
            within = (np.diag(sums) - len(widths) * sizes) / (sizes * (sizes - 1))
            values.append(within[:-1] + within[-1] - 2 * sums[:-1, -1] / (replicas * size))
            total = replicas * len(kept)
            if total > 1:
                same = (sums[:-1, :-1].sum() - len(widths) * total) / (total * (total - 1))
                pooled.append(same + within[-1] - 2 * sums[:-1, -1].sum() / (total * size))
            sums_of_halves = split_sums(kernel[-size:, -size:], halves[i])
            null.append(
                unbiased_mmd(
                    sums_of_halves[:2], sums_of_halves[2], halves[i].sum(axis=0), size, len(widths)
                )
            )
    half = (size // 2, size - size // 2)
    by_member = np.full(members, np.inf)
    by_member[finite] = np.mean(values, axis=0)
    return AverageDiscrepancy(
        pooled=float(np.mean(pooled)) if finite.all() else float("inf"),
        members=by_member,
        null=null_of_sizes(np.mean(null, axis=0), half, (replicas, size)),
        bandwidth_factors=tuple(factors),
    )


def _some(count: int, limit: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return np.sort(rng.permutation(count)[:limit])
