"""Errors of predicted macroscopic trajectories against direct simulation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from macrodyn.evaluation.available import Unavailable

__all__ = [
    "TrajectoryError",
    "align",
    "mean_error",
    "replica_mean_error",
    "replica_spread_error",
    "spread_error",
    "trajectory_errors",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TrajectoryError:
    """Relative squared error of a statistic of the trajectories.

    Attributes:
        by_initial: Error of each member at each initial value, shape [member, initial].
        by_observable: Error of each observable relative to that observable alone, shape
            [member, initial, observable]; infinite where the reference vanishes but the
            prediction does not, NaN where both vanish.
        ensemble_by_initial: Error of the ensemble's combined statistic, shape [initial].
        ensemble_by_observable: The same for each observable alone, shape [initial, observable].
    """

    by_initial: Floats
    by_observable: Floats
    ensemble_by_initial: Floats
    ensemble_by_observable: Floats

    @property
    def members(self) -> Floats:
        """Error of each member, averaged over the initial values, shape [member]."""
        return np.asarray(self.by_initial.mean(axis=1))

    @property
    def mean(self) -> float:
        """Average error of a member."""
        return float(self.members.mean())

    @property
    def std(self) -> float:
        """Standard deviation of the error over members (0 for a single member)."""
        members = self.members
        if not np.isfinite(members).all():
            return float("nan")
        return float(members.std(ddof=1)) if members.size > 1 else 0.0

    @property
    def ensemble(self) -> float:
        """Error of the ensemble's combined statistic, averaged over the initial values."""
        return float(self.ensemble_by_initial.mean())

    def summary(self) -> dict[str, float | list[float]]:
        """Return the figures that are reported, as plain Python numbers."""
        return {
            "mean": self.mean,
            "std": self.std,
            "ensemble": self.ensemble,
            "members": self.members.tolist(),
            "by_initial": self.ensemble_by_initial.tolist(),
        }


def align(prediction: xr.Dataset, reference: xr.Dataset) -> tuple[Floats, Floats]:
    """Bring two stores to arrays on the same grid, or say where they differ.

    Args:
        prediction: Store with `z` of dims member, initial, replica, time, variable, and the
            initial macrostates `initial_values` of dims initial, component.
        reference: Store with `observables` of dims initial, replica, time, observable, and
            `initial_values`.

    Returns:
        The observables of prediction [member, initial, replica, time, observable] and reference
        [initial, replica, time, observable], float64.

    Raises:
        ValueError: If initial macrostates, times or observables of the two differ.
    """
    predicted = prediction["z"].transpose("member", "initial", "replica", "time", "variable")
    direct = reference["observables"].transpose("initial", "replica", "time", "observable")
    components = [[str(n) for n in s["component"].values] for s in (prediction, reference)]
    if components[0] != components[1]:
        raise ValueError(
            f"prediction and reference describe initial macrostates by different components "
            f"({components[0]} and {components[1]}): predict from the reference's macrostates"
        )
    for name, dims in (("initial_values", ("initial", "component")), ("time", ("time",))):
        ours, theirs = (s[name].transpose(*dims).values for s in (prediction, reference))
        # Relative alone: times and macrostates may be of any size.
        if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=1e-9, atol=0.0):
            raise ValueError(
                f"prediction and reference differ in '{name}' "
                f"({len(ours)} and {len(theirs)} entries): predict on the reference's grid"
            )
    names = [str(name) for name in direct["observable"].values]
    variables = [str(name) for name in predicted["variable"].values]
    if variables[: len(names)] != names:
        raise ValueError(
            f"the prediction's variables {variables} do not begin with the observables {names}"
        )
    predicted = predicted.isel(variable=slice(len(names)))
    return np.asarray(predicted.values, np.float64), np.asarray(direct.values, np.float64)


def mean_error(prediction_mean: ArrayLike, reference_mean: ArrayLike) -> TrajectoryError:
    """Compute the relative squared error of mean trajectories.

    For each initial value, sum_t,k (p_tk - r_tk)^2 / sum_t,k r_tk^2 over times t and observables
    k; then the average over initial values. Nothing is skipped: a prediction that is not finite
    counts as an infinite error.

    Args:
        prediction_mean: Mean over replicas, shape [member, initial, time, variable]; observables
            are the first variables, any others are ignored.
        reference_mean: Mean over replicas, shape [initial, time, observable].

    Returns:
        The error of each member and of the ensemble's mean trajectory.

    Raises:
        ValueError: If the shapes do not match.
        Unavailable: If the reference is not finite or vanishes.

    Source: test error of arXiv:2511.12842, restricted to the observables.
    """
    prediction, reference = _checked(
        prediction_mean, reference_mean, "a mean reference trajectory is zero throughout"
    )
    with np.errstate(invalid="ignore", over="ignore"):
        ensemble = prediction.mean(axis=0)
    return _relative_error(prediction, reference, ensemble)


