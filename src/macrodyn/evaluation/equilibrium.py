"""Late-time distributions of the observables, predicted against directly simulated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import wasserstein_distance

from macrodyn.evaluation.available import Unavailable
from macrodyn.evaluation.markov import bin_edges

__all__ = ["EquilibriumComparison", "equilibrium", "late_values"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class EquilibriumComparison:
    """Late-time distributions of the observables, pooled over replicas and initial values.

    A member whose late values are not all finite has NaN densities and moments, and an infinite
    distance.

    Attributes:
        edges: Bin edges common to reference and prediction, shape [observable, bin + 1].
        reference_density: Shape [observable, bin], in units of 1/observable.
        prediction_density: Shape [member, observable, bin].
        reference_mean: Shape [observable].
        reference_std: Shape [observable].
        prediction_mean: Shape [member, observable].
        prediction_std: Shape [member, observable].
        wasserstein: 1-Wasserstein distance, shape [member, observable], units of the observable.
        samples: Number of pooled reference values.
    """

    edges: Floats
    reference_density: Floats
    prediction_density: Floats
    reference_mean: Floats
    reference_std: Floats
    prediction_mean: Floats
    prediction_std: Floats
    wasserstein: Floats
    samples: int

    @property
    def mean_relative_error(self) -> Floats:
        """|mean - reference mean| / |reference mean|, [member, observable]; NaN if that is 0."""
        return _relative(self.prediction_mean, self.reference_mean)

    @property
    def std_relative_error(self) -> Floats:
        """|std - reference std| / reference std, [member, observable]; NaN if that is 0."""
        return _relative(self.prediction_std, self.reference_std)

    @property
    def wasserstein_relative(self) -> Floats:
        """Wasserstein distance over the reference's std, [member, observable]; NaN if that is 0."""
        return _over(self.wasserstein, self.reference_std)

    def summary(self, names: list[str]) -> dict[str, dict[str, float]]:
        """Return for each observable the figures that are reported, averaged over members.

        Args:
            names: Names of the observables, in order.
        """
        return {
            name: {
                "reference_mean": float(self.reference_mean[k]),
                "reference_std": float(self.reference_std[k]),
                "prediction_mean": float(self.prediction_mean[:, k].mean()),
                "prediction_std": float(self.prediction_std[:, k].mean()),
                "mean_relative_error": float(self.mean_relative_error[:, k].mean()),
                "std_relative_error": float(self.std_relative_error[:, k].mean()),
                "wasserstein": float(self.wasserstein[:, k].mean()),
                "wasserstein_relative": float(self.wasserstein_relative[:, k].mean()),
            }
            for k, name in enumerate(names)
        }

    def undefined(self, names: list[str]) -> dict[str, str]:
        """Return why figures of the summary are NaN, by dotted path.

        Args:
            names: Names of the observables, in order.
        """
        reasons = {}
        for k, name in enumerate(names):
            if not np.isfinite(self.prediction_mean[:, k]).all():
                for part in ("prediction_mean", "prediction_std"):
                    reasons[f"{name}.{part}"] = "a member diverged"
                reasons[f"{name}.mean_relative_error"] = "a member diverged"
                reasons[f"{name}.std_relative_error"] = "a member diverged"
            if self.reference_mean[k] == 0:
                reasons[f"{name}.mean_relative_error"] = "the reference's mean is zero"
            if self.reference_std[k] == 0:
                for part in ("std_relative_error", "wasserstein_relative"):
                    reasons[f"{name}.{part}"] = "the reference does not vary at late times"
        return reasons


def equilibrium(
    prediction: ArrayLike,
    reference: ArrayLike,
    *,
    fraction: float = 0.25,
    bins: int = 60,
) -> EquilibriumComparison:
    """Compare the late-time distributions of the observables.

    Args:
        prediction: Trajectories, shape [member, initial, replica, time, variable].
        reference: Trajectories, shape [initial, replica, time, observable].
        fraction: Share of the time points, at the end, that counts as equilibrium.
        bins: Number of histogram bins; they cover both distributions.

    Returns:
        Moments, densities and Wasserstein distances.

    Raises:
        ValueError: If the fraction is not in (0, 1].
        Unavailable: If the reference is not finite.
    """
    direct = late_values(reference, fraction)
    d = direct.shape[-1]
    ours = np.stack([late_values(m, fraction) for m in np.asarray(prediction)[..., :d]])
    if not np.isfinite(direct).all():
        raise Unavailable("late reference trajectories hold values that are not finite")
    # Equal values have a standard deviation of 0, whatever rounding makes of it.
    reference_std = np.where((direct == direct[0]).all(axis=0), 0.0, direct.std(axis=0))
    finite = np.flatnonzero(np.isfinite(ours).all(axis=(1, 2)))
    ours[np.setdiff1d(np.arange(len(ours)), finite)] = np.nan
    edges = np.empty((d, bins + 1))
    reference_density = np.empty((d, bins))
    prediction_density = np.full((len(ours), d, bins), np.nan)
    distance = np.full((len(ours), d), np.inf)
    for k in range(d):
        pooled = np.append(ours[finite, :, k].ravel(), direct[:, k])
        edges[k] = bin_edges(pooled, bins)
        reference_density[k] = np.histogram(direct[:, k], edges[k], density=True)[0]
        for e in finite:
            prediction_density[e, k] = np.histogram(ours[e, :, k], edges[k], density=True)[0]
            distance[e, k] = wasserstein_distance(direct[:, k], ours[e, :, k])
    return EquilibriumComparison(
        edges=edges,
        reference_density=reference_density,
        prediction_density=prediction_density,
        reference_mean=direct.mean(axis=0),
        reference_std=reference_std,
        prediction_mean=ours.mean(axis=1),
        prediction_std=ours.std(axis=1),
        wasserstein=distance,
        samples=len(direct),
    )


def late_values(trajectories: ArrayLike, fraction: float) -> Floats:
    """Pool the last time points over replicas and initial values.

    Args:
        trajectories: Shape [initial, replica, time, variable].
        fraction: Share of the time points to keep, at least one point.

    Returns:
        Values, shape [initial * replica * late time, variable].

    Raises:
        ValueError: If the fraction is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction of late times must be in (0, 1], got {fraction}")
    values = np.asarray(trajectories, np.float64)
    late = max(1, round(fraction * values.shape[2]))
    return values[:, :, -late:].reshape(-1, values.shape[-1])


def _relative(value: Floats, reference: Floats) -> Floats:
    return _over(np.abs(value - reference), np.abs(reference))


def _over(value: Floats, scale: Floats) -> Floats:
    """Divide; by a scale of 0 there is nothing relative to it: NaN, not infinity."""
    ratio: Floats = value / np.where(scale > 0, scale, np.nan)
    return ratio
