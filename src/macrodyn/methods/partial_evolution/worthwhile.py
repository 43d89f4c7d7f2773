"""Whether a run's closure variables are worth having, judged by its latents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.dynamics.compensation import mean_increment
from macrodyn.dynamics.latents import LatentArrays
from macrodyn.evaluation.available import Unavailable
from macrodyn.evaluation.forecast import ForecastScores, score_forecasts
from macrodyn.evaluation.worth import Judged, judge_variables

Floats = NDArray[np.float64]


def judge_latents(latents: xr.Dataset, *, seed: int) -> Judged | None:
    """Judge the closure variables and candidates of some latents at the shortest lag.

    Args:
        latents: The latents.
        seed: Seed of the division of groups.

    Returns:
        What they are worth; None where there are none.

    Raises:
        Unavailable: If there are too few groups.
    """
    known = _Known.of(latents)
    if not known.variables and not known.candidates:
        return None
    increment, elapsed = known.summed(latents, 0, seed)
    return judge_variables(
        known.observables,
        known.variables,
        known.candidates,
        conditions=known.arrays.conditions,
        increment=increment,
        elapsed=elapsed,
        age=latents["time"].values,
        group=known.arrays.group,
        seed=seed,
    )


def forecast_latents(latents: xr.Dataset, *, seed: int) -> ForecastScores:
    """Score the closure variables and candidates of some latents over each lag.

    Args:
        latents: The latents.
        seed: Seed of the division of groups.

    Raises:
        Unavailable: If there is no variable beside the observables, or groups are too few.
    """
    known = _Known.of(latents)
    extra = {**known.variables, **known.candidates}
    if not extra:
        raise Unavailable("z is the observables alone, and there are no candidates")
    summed = [known.summed(latents, lag, seed) for lag in range(latents.sizes["lag"])]
    return score_forecasts(
        known.observables,
        extra,
        conditions=known.arrays.conditions,
        increments=[increment for increment, _ in summed],
        elapsed=[elapsed for _, elapsed in summed],
        patches=known.arrays.patches,
        group=known.arrays.group,
        seed=seed,
    )


@dataclass(frozen=True, kw_only=True)
class _Known:
    """Variables of some latents by name, each of shape [sample]."""

    arrays: LatentArrays
    observables: dict[str, Floats]
    variables: dict[str, Floats]
    candidates: dict[str, Floats]

    @classmethod
    def of(cls, latents: xr.Dataset) -> _Known:
        arrays = LatentArrays.from_dataset(latents)
        names = [str(name) for name in latents["variable"].values]
        candidates = {}
        if "candidates" in latents:
            values = latents["candidates"].transpose("candidate", "sample").values
            given = (str(name) for name in latents["candidate"].values)
            candidates = dict(zip(given, values.astype(np.float64), strict=True))
        z = dict(zip(names, arrays.z.T, strict=True))
        number = arrays.n_observables
        return cls(
            arrays=arrays,
            observables={name: z[name] for name in names[:number]},
            variables={name: z[name] for name in names[number:]},
            candidates=candidates,
        )

    def summed(self, latents: xr.Dataset, lag: int, seed: int) -> tuple[Floats, Floats]:
        """Increments of the observables over a lag, [sample, observable], and their times.

        Sums over the patches: where these have evolved for different times, they count by it.
        """
        arrays = LatentArrays.from_dataset(latents, lag=lag) if lag else self.arrays
        increment = mean_increment(arrays, seed=seed) * arrays.patches
        return increment[:, : arrays.n_observables], arrays.elapsed.sum(axis=1)
