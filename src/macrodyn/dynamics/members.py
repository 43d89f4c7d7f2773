"""Members of an ensemble that leave the others: by their drift, or by where they end up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from macrodyn.dynamics.data import TransitionData
from macrodyn.dynamics.ensemble import Ensemble

Array = NDArray[np.float64]

FALSE_ALARM = 0.01
"""Probability that an ensemble of equal members has one that is named."""
FEWEST_MEMBERS = 3
"""Of two members nobody can say which of them has left."""
CELLS = 16
"""Parts of the region visited, each with as many snapshots."""
FEWEST_IN_CELL = 20
# Snapshots at which drifts are compared: a bound on time.
_POINTS = 8192
_DRAWS = 100_000


@dataclass(frozen=True, kw_only=True)
class MemberDistances:
    """How far each member is from the members' median.

    Attributes:
        distance: Largest distance of each member over the places where it is measured, in units of
            the root of the members' scatter there, squared, plus the standard error, squared;
            infinite for one that is not finite. Shape [M].
        threshold: Largest distance of an ensemble of equal members, but with the probability
            `FALSE_ALARM`; infinite for fewer than `FEWEST_MEMBERS` members.
        place: Where the distance is largest, an index of the places, shape [M].
    """

    distance: Array
    threshold: float
    place: NDArray[np.int64]

    @property
    def outliers(self) -> list[int]:
        """Members beyond the threshold, or not finite, from 0."""
        left = (self.distance > self.threshold) | np.isinf(self.distance)
        return [int(m) for m in np.flatnonzero(left)]

    def as_dict(self) -> dict[str, Any]:
        """Plain values: distances, outliers; the threshold, where members are enough for one."""
        found: dict[str, Any] = {"distance": self.distance.tolist(), "outliers": self.outliers}
        return found | ({"threshold": self.threshold} if np.isfinite(self.threshold) else {})


def distances(values: ArrayLike, squared_error: ArrayLike) -> MemberDistances:
    """Distances of members from their median, at several places.

    At each place D_m^2 is member m's squared distance from the median over members, and

        distance_m^2 = D_m^2 / (median_k D_k^2 / kappa + squared error),

    a squared median absolute deviation, with kappa such that it estimates the variance of Gaussian
    members. A median is not moved by fewer than half of the members.

    Args:
        values: What the members say, shape [M, place, component, sample]: the squares are summed
            over components and averaged over samples.
        squared_error: Squared standard error of a member's value, summed over components, at each
            place, shape [place].

    Source: Hampel (1974), J. Am. Stat. Assoc. 69, 383, for the median absolute deviation.
    """
    given = np.asarray(values, np.float64)
    members, places, components = given.shape[:3]
    finite = np.isfinite(given).all(axis=(1, 2, 3))
    distance = np.full(members, np.inf)
    place = np.zeros(members, np.int64)
    if not finite.any():
        return MemberDistances(distance=distance, threshold=np.inf, place=place)
    kept = given[finite]
    square = np.square(kept - np.median(kept, axis=0)).sum(axis=2).mean(axis=-1)
    consistency, threshold = null_threshold(len(kept), components, places)
    scale = np.median(square, axis=0) / consistency + np.asarray(squared_error, np.float64)
    found = np.sqrt(square / np.maximum(scale, 1e-300))
    distance[finite], place[finite] = found.max(axis=1), found.argmax(axis=1)
    return MemberDistances(distance=distance, threshold=threshold, place=place)


@lru_cache
def null_threshold(members: int, components: int, places: int) -> tuple[float, float]:
    """Consistency factor and threshold of `distances`, of equal members.

    By simulation of independent Gaussian members without a standard error, which is the least
    favourable case: an error enlarges the scale. Members' deviations are taken for constant within
    a place and independent between places; deviations that vary within one are averaged and vary
    less.

    Args:
        members: Number of members M.
        components: Number of components of a value.
        places: Number of places.

    Returns:
        kappa, the expected median of D^2 over the expected squared deviation of a member; and the
        threshold, infinite for fewer than `FEWEST_MEMBERS` members.
    """
    if members < FEWEST_MEMBERS:
        return 1.0, np.inf
    drawn = np.random.default_rng(0).standard_normal((_DRAWS, members, components))
    square = np.square(drawn - np.median(drawn, axis=1, keepdims=True)).sum(axis=2)
    middle = np.median(square, axis=1)
    consistency = float(middle.mean() / components)
    largest = square.max(axis=1) / np.maximum(middle, 1e-300) * consistency
    quantile = (1.0 - FALSE_ALARM) ** (1.0 / places)
    return consistency, float(np.sqrt(np.quantile(largest, quantile)))


def drift_distances(
    ensemble: Ensemble, data: TransitionData, *, seed: int = 0
) -> tuple[MemberDistances, Array]:
    """Compare the members' drifts in the region that the snapshots visit.

    The region is cut into cells of as many snapshots each, by halving the widest axis. In each
    cell drifts are measured in units of the noise, |L^-1 (mu_m - median)|^2 with Sigma = L L^T of
    the members' mean: what tells two drifts apart per unit time. The standard error is that of the
    mean drift in the cell, of the increments that the drift was fitted to.

    Args:
        ensemble: The ensemble.
        data: Transitions that it was trained on.
        seed: Seed of the choice of snapshots, where there are very many.

    Returns:
        The distances, and the mean state of each cell, shape [cell, d].
    """
    order = np.random.default_rng(seed).permutation(len(data))[:_POINTS]
    part = data.select(torch.as_tensor(order)).to("cpu")
    conditions = part.conditions if ensemble.conditions else None
    with torch.inference_mode():
        drift, factor = ensemble(part.z, conditions)
    constraint = ensemble.constraint
    d = ensemble.variables
    basis = np.eye(d) if constraint is None else constraint.basis.numpy()
    mu = drift.double().numpy() @ basis
    if factor is None:
        reference = ensemble.diffusion_scale.double().numpy()
        if ensemble.axes is not None:
            reference = ensemble.axes.basis.numpy() @ reference
        covariance = np.broadcast_to(reference @ reference.T, (len(part), *reference.shape))
    else:
        reduced = basis.T @ factor.double().numpy()
        covariance = (reduced @ reduced.transpose(0, 1, 3, 2)).mean(axis=0)
    inverse = np.linalg.inv(np.linalg.cholesky(covariance))
    elapsed = part.elapsed.double().numpy()[:, None]
    label = part.drift_increment.double().numpy() @ basis / elapsed
    residual = np.einsum("nij,nj->ni", inverse, label - np.median(mu, axis=0))
    white = np.einsum("nij,mnj->mni", inverse, mu)
    z = part.z.double().numpy()
    cells = _cells(np.concatenate([z, part.conditions.double().numpy()], axis=1))
    values = np.stack([white[:, rows].transpose(0, 2, 1) for rows in cells], axis=1)
    in_cell = len(data) / len(cells)
    square = np.square(residual).sum(axis=1)
    weight = None if part.relative_noise is None else part.exposure.double().numpy()
    error = [_mean_square(square, weight, rows) / in_cell for rows in cells]
    return distances(values, error), np.stack([z[rows].mean(axis=0) for rows in cells])


def _mean_square(square: Array, weight: Array | None, rows: NDArray[np.int64]) -> float:
    """Squared error of the mean of some samples, times their number; of a weighted mean."""
    if weight is None:
        return float(square[rows].mean())
    share = weight[rows] / weight[rows].mean()
    return float((square[rows] * share**2).mean())


def _cells(points: Array) -> NDArray[np.int64]:
    """Indices of the points of each cell, as many in each, shape [cell, number]."""
    spread = points.std(axis=0)
    scaled = points / np.where(spread > 0, spread, 1.0)
    number = CELLS
    while number > 1 and len(points) < number * FEWEST_IN_CELL:
        number //= 2
    parts = [np.arange(len(points) // number * number)]
    while len(parts) < number:
        halves = []
        for rows in parts:
            axis = int(np.ptp(scaled[rows], axis=0).argmax())
            ordered = rows[np.argsort(scaled[rows, axis], kind="stable")]
            halves += [ordered[: len(rows) // 2], ordered[len(rows) // 2 :]]
        parts = halves
    return np.stack(parts)
