"""When a trained model leaves: first passages, by trajectories and by quadrature."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from macrodyn.dynamics.first_passage import first_passages
from macrodyn.dynamics.one_variable import mean_passage
from macrodyn.model import Floats, Initial, MacroModel, ModelError
from macrodyn.model_stationary import Conditions, values_on_grid
from macrodyn.streams import torch_seed


def first_passage(
    model: MacroModel,
    region: Mapping[str, tuple[float, float]],
    initial: Initial,
    until: float,
    *,
    replicas: int,
    conditions: Conditions,
    size: Sequence[int] | None,
    step: float | None,
    seed: int,
) -> xr.Dataset:
    """See `MacroModel.first_passage`."""
    box = _box(model, region)
    step = model.step if step is None else step
    if not (step > 0 and until > step):
        raise ModelError(f"until is {until:g} and the step {step:g}: give more than one step")
    z0 = model.initial(initial, replicas, size=size, conditions=conditions, seed=seed)
    found = first_passages(
        model.with_mean,
        torch.as_tensor(z0),
        box,
        step=step,
        until=until,
        bounds=model.bounds(z0),
        noise=model.noise_scale(size),
        seed=torch_seed(seed, "first passage"),
        conditions=model.condition_row(conditions),
    )
    times = found.reshape(len(found), -1, replicas)
    reached = np.isfinite(times).mean(axis=-1)
    data: dict[str, Any] = {
        "time": (("model", "initial", "replica"), times),
        "reached": (("model", "initial"), reached),
        # A mean of those that arrived alone would be too short.
        "mean": (("model", "initial"), times.mean(axis=-1)),
        "standard_error": (
            ("model", "initial"),
            times.std(axis=-1, ddof=1) / math.sqrt(replicas)
            if replicas > 1
            else times[..., 0] * np.nan,
        ),
    }
    edges = next(iter(box.values()))
    if len(model.variables) == 1 and np.isinf(edges).sum() == 1:
        by_start = _passage_times(model, edges, z0[:, 0], conditions, size)
        mean = by_start.reshape(len(found), -1, replicas).mean(axis=-1)
        data["mean_by_quadrature"] = (("model", "initial"), mean)
    names = [*(f"member {m}" for m in range(model.ensemble.members)), "mean model"]
    return xr.Dataset(data, coords={"model": names}, attrs={"units": model.system.time_unit})


def _box(
    model: MacroModel, region: Mapping[str, tuple[float, float]]
) -> dict[int, tuple[float, float]]:
    names = list(model.variables)
    unknown = sorted(set(region) - set(names))
    if unknown or not region:
        told = f"names {', '.join(unknown)}" if unknown else "names no variable"
        raise ModelError(f"the region {told}: the variables are {', '.join(names)}")
    box = {names.index(name): (float(low), float(high)) for name, (low, high) in region.items()}
    for number, (low, high) in box.items():
        if not low < high:
            raise ModelError(f"the region of {names[number]}, {low:g} to {high:g}, is empty")
    return box


def _passage_times(
    model: MacroModel,
    edges: tuple[float, float],
    start: Floats,
    conditions: Conditions,
    size: Sequence[int] | None,
) -> Floats:
    """Mean times to the finite edge of a half line, of all members and the mean, [model, start]."""
    grid, drift, covariance = values_on_grid(model, conditions, size, "a mean first-passage time")
    up = math.isfinite(edges[0])
    if not up:
        grid, drift, covariance, start = -grid[::-1], -drift[:, ::-1], covariance[:, ::-1], -start
    edge = edges[0] if up else -edges[1]
    if not grid[0] < edge < grid[-1]:
        return np.full((len(drift), len(start)), np.nan)
    below = grid < edge
    cut = np.append(grid[below], edge)
    at = [
        np.concatenate([v[:, below], np.stack([np.interp([edge], grid, one) for one in v])], axis=1)
        for v in (drift, covariance)
    ]
    times = mean_passage(cut, *at)
    return np.stack([np.interp(start, cut, one, right=0.0) for one in times])
