"""What dt and buffer cost a run: from its pilot, or from the lags that its pairs recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from macrodyn.dynamics.compensation import mean_increment
from macrodyn.dynamics.latents import LatentArrays
from macrodyn.evaluation.available import Unavailable
from macrodyn.evaluation.step_choice import StepError, StepPairs, best
from macrodyn.paths import StrPath
from macrodyn.storage.sealed import read_sealed_json


@dataclass(frozen=True)
class StepErrors:
    """Estimated errors of the drift by dt and buffer.

    Attributes:
        source: ``pilot``: of the pilot that chose them; ``pairs``: of the run's own pairs, at the
            recorded lags and with their one buffer.
        used: Of the dt and buffer that the run has used.
        table: Of all.
    """

    source: str
    used: StepError
    table: tuple[StepError, ...]

    def summary(self) -> dict[str, Any]:
        """Return what is reported, as plain JSON values."""
        return {
            "source": self.source,
            "used": self.used.as_dict(),
            "recommended": best(self.table).as_dict(),
            "table": [error.as_dict() for error in self.table],
        }


def of_pilot(path: StrPath) -> StepErrors:
    """Read what the pilot of a run has found."""
    choice = read_sealed_json(path)
    table = tuple(StepError.from_dict(row) for row in choice["table"])
    return StepErrors("pilot", StepError.from_dict(choice["chosen"]), table)


def of_pairs(latents: xr.Dataset, *, buffer: int, seed: int) -> StepErrors:
    """Estimate the errors at the recorded lags.

    Args:
        latents: The latents of a run.
        buffer: The buffer of its pairs.
        seed: Seed of the division of the groups into folds.

    Raises:
        Unavailable: If the patches of a snapshot evolved for different times.
    """
    observables = int(latents.attrs["n_observables"])
    found = []
    for lag in range(latents.sizes["lag"]):
        arrays = LatentArrays.from_dataset(latents, lag=lag)
        if not arrays.synchronous:
            raise Unavailable("pairs of one dt are needed: set evolve.stop to time")
        mean = mean_increment(arrays, seed=seed)
        dt = float(arrays.elapsed.mean())
        inputs = np.concatenate([arrays.z, arrays.conditions], axis=1)
        pairs = StepPairs(inputs, latents["time"].values, arrays.group)
        found.append(pairs.errors(mean[:, :observables] / dt, None, dt=dt, buffer=buffer))
    return StepErrors("pairs", found[0], tuple(found))
