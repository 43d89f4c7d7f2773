"""What pairs tell of the observables alone, before there are closure variables."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.dynamics.compensation import control_variates, mean_increment
from macrodyn.dynamics.latents import LatentArrays

Floats = NDArray[np.float64]


def martingales(pairs: xr.Dataset) -> Floats | None:
    """What chance has made of the observables, [sample, patch, lag, observable], where known."""
    if "compensators" not in pairs:
        return None
    found: Floats = pairs.increments.values - pairs.compensators.values
    return found


def rate_excess(pairs: xr.Dataset) -> Floats | None:
    """Rates of patches less those of the whole, [sample, patch, observable], where known."""
    found: Floats | None = pairs.rate_excess.values if "rate_excess" in pairs else None
    return found


def observable_rates(pairs: xr.Dataset, *, seed: int) -> Floats:
    """Mean rates of change of the observables over each lag, less what is known of their noise.

    Args:
        pairs: Pairs of the partial scheme.
        seed: Seed of the division of groups (`compensate`).

    Returns:
        Shape [sample, lag, observable].
    """
    controls = control_variates(pairs.elapsed.values, martingales(pairs), rate_excess(pairs))
    z, found = pairs.z_observables.values, []
    for lag in range(pairs.sizes["lag"]):
        arrays = LatentArrays(
            z=z,
            increment=pairs.increments.values[:, :, lag],
            elapsed=pairs.elapsed.values[:, :, lag],
            controls=controls[:, :, lag],
            conditions=pairs.condition_values.values,
            group=np.asarray(pairs.group.values, np.int64),
            patches_total=int(pairs.attrs["patches_total"]),
            n_observables=z.shape[1],
        )
        found.append(mean_increment(arrays, seed=seed) / arrays.elapsed.mean(axis=1)[:, None])
    return np.stack(found, axis=1)
