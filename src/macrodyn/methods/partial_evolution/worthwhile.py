"""Whether a run's closure variables are worth having, judged by its latents."""

from __future__ import annotations

import numpy as np
import xarray as xr

from macrodyn.dynamics.compensation import mean_increment
from macrodyn.dynamics.latents import LatentArrays
from macrodyn.evaluation.worth import Judged, judge_variables


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
    arrays = LatentArrays.from_dataset(latents)
    number = arrays.n_observables
    names = [str(name) for name in latents["variable"].values]
    candidates = {}
    if "candidates" in latents:
        values = latents["candidates"].transpose("candidate", "sample").values
        given = (str(name) for name in latents["candidate"].values)
        candidates = dict(zip(given, values.astype(np.float64), strict=True))
    if len(names) == number and not candidates:
        return None
    # Sums over the patches: where these have evolved for different times, they count by it.
    increment = mean_increment(arrays, seed=seed) * arrays.patches
    elapsed = arrays.elapsed.sum(axis=1)
    z = dict(zip(names, arrays.z.T, strict=True))
    return judge_variables(
        {name: z[name] for name in names[:number]},
        {name: z[name] for name in names[number:]},
        candidates,
        conditions=arrays.conditions,
        increment=increment[:, :number],
        elapsed=elapsed,
        age=latents["time"].values,
        group=arrays.group,
        seed=seed,
    )
