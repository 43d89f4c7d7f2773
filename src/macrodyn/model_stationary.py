"""Where a trained model comes to rest: stationary densities, their moments, potentials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr

from macrodyn.dynamics.one_variable import potential as potential_on
from macrodyn.dynamics.one_variable import stationary_density
from macrodyn.dynamics.two_variables import MOST_VARIABLES
from macrodyn.dynamics.two_variables import stationary_density as density_on_cells
from macrodyn.model import Floats, MacroModel, ModelError
from macrodyn.streams import generator, torch_seed

Conditions = Mapping[str, float] | None

# Points of a quadrature: far finer than any density is wide.
_GRID = 20001
# Cells along each of two variables, and the share of the greatest marginal density that is left out
# beyond the ends of the grid.
_CELLS = (240, 160)
_LEFT_OUT = 1e-9
# Steps of the trajectories that show a stationary density, and records of each.
_STEPS = 2000
_RECORDS = 200


def stationary(
    model: MacroModel,
    conditions: Conditions,
    *,
    size: Sequence[int] | None,
    points: int,
    replicas: int,
    settle: float | None,
    until: float | None,
    seed: int,
) -> xr.Dataset:
    """See `MacroModel.stationary`."""
    if points < 2:
        raise ModelError(f"points is {points}: give 2 or more")
    if len(model.variables) == 1:
        return _by_quadrature(model, conditions, size, points)
    if len(model.variables) == MOST_VARIABLES and until is None and settle is None:
        return _on_cells(model, conditions, size, points)
    until = _STEPS * model.step if until is None else until
    settle = until / 2 if settle is None else settle
    if not 0 <= settle < until:
        raise ModelError(f"settle is {settle:g}: it must be less than until, {until:g}")
    domain = model.ensemble.domain
    low, high = np.array(domain.low), np.array(domain.high)
    unit = generator(seed, "stationary").random((replicas, len(low)))
    times = np.concatenate([[0.0], np.linspace(settle, until, _RECORDS + 1)[1:]])
    records = model.integrate(
        low + unit * (high - low),
        times,
        noise=model.noise_scale(size),
        seed=torch_seed(seed, "stationary"),
        conditions=conditions,
    )[:, :, 1:].astype(np.float64)
    kept, mean = records[list(model.kept)], records[-1]
    value = np.linspace(mean.min(axis=(0, 1)), mean.max(axis=(0, 1)), points, axis=1)
    density = _histograms(mean, value)
    of_members = np.stack([_histograms(member, value) for member in kept])
    return _dataset(
        model,
        value,
        density,
        of_members.std(axis=0, ddof=1) if len(kept) > 1 else np.full_like(density, np.nan),
        {
            "mean": _moment(kept, mean, lambda z: z.mean(axis=-2)),
            # Around the mean of all, so that states that part count.
            "std": _moment(kept, mean, lambda z: np.square(z - z.mean((0, 1))).mean(-2), np.sqrt),
        },
        _settled(mean),
    )


def potential(
    model: MacroModel, conditions: Conditions, *, size: Sequence[int] | None, points: int
) -> xr.DataArray:
    """See `MacroModel.potential`."""
    grid, drift, covariance = values_on_grid(model, conditions, size, "a potential")
    found = potential_on(grid, drift[-1], covariance[-1])
    value = np.linspace(grid[0], grid[-1], points)
    return xr.DataArray(
        np.interp(value, grid, found),
        dims="point",
        coords={"value": ("point", value)},
        name="potential",
        attrs={"long_name": f"-log of the stationary density of {model.variables[0]}"},
    )


def values_on_grid(
    model: MacroModel, conditions: Conditions, size: Sequence[int] | None, what: str
) -> tuple[Floats, Floats, Floats]:
    """Values of the one variable, and drift and covariance of the members and their mean there."""
    if len(model.variables) != 1:
        raise ModelError(
            f"{what} is of a model of one variable, this has {', '.join(model.variables)}"
        )
    ((low, high),) = _ends(model)
    grid = np.linspace(low, high, _GRID)
    drift, covariance = _at(model, grid[:, None], conditions, size, what)
    return grid, drift[..., 0], covariance[..., 0, 0]


def _ends(model: MacroModel) -> list[tuple[float, float]]:
    """Between what values each variable lies in a prediction from the data that were learned."""
    domain = model.ensemble.domain
    return model.bounds([domain.low, domain.high])


def _at(
    model: MacroModel, z: Floats, conditions: Conditions, size: Sequence[int] | None, what: str
) -> tuple[Floats, Floats]:
    """Drift and covariance of the members and their mean at z [N, d]: [model, N, ...]."""
    states = torch.as_tensor(z, dtype=torch.float32)
    with torch.no_grad():
        drift, factor = model.with_mean(
            states.expand(model.with_mean.members, -1, -1), model.condition_row(conditions)
        )
    if factor is None:
        raise ModelError(f"{what} needs noise, which this model has not")
    covariance = (factor @ factor.mT).double().numpy()
    return drift.double().numpy(), covariance * model.noise_scale(size) ** 2


def _on_cells(
    model: MacroModel, conditions: Conditions, size: Sequence[int] | None, points: int
) -> xr.Dataset:
    """The density of two variables: on all that they can be, then on where it is."""
    ends = np.array(_ends(model), dtype=np.float64)

    def solve(ends: Floats, some: slice) -> tuple[list[Floats], Floats]:
        axes = [
            low + (high - low) * (np.arange(cells) + 0.5) / cells
            for (low, high), cells in zip(ends, _CELLS, strict=True)
        ]
        z = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        drift, covariance = (
            found[some].reshape(-1, *_CELLS, *found.shape[2:])
            for found in _at(model, z.reshape(-1, 2), conditions, size, "a density on cells")
        )
        densities = [
            density_on_cells(axes[0], axes[1], mu, rate)
            for mu, rate in zip(drift, covariance, strict=True)
        ]
        return axes, np.stack(densities)

    # Twice, as the first grid may be coarse beside what it finds. The mean model says where.
    for _ in range(2):
        axes, (joint,) = solve(ends, slice(-1, None))
        for k in range(2):
            marginal = joint.sum(axis=1 - k)
            there = np.flatnonzero(marginal > _LEFT_OUT * marginal.max())
            width = axes[k][1] - axes[k][0]
            ends[k] = axes[k][there[0]] - width, axes[k][there[-1]] + width
    axes, joints = solve(ends, slice(None))
    kept = list(model.kept)

    spread = partial(_spread, kept)
    value = np.linspace(ends[:, 0], ends[:, 1], points, axis=1)
    shown, means, stds = [], [], []
    for k, axis in enumerate(axes):
        marginal = joints.sum(axis=2 - k)
        weight = marginal / marginal.sum(axis=1, keepdims=True)
        density = weight / (axis[1] - axis[0])
        shown.append(np.stack([np.interp(value[k], axis, one) for one in density]))
        means.append(weight @ axis)
        stds.append(np.sqrt((weight * np.square(axis - means[-1][:, None])).sum(axis=1)))
    density, mean, std = np.stack(shown, axis=1), np.stack(means, axis=1), np.stack(stds, axis=1)
    found = _dataset(
        model,
        value,
        density[-1],
        spread(density),
        {"mean": (mean[-1], spread(mean)), "std": (std[-1], spread(std))},
        np.array([True, True]),
    )
    found["joint_density"] = (("first", "second"), joints[-1])
    found["density_of_members"] = (("member", "variable", "point"), density[kept])
    return found.assign_coords(first=axes[0], second=axes[1])


def _by_quadrature(
    model: MacroModel, conditions: Conditions, size: Sequence[int] | None, points: int
) -> xr.Dataset:
    grid, drift, covariance = values_on_grid(model, conditions, size, "a density by quadrature")
    density = stationary_density(grid, drift, covariance)
    weight = density * np.gradient(grid)
    weight /= weight.sum(axis=1, keepdims=True)
    means = weight @ grid
    stds = np.sqrt((weight * np.square(grid - means[:, None])).sum(axis=1))
    kept = list(model.kept)

    spread = partial(_spread, kept)
    value = np.linspace(grid[0], grid[-1], points)
    shown = np.stack([np.interp(value, grid, each) for each in density])
    found = _dataset(
        model,
        value[None],
        shown[[-1]],
        spread(shown)[None],
        {
            "mean": (means[[-1]], spread(means).reshape(1)),
            "std": (stds[[-1]], spread(stds).reshape(1)),
        },
        np.array([True]),
    )
    return found.assign(density_of_members=(("member", "variable", "point"), shown[kept][:, None]))


def _spread(kept: list[int], values: Floats) -> Floats:
    """Standard deviation over the members kept; unknown of a single one."""
    found: Floats = values[kept].std(axis=0, ddof=1) if len(kept) > 1 else values[0] * np.nan
    return found


def _histograms(z: Floats, value: Floats) -> Floats:
    """Densities of each variable of [replica, time, variable] at the values, [variable, point]."""
    found = []
    for k, centres in enumerate(value):
        width = centres[1] - centres[0]
        edges = np.append(centres - width / 2, centres[-1] + width / 2)
        counts, _ = np.histogram(z[..., k], edges)
        found.append(counts / max(z[..., k].size * width, 1e-300))
    return np.stack(found)


def _moment(kept: Floats, mean: Floats, measure: Any, finish: Any = None) -> tuple[Floats, Floats]:
    """A moment of the mean model, with the error of members and sampling, [variable] each."""
    by_replica = measure(mean)
    of_members = np.stack([measure(member).mean(axis=0) for member in kept])
    finish = finish or (lambda v: v)
    value = finish(by_replica.mean(axis=0))
    sampling = by_replica.std(axis=0, ddof=1) / math.sqrt(len(by_replica))
    if finish is np.sqrt:
        sampling = sampling / np.maximum(2.0 * value, 1e-300)
    members = finish(of_members).std(axis=0, ddof=1) if len(kept) > 1 else 0.0
    return value, np.hypot(sampling, members)


def _settled(z: Floats) -> np.ndarray:
    """Whether both halves of the records have one mean and one variance, within four errors."""
    half = z.shape[1] // 2
    agree = np.ones(z.shape[-1], dtype=np.bool_)
    for values in (z, np.square(z - z.mean(axis=(0, 1)))):
        change = values[:, half:].mean(axis=1) - values[:, :half].mean(axis=1)
        error = change.std(axis=0, ddof=1) / math.sqrt(len(change))
        agree &= np.abs(change.mean(axis=0)) <= 4.0 * error
    return agree


def _dataset(
    model: MacroModel,
    value: Floats,
    density: Floats,
    error: Floats,
    moments: Mapping[str, tuple[Floats, Floats]],
    settled: np.ndarray,
) -> xr.Dataset:
    named = {}
    for name, (found, apart) in moments.items():
        named[name] = ("variable", found)
        named[f"{name}_error"] = ("variable", apart)
    return xr.Dataset(
        {
            "density": (("variable", "point"), density),
            "density_error": (("variable", "point"), error),
            "settled": ("variable", settled),
            **named,
        },
        coords={
            "variable": list(model.variables),
            "value": (("variable", "point"), value),
        },
    )
