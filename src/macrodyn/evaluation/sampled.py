"""Late predictions beside an equilibrium that was sampled without the dynamics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from macrodyn.evaluation.available import Unavailable

__all__ = ["SampledEquilibrium", "relaxation_times", "sampled_equilibrium"]

Floats = NDArray[np.float64]

_UNSIMULATED = "the system was not simulated directly"
_OF_DIRECT = ("direct", "direct_standard_error", "relaxation_time")
AGREE = 3.0
"""Chains from different starts agree if their means differ by less than so many errors."""


@dataclass(frozen=True, kw_only=True)
class SampledEquilibrium:
    """Means of the observables at equilibrium and at late times, with standard errors.

    Attributes:
        mean: At the sampled equilibrium, shape [observable].
        error: Its standard error, from the scatter of the chains, shape [observable].
        spread: Standard deviation of the observables at equilibrium, shape [observable].
        starts: Largest difference of the chains' means from two starts, in standard errors, shape
            [observable]; NaN for one start.
        direct: Of late direct trajectories, shape [observable]; NaN if there are none.
        direct_error: Its standard error, from the scatter of the trajectories, shape [observable].
        predicted: Of late predicted trajectories, of each member, or of its stationary density,
            shape [member, observable].
        predicted_error: Standard error of a member's mean by its trajectories, [member,
            observable].
        relaxation: Times in which direct mean trajectories relax, see `relaxation_times`, shape
            [observable].
        late: Time from which on trajectories count as late.
        stationary: Whether what is predicted are means of stationary densities.
    """

    mean: Floats
    error: Floats
    spread: Floats
    starts: Floats
    direct: Floats
    direct_error: Floats
    predicted: Floats
    predicted_error: Floats
    relaxation: Floats
    late: float
    stationary: bool = False

    @property
    def ensemble_error(self) -> Floats:
        """Standard error of the members' mean: their scatter and their trajectories' both.

        Of stationary densities the scatter as it is: no chance of trajectories is in it, and what
        the data do to one member they do to all.
        """
        members = len(self.predicted)
        scatter = self.predicted.std(axis=0, ddof=1) if members > 1 else np.zeros_like(self.mean)
        if self.stationary:
            return np.asarray(scatter)
        own = np.sqrt(np.square(self.predicted_error).sum(axis=0)) / members
        found: Floats = np.maximum(scatter / np.sqrt(members), own)
        return found

    def summary(self, names: list[str]) -> dict[str, dict[str, float | bool | str | None]]:
        """Return for each observable the figures that are reported.

        Args:
            names: Names of the observables, in order.
        """
        found: dict[str, dict[str, float | bool | str | None]] = {}
        for k, name in enumerate(names):
            told = np.isfinite(self.starts[k])
            found[name] = {
                "mean": float(self.mean[k]),
                "standard_error": float(self.error[k]),
                "std": float(self.spread[k]),
                "starts_agree": bool(self.starts[k] < AGREE) if told else None,
                "direct": _known(self.direct[k]),
                "direct_standard_error": _known(self.direct_error[k]),
                "predicted": float(self.predicted[:, k].mean()),
                "predicted_standard_error": float(self.ensemble_error[k]),
                "relaxation_time": _known(self.relaxation[k]),
                "predicted_by": "stationary density" if self.stationary else "late trajectories",
                "late_from": self.late,
            }
        return found

    def undefined(self, names: list[str]) -> dict[str, str]:
        """Return why figures of the summary are None, by dotted path.

        Args:
            names: Names of the observables, in order.
        """
        reasons = {}
        for k, name in enumerate(names):
            if not np.isfinite(self.starts[k]):
                reasons[f"{name}.starts_agree"] = "there is one initial macrostate"
            if np.isnan(self.direct[k]):
                reasons |= {f"{name}.{key}": _UNSIMULATED for key in _OF_DIRECT}
            elif not np.isfinite(self.relaxation[k]):
                reasons[f"{name}.relaxation_time"] = (
                    "no mean trajectory begins away from equilibrium and comes within 1/e of it"
                )
        return reasons


def sampled_equilibrium(
    chains: ArrayLike,
    reference: ArrayLike | None,
    prediction: ArrayLike,
    time: ArrayLike,
    *,
    fraction: float,
    stationary: ArrayLike | None = None,
) -> SampledEquilibrium:
    """Compare late trajectories with an equilibrium that was sampled without the dynamics.

    Args:
        chains: Samples, shape [initial, replica, sample, observable].
        reference: Direct trajectories, shape [initial, replica, time, observable]; None if there
            are none.
        prediction: Predicted ones, shape [member, initial, replica, time, variable], the
            observables first.
        time: Record times, shape [time].
        fraction: Late part of them.
        stationary: Means of the members' stationary densities, shape [member, observable], which
            take the place of late predictions; None if there are none.

    Raises:
        Unavailable: If late predictions are not finite.
    """
    sampled = np.asarray(chains, np.float64)
    times, d = np.asarray(time, np.float64), sampled.shape[-1]
    points = max(1, round(fraction * len(times)))
    late = np.asarray(prediction, np.float64)[..., -points:, :d]
    if not np.isfinite(late).all():
        raise Unavailable("a member diverged")
    means = sampled.mean(axis=2)
    starts, replicas = means.shape[:2]
    within = means.std(axis=1, ddof=1) / np.sqrt(replicas)
    apart = np.full(d, np.nan)
    if starts > 1:
        pairs = np.triu_indices(starts, 1)
        by_start = means.mean(axis=1)
        difference = np.abs(by_start[pairs[0]] - by_start[pairs[1]])
        error = np.hypot(within[pairs[0]], within[pairs[1]])
        with np.errstate(divide="ignore", invalid="ignore"):
            apart = np.nan_to_num(difference / error, nan=0.0, posinf=np.inf).max(axis=0)
    of_direct, direct_error, relaxation = np.full((3, d), np.nan)
    if stationary is None:
        flat = late.reshape(len(late), -1, points, d)
        of_member = [_mean_and_error(member) for member in flat]
    else:
        of_member = [(m, np.zeros(d)) for m in np.asarray(stationary, np.float64)]
    mean, error = _mean_and_error(sampled.reshape(-1, *sampled.shape[2:]))
    if reference is not None:
        direct = np.asarray(reference, np.float64)
        of_direct, direct_error = _mean_and_error(direct[..., -points:, :d].reshape(-1, points, d))
        relaxation = relaxation_times(direct, mean, times)
    return SampledEquilibrium(
        mean=mean,
        error=error,
        spread=sampled.reshape(-1, d).std(axis=0),
        starts=apart,
        direct=of_direct,
        direct_error=direct_error,
        predicted=np.stack([m for m, _ in of_member]),
        predicted_error=np.stack([e for _, e in of_member]),
        relaxation=relaxation,
        late=float(times[-points]),
        stationary=stationary is not None,
    )


def relaxation_times(reference: ArrayLike, mean: ArrayLike, time: ArrayLike) -> Floats:
    """Time after which the mean trajectories have come within 1/e of equilibrium for good.

    Of the initial macrostates that begin away from equilibrium by more than five standard errors
    of the mean trajectory, it is the longest.

    Args:
        reference: Trajectories, shape [initial, replica, time, observable].
        mean: Means at equilibrium, shape [observable].
        time: Record times, shape [time].

    Returns:
        Shape [observable]; infinite if one does not come so near, NaN if none begins away from it.
    """
    values, times = np.asarray(reference, np.float64), np.asarray(time, np.float64)
    distance = np.abs(values.mean(axis=1) - np.asarray(mean))
    error = values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
    away = distance[:, 0] > 5.0 * error.max(axis=1)
    far = distance > distance[:, :1] / np.e
    # The last time that it is far; from the next one on it is near.
    last = far.shape[1] - 1 - far[:, ::-1].argmax(axis=1)
    found = np.where(last + 1 < len(times), times[np.minimum(last + 1, len(times) - 1)], np.inf)
    longest = np.where(away, found, -1.0).max(axis=0)
    return np.where(away.any(axis=0), longest, np.nan)


def _known(value: float) -> float | None:
    """A plain number; None for what is not finite."""
    return float(value) if np.isfinite(value) else None


def _mean_and_error(series: Floats) -> tuple[Floats, Floats]:
    """Mean over independent series and the standard error, [series, time, d] to [d]."""
    means = series.mean(axis=1)
    return means.mean(axis=0), means.std(axis=0, ddof=1) / np.sqrt(len(means))
