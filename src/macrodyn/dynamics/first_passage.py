"""First passages of trajectories into a region, also between two steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.dynamics.mean_model import WithMean
from macrodyn.dynamics.trajectories import euler_step
from macrodyn.dynamics.walls import Bounds, Walls

Region = Mapping[int, tuple[float, float]]
"""Low and high of some variables, by their numbers: a box, open towards the others."""


def first_passages(
    model: Ensemble | WithMean,
    z0: Tensor,
    region: Region,
    *,
    step: float,
    until: float,
    bounds: Bounds | None = None,
    noise: float = 1.0,
    seed: int = 0,
    conditions: Tensor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64]:
    """Times at which trajectories first lie in a region.

    A path that is seen every h only may have been in and out again between. Where the region is
    that of one variable, whether it has crossed the edge is drawn from the probability of a
    Brownian bridge, exp(-2 (a - x)(a - y) / (D h)) for both ends x, y on one side of a; a time
    within a step is its middle. Else the ends of steps tell, and times come out late by the order
    of the root of h.

    Args:
        model: The ensemble of E members, with its mean model or without.
        z0: Initial states, shape [R, d].
        region: The region.
        step: Step h.
        until: Time after which trajectories are given up.
        bounds: As of `integrate`.
        noise: Scale of the noise.
        seed: Seed of the noise.
        conditions: Shape [1, c]; None if the model has none.
        progress: Called with steps done and in all.

    Returns:
        Shape [E, R]; NaN for those that have not arrived. 0 for those that begin there.

    Raises:
        ValueError: If the model has no noise, or there is no region.

    Source: Gobet (2000), Stochastic Processes and their Applications 87, 167, for the bridge.
    """
    if not region:
        raise ValueError("The region is everything: name a variable with low and high")
    d, device = model.variables, model.z_mean.device
    low, high = torch.full((d,), -math.inf), torch.full((d,), math.inf)
    for variable, (least, most) in region.items():
        low[variable], high[variable] = least, most
    walls = None if bounds is None else Walls.of(bounds, d, model.constraint, device)
    generator = torch.Generator(device).manual_seed(seed)
    z = z0.to(torch.float32).expand(model.members, *z0.shape).clone()
    found = torch.full(z.shape[:2], math.nan, dtype=torch.float64)
    arrived = _inside(z, low, high)
    found[arrived] = 0.0
    count = math.ceil(until / step * (1 - 1e-9))
    with torch.inference_mode():
        for number in range(count):
            before = z
            drift, factor = model(z, conditions)
            if factor is None:
                raise ValueError("The model has no noise: its trajectories are all alike")
            z = euler_step(z, drift, factor, step, generator, noise)
            if walls is not None:
                z = walls.reflect(before, z)
            entered = _inside(z, low, high)
            if len(region) == 1:
                ((variable, edges),) = region.items()
                variance = factor[..., variable, :].square().sum(-1) * noise**2 * step
                chance = _crossed(before[..., variable], z[..., variable], edges, variance)
                drawn = torch.rand(chance.shape, generator=generator, device=device)
                entered |= drawn < chance
            new = entered & ~arrived
            found[new] = (number + 0.5) * step
            arrived |= new
            if progress is not None:
                progress(number + 1, count)
            if bool(arrived.all()):
                break
    return found.numpy()


def _inside(z: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return ((z >= low) & (z <= high)).all(-1)


def _crossed(x: Tensor, y: Tensor, edges: tuple[float, float], variance: Tensor) -> Tensor:
    """Probability that a path from x to y, both outside, has been inside."""
    found = torch.zeros_like(x)
    for edge, side in zip(edges, (1.0, -1.0), strict=True):
        if math.isfinite(edge):
            gaps = side * (edge - x), side * (edge - y)
            outside = (gaps[0] > 0) & (gaps[1] > 0)
            chance = torch.exp(-2.0 * gaps[0] * gaps[1] / variance)
            found = torch.where(outside, torch.maximum(found, chance), found)
    return found
