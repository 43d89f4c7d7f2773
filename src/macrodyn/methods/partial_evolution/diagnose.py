"""The residual by snapshot age of a run's latents, with and without what trained the drift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.evaluation.available import Findings
from macrodyn.evaluation.residual import AgeResidual, residual_by_age
from macrodyn.learning.holdout import hold_out

# States at which the drift is evaluated at once: a bound on memory.
_CHUNK = 65536


@dataclass(frozen=True)
class RunResidual:
    """Residuals by age of one run.

    Attributes:
        variables: Names of the macroscopic variables.
        everything: Of all snapshots.
        held_out: Of the groups that validated the drift; None if they are too few.
    """

    variables: list[str]
    everything: AgeResidual
    held_out: AgeResidual | None


def run_residual(
    latents: xr.Dataset,
    drift: NDArray[np.float64],
    *,
    fraction: float,
    seed: int,
    findings: Findings,
) -> RunResidual:
    """Compare the increments of the shortest lag with the ensemble's mean drift, age by age.

    Args:
        latents: The latents that trained the ensemble.
        drift: The ensemble's mean drift at all samples, as `mean_drift` gives it.
        fraction: Share of the snapshots that was held out of its training.
        seed: Seed of the choice of groups that were.
        findings: Of this method; notes what cannot be had.

    Raises:
        Unavailable: If there are too few groups.
    """
    increment, elapsed = shortest_lag(latents)
    group = np.asarray(latents["group"].values, np.int64)
    arrays = {
        "increment": increment,
        "elapsed": elapsed,
        "drift": drift,
        "age": latents["time"].values,
        "group": group,
    }
    everything = residual_by_age(**arrays, fitted=True)
    _, rows = hold_out(group, fraction, seed=seed)
    held_out = findings.attempt(
        "held_out",
        lambda: residual_by_age(**{k: v[rows] for k, v in arrays.items()}, fitted=False),
    )
    return RunResidual([str(n) for n in latents["variable"].values], everything, held_out)


def shortest_lag(latents: xr.Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Increments [sample, patch, variable] of the shortest lag, and their times [sample, patch]."""
    pairs = latents.isel(lag=0)
    increment = pairs["increment"].transpose("sample", "patch", "variable").values
    return increment, pairs["elapsed"].transpose("sample", "patch").values


def mean_drift(latents: xr.Dataset, ensemble: Ensemble) -> NDArray[np.float64]:
    """Evaluate the drift, averaged over members, at all samples, shape [sample, variable]."""
    z = torch.as_tensor(latents["z"].transpose("sample", "variable").values, dtype=torch.float32)
    given = latents["condition_values"].transpose("sample", "condition").values
    conditions = torch.as_tensor(given, dtype=torch.float32) if given.shape[1] else None
    parts = []
    with torch.inference_mode():
        for begin in range(0, len(z), _CHUNK):
            rows = slice(begin, begin + _CHUNK)
            drift = ensemble.drift(z[rows], None if conditions is None else conditions[rows])
            parts.append(drift.double().mean(dim=0).numpy())
    return np.concatenate(parts)


def residual_summary(found: RunResidual, findings: Findings) -> dict[str, Any]:
    """Return what is reported of the residuals, the reasons for what is missing noted."""
    summary = found.everything.summary(found.variables)
    summary["held_out"] = None
    if found.held_out is not None:
        summary["held_out"] = found.held_out.summary(found.variables)
    findings.lack_all(found.everything.undefined(found.variables))
    if found.held_out is not None:
        findings.below("held_out").lack_all(found.held_out.undefined(found.variables))
    return summary