def spread_error(prediction_std: ArrayLike, reference_std: ArrayLike) -> TrajectoryError:
    """Compute the relative squared error of the standard deviation over replicas.

    The same formula as `mean_error`. The ensemble's spread is the root mean square over its
    members, the pooled estimate within members: disagreement between members is left out.

    Args:
        prediction_std: Shape [member, initial, time, variable].
        reference_std: Shape [initial, time, observable].

    Returns:
        The error of each member and of the ensemble's pooled standard deviation.

    Raises:
        ValueError: If the shapes do not match.
        Unavailable: If the reference is not finite or vanishes.
    """
    prediction, reference = _checked(
        prediction_std,
        reference_std,
        "the reference trajectories of an initial macrostate do not differ from each other",
    )
    with np.errstate(invalid="ignore", over="ignore"):
        ensemble = np.sqrt(np.square(prediction).mean(axis=0))
    return _relative_error(prediction, reference, ensemble)


def trajectory_errors(
    prediction: ArrayLike, reference: ArrayLike
) -> tuple[TrajectoryError, TrajectoryError]:
    """Compute the errors of the mean and of the standard deviation over replicas.

    Args:
        prediction: Trajectories, shape [member, initial, replica, time, variable].
        reference: Trajectories, shape [initial, replica, time, observable].

    Returns:
        `replica_mean_error` and `replica_spread_error`.

    Raises:
        ValueError: If the shapes do not match.
        Unavailable: If one of the two cannot be had.
    """
    return replica_mean_error(prediction, reference), replica_spread_error(prediction, reference)


def replica_mean_error(prediction: ArrayLike, reference: ArrayLike) -> TrajectoryError:
    """Compute `mean_error` of trajectories, shaped as for `trajectory_errors`."""
    ours, direct = _replicas(prediction, reference)
    with np.errstate(invalid="ignore", over="ignore"):
        return mean_error(ours.mean(axis=2), direct.mean(axis=1))


def replica_spread_error(prediction: ArrayLike, reference: ArrayLike) -> TrajectoryError:
    """Compute `spread_error` of trajectories, shaped as for `trajectory_errors`.

    Raises:
        ValueError: If the shapes do not match.
        Unavailable: If a replica axis has fewer than two entries, or the reference does not spread.
    """
    ours, direct = _replicas(prediction, reference)
    if ours.shape[2] < 2 or direct.shape[1] < 2:
        raise Unavailable("the spread over replicas needs at least two replicas on both sides")
    with np.errstate(invalid="ignore", over="ignore"):
        return spread_error(ours.std(axis=2, ddof=1), _std(direct))


def _std(values: Floats) -> Floats:
    """Standard deviation over replicas; exactly 0 where all are equal, whatever rounding says."""
    spread: Floats = values.std(axis=1, ddof=1)
    spread[(values == values[:, :1]).all(axis=1)] = 0.0
    return spread


def _replicas(prediction: ArrayLike, reference: ArrayLike) -> tuple[Floats, Floats]:
    ours, direct = np.asarray(prediction), np.asarray(reference, np.float64)
    if ours.ndim != 5 or direct.ndim != 4:
        raise ValueError(
            "expected prediction [member, initial, replica, time, variable] and reference "
            f"[initial, replica, time, observable], got shapes {ours.shape} and {direct.shape}"
        )
    return ours[..., : direct.shape[-1]].astype(np.float64), direct


def _checked(prediction: ArrayLike, reference: ArrayLike, vanishing: str) -> tuple[Floats, Floats]:
    """Check shapes and values; `vanishing` says what it means if the reference is zero."""
    predicted = np.asarray(prediction, np.float64)
    direct = np.asarray(reference, np.float64)
    matching = (
        predicted.ndim == 4
        and direct.ndim == 3
        and predicted.shape[1:3] == direct.shape[:2]
        and predicted.shape[3] >= direct.shape[2]
    )
    if not matching:
        raise ValueError(
            "expected prediction [member, initial, time, variable] and reference [initial, time, "
            f"observable] on the same grid, got shapes {predicted.shape} and {direct.shape}"
        )
    if not np.isfinite(direct).all():
        raise Unavailable("the reference holds values that are not finite")
    if not direct.any(axis=(1, 2)).all():
        raise Unavailable(f"{vanishing}: no relative error exists")
    return predicted[..., : direct.shape[2]], direct


def _relative_error(prediction: Floats, reference: Floats, ensemble: Floats) -> TrajectoryError:
    # One stack, the ensemble's statistic last, so that both go through the same formula.
    stack = np.concatenate([prediction, ensemble[None]])
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        squares = np.square(stack - reference).sum(axis=2)
        squares[~np.isfinite(squares)] = np.inf
        norms = np.square(reference).sum(axis=1)
        by_initial = squares.sum(axis=2) / norms.sum(axis=1)
        by_observable = squares / norms
    return TrajectoryError(
        by_initial=by_initial[:-1],
        by_observable=by_observable[:-1],
        ensemble_by_initial=by_initial[-1],
        ensemble_by_observable=by_observable[-1],
    )
