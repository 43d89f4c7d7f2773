"""Snapshots as samples: the form in which stages hand them on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.paths import StrPath
from macrodyn.sampling.variables import axis_names
from macrodyn.storage.netcdf import read_dataset


def snapshots(path: StrPath, scope: str, config: dict[str, Any]) -> xr.Dataset:
    """Read snapshots as samples; of small systems as many as the patches of the partial scheme."""
    data = read_dataset(path)
    if scope != "small":
        return data
    data = data.isel(replica=slice(config["snapshots"] * config["evolve"]["patches"]))
    return as_samples(data, data.states.values)


def as_samples(
    source: xr.Dataset, states: NDArray, ages: Sequence[float] | None = None
) -> xr.Dataset:
    """Lay snapshots out as samples, each with its macrostate, conditions, group, time and number.

    Args:
        source: The small snapshots that they are or were made of, [group, time, ...].
        states: Shape [group, time, snapshot, channel, *lattice].
        ages: Their times, shape [time]; those of the small snapshots if left out.
    """
    groups, times, each, *state = states.shape
    per_group = times * each
    number = source.group.values[:, None] * per_group + np.arange(per_group)

    def repeated(name: str) -> NDArray:
        return np.repeat(source[name].values, per_group, axis=0)

    return xr.Dataset(
        {
            "states": (
                ("sample", "channel", *axis_names(len(state) - 1)),
                states.reshape(-1, *state),
            ),
            "macrostate": (("sample", "component"), repeated("macrostate")),
            "condition_values": (("sample", "condition"), repeated("condition_values")),
            "group": ("sample", repeated("group")),
            "time": (
                "sample",
                np.tile(np.repeat(source.time.values if ages is None else ages, each), groups),
                source.time.attrs,
            ),
            "number": ("sample", number.ravel()),
        },
        coords={
            "condition": condition_names(source),
            "component": source.component.values,
        },
    )


def condition_names(data: xr.Dataset) -> list[str]:
    """Return the names of the conditions of samples or groups."""
    return [str(name) for name in data.condition.values]
