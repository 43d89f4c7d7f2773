"""The mean model beside the members, and members whose trajectories end up elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.dynamics.members import MemberDistances, distances
from macrodyn.evaluation import (
    mmd_over_times,
    replica_mean_error,
    replica_spread_error,
    spread_indices,
)
from macrodyn.evaluation.available import Findings

Array = NDArray[np.float64]


def late_distances(prediction: Array, fraction: float) -> MemberDistances:
    """Compare the late-time means of the members' trajectories.

    A place is an initial macrostate, a component an observable in units of its standard error over
    replicas, the median one of the members.

    Args:
        prediction: Trajectories, shape [member, initial, replica, time, observable].
        fraction: Late part of the times.
    """
    late = prediction[:, :, :, -max(1, round(fraction * prediction.shape[3])) :].mean(axis=3)
    with np.errstate(invalid="ignore", over="ignore"):
        mean = late.mean(axis=2)
        variance = late.var(axis=2, ddof=1) / late.shape[2]
    # Of a member that diverged nothing is known.
    finite = np.isfinite(variance).all(axis=(1, 2))
    error = np.ones(mean.shape[1:])
    if finite.any():
        error = np.sqrt(np.median(variance[finite], axis=0))
    # Where nothing fluctuates, rounding is no distance.
    size = np.abs(mean[finite]).max(axis=0, initial=0.0)
    error = np.maximum(error, 1e-6 * size + 1e-30)
    components = np.full(mean.shape[1], float(mean.shape[2]))
    return distances((mean / error)[..., None], components)


def member_merits(
    prediction: Array, merits: dict[str, Any], named: Sequence[int], fraction: float
) -> dict[str, Any]:
    """Say which members end up elsewhere, and what the errors are without those that left.

    Args:
        prediction: Trajectories, shape [member, initial, replica, time, observable].
        merits: Figures of merit of all members.
        named: Members whose drift leaves the others.
        fraction: Late part of the times.

    Returns:
        ``late``: distances of the late-time means, see `MemberDistances`; ``outliers``: members
        that leave by their drift or by their late-time means; and the mean over the ``kept``
        others of ``test_error``, ``spread_error`` and ``mmd``, None where there is none.
    """
    late = late_distances(prediction, fraction)
    outliers = sorted({*named, *late.outliers})
    kept = [m for m in range(len(prediction)) if m not in outliers]
    found: dict[str, Any] = {"late": late.as_dict(), "outliers": outliers, "kept": len(kept)}
    for key in ("test_error", "spread_error", "mmd"):
        members = (merits.get(key) or {}).get("members")
        found[key] = float(np.mean([members[m] for m in kept])) if members and kept else None
    return found


def mean_model_merits(
    predicted: xr.Dataset, truth: Array, points: int, seed: int, findings: Findings
) -> dict[str, float | None]:
    """Errors of the mean model's trajectories.

    Args:
        predicted: The prediction, with ``z_mean_model``.
        truth: Direct simulation, shape [initial, replica, time, observable].
        points: Number of record times.
        seed: Seed of subsampling.
        findings: Of the mean model; notes what cannot be had.

    Returns:
        ``test_error``, ``spread_error`` and ``mmd``, squared and relative as the members' are.
    """
    z = predicted["z_mean_model"].transpose("initial", "replica", "time", "variable")
    mean = np.asarray(z.values[None, ..., : truth.shape[-1]], np.float64)
    times = spread_indices(points)
    makers = {
        "test_error": lambda: replica_mean_error(mean, truth).mean,
        "spread_error": lambda: replica_spread_error(mean, truth).mean,
        "mmd": lambda: float(mmd_over_times(mean, truth, times, seed=seed).members[0]),
    }
    return {key: findings.attempt(key, make) for key, make in makers.items()}


def explain_members(merits: dict[str, Any], findings: Findings) -> None:
    """Note why what is said of the members is missing.

    Args:
        merits: Figures of merit of a method, with those of its ``members``.
        findings: Of the members.
    """
    found = merits["members"]
    for key in ("test_error", "spread_error", "mmd"):
        if found[key] is None:
            reason = "every member leaves the others" if merits[key] else "no member has it"
            findings.lack(key, reason)
