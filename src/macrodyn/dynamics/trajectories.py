"""Trajectories of a trained ensemble."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.dynamics.mean_model import WithMean
from macrodyn.dynamics.walls import Bounds, Walls
from macrodyn.learning.memory import keep_freed_memory
from macrodyn.storage.checkpoints import Checkpoints, fingerprint

# Replicas advanced together on a CPU: enough that a step is more than the calls it takes.
_CHUNK = 2048
# How much longer than wanted a step may be, relatively: differences of times are rounded.
_STEP_TOLERANCE = 1e-6


def integrate(
    model: Ensemble | WithMean,
    z0: Tensor,
    times: Tensor | np.ndarray | Sequence[float],
    *,
    step: float,
    bounds: Bounds | None = None,
    noise: float = 1.0,
    seed: int = 0,
    conditions: Tensor | None = None,
    device: str | torch.device | None = None,
    on_divergence: Literal["raise", "nan"] = "raise",
    progress: Callable[[int, int], None] | None = None,
    checkpoints: Checkpoints | None = None,
) -> Tensor:
    """Simulate R trajectories of each of the E members, with independent noise.

    z += mu(z) h + s L(z) sqrt(h) xi with the scale of the noise s, and the classical Runge-Kutta
    scheme for a model without noise. Each recording interval is divided into equal substeps, as
    few as make none longer than `step` (to within 1e-6 of it, for times that are rounded). A
    component that leaves its bounds is
    reflected at them, see `Walls`; linear relations of the ensemble hold to rounding.

    Args:
        model: The ensemble, or one with its mean model as a further member.
        z0: Initial states, shape [R, d] (the same for every member) or [E, R, d].
        times: Recording times, increasing, shape [T]; z0 holds at times[0].
        step: Longest substep, in units of physical time.
        bounds: (low, high) of each component; infinite values leave a side open.
        noise: Scale s of the noise: the covariance rate is s^2 Sigma. For a system of other size
            than the model was trained on, see `Ensemble.noise_scale`.
        seed: Seed of the Brownian increments.
        conditions: Shape [R, c] or [1, c]; None if the model has none.
        device: Where to integrate; the model's own device if None.
        on_divergence: Whether trajectories that are not finite raise or are returned as nan.
        progress: Called as progress(done, total) in units of recording intervals.
        checkpoints: Where to keep checkpoints; none by default. They stay, for whoever saves the
            trajectories to remove.

    Returns:
        States, shape [E, R, T, d], float32, on the CPU; the first record is z0.

    Raises:
        ValueError: If shapes, times, step or bounds do not fit.
        FloatingPointError: If a trajectory diverges.
        Interrupted: If the checkpoints say that the integration shall stop.

    Source: Kloeden and Platen (1992), section 10.2.
    """
    model = _on_device(model, device)
    target = model.z_mean.device
    z0 = _initial_states(z0, model)
    plan = _substeps(torch.as_tensor(np.asarray(times, dtype=np.float64)), step)
    walls = None if bounds is None else Walls.of(bounds, model.variables, model.constraint, target)
    members, replicas, d = z0.shape
    given = _given_conditions(conditions, model, replicas)
    chunk = replicas
    if target.type == "cpu":
        chunk = _CHUNK
        keep_freed_memory()
    course = _Course(
        records=torch.empty(members, replicas, len(plan) + 1, d),
        z=z0[:, :0].to(target),
        generator=torch.Generator(target).manual_seed(seed),
    )
    if checkpoints is not None:
        tensors = [*model.state_dict().values(), z0, *([] if given is None else [given])]
        settings = {
            "plan": plan,
            "bounds": str(bounds),
            "seed": seed,
            "chunk": chunk,
            "noise": noise,
        }
        course.resume(checkpoints.open(fingerprint(settings, *tensors)))
    starts = range(0, replicas, chunk)
    total = len(starts) * len(plan)
    with torch.inference_mode():
        course.records[:, :, 0] = z0
        for number, start in enumerate(starts):
            first = course.done - number * len(plan)
            if first >= len(plan):
                continue
            rows = slice(start, min(start + chunk, replicas))
            own = None if given is None else given[rows]
            if first == 0:
                course.z = z0[:, rows].to(target).clone()
            for interval, substeps in enumerate(plan[first:], start=first):
                course.z = _advance(model, course.z, own, substeps, walls, course.generator, noise)
                course.records[:, rows, interval + 1] = course.z.cpu()
                course.done += 1
                if progress is not None:
                    progress(course.done, total)
                if checkpoints is not None:
                    checkpoints.after(course.done, total, course.state)
    if checkpoints is not None:
        checkpoints.close()
    _check_finite(course.records, on_divergence)
    return course.records


@dataclass(kw_only=True)
class _Course:
    """How far an integration is: everything that its next recording interval depends on.

    Attributes:
        records: Recorded states, shape [E, R, T, d], on the CPU.
        z: States of the chunk of replicas at hand, shape [E, chunk, d].
        generator: Draws the Brownian increments.
        done: Recording intervals done, of all chunks.
    """

    records: Tensor
    z: Tensor
    generator: torch.Generator
    done: int = 0

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a checkpoint keeps, but for the intervals done."""
        generator = self.generator.get_state()
        return {"records": self.records, "z": self.z, "generator": generator}, {}

    def resume(self, stored: tuple[dict[str, NDArray], dict[str, Any], int] | None) -> None:
        """Take up an integration where a checkpoint left it, if there is one."""
        if stored is None:
            return
        kept, _, self.done = stored
        self.records = torch.tensor(kept["records"])
        self.z = torch.tensor(kept["z"], device=self.z.device)
        self.generator.set_state(torch.tensor(kept["generator"]))


def _advance(
    model: Ensemble | WithMean,
    z: Tensor,
    conditions: Tensor | None,
    substeps: tuple[int, float],
    walls: Walls | None,
    generator: torch.Generator,
    scale: float,
) -> Tensor:
    """Take the substeps (number, length) of a recording interval, within the walls."""
    count, h = substeps
    for _ in range(count):
        before = z
        drift, factor = model(z, conditions)
        if factor is None:
            z = _runge_kutta(model, z, conditions, h, drift)
        else:
            z = euler_step(z, drift, factor, h, generator, scale)
        if walls is not None:
            z = walls.reflect(before, z)
    # Nothing else undoes the rounding of many steps, off which the drift does not lead.
    return z if model.constraint is None else model.constraint.project(z)


def euler_step(
    z: Tensor, drift: Tensor, factor: Tensor, h: float, generator: torch.Generator, scale: float
) -> Tensor:
    """One step z + mu h + s L sqrt(h) xi of the Euler-Maruyama scheme."""
    size = (*z.shape[:-1], factor.shape[-1])
    noise = torch.randn(size, generator=generator, device=z.device)
    kick = (factor * noise.unsqueeze(-2)).sum(-1)
    return z.add(drift, alpha=h).add_(kick, alpha=scale * math.sqrt(h))


def _runge_kutta(
    model: Ensemble | WithMean, z: Tensor, conditions: Tensor | None, h: float, first: Tensor
) -> Tensor:
    """One step of the classical fourth-order scheme, for a model without noise."""
    second = model.drift(z + 0.5 * h * first, conditions)
    third = model.drift(z + 0.5 * h * second, conditions)
    fourth = model.drift(z + h * third, conditions)
    return z + h / 6.0 * (first + 2.0 * (second + third) + fourth)


def _on_device(
    model: Ensemble | WithMean, device: str | torch.device | None
) -> Ensemble | WithMean:
    """The model itself if it is there already, else a copy."""
    if device is None or torch.device(device) == model.z_mean.device:
        return model
    return copy.deepcopy(model).to(device)


def _initial_states(z0: Tensor, model: Ensemble | WithMean) -> Tensor:
    """Initial states of every member, shape [E, R, d]."""
    members, d = model.members, model.variables
    z0 = torch.as_tensor(z0, dtype=torch.float32)
    if z0.dim() == 2:
        z0 = z0.expand(members, *z0.shape)
    if z0.dim() != 3 or z0.shape[0] != members or z0.shape[2] != d:
        raise ValueError(f"z0 must be [R, {d}] or [{members}, R, {d}], got {tuple(z0.shape)}")
    return z0


def _given_conditions(
    conditions: Tensor | None, model: Ensemble | WithMean, replicas: int
) -> Tensor | None:
    """Conditions of every replica, shape [R, c]; None if the model has none."""
    number = model.conditions
    if not number:
        return None
    if conditions is None:
        raise ValueError(f"The model needs {number} condition(s)")
    given = torch.as_tensor(conditions, dtype=torch.float32).expand(replicas, -1)
    return given.to(model.z_mean.device)


def substep_count(interval: float, step: float) -> int:
    """Fewest equal steps of which none is longer than `step`, to within 1e-6 of it."""
    return max(1, math.ceil(interval / step * (1.0 - _STEP_TOLERANCE)))


def _substeps(times: Tensor, step: float) -> list[tuple[int, float]]:
    """Number and length of the substeps of each recording interval, none longer than `step`."""
    if not step > 0:
        raise ValueError(f"step must be positive, got {step}")
    if times.dim() != 1 or len(times) < 1:
        raise ValueError(f"times must have one dimension, got shape {tuple(times.shape)}")
    intervals = times.diff()
    if not bool((intervals > 0).all()):
        raise ValueError("times must increase")
    counts = [substep_count(float(interval), step) for interval in intervals]
    return [(n, float(interval) / n) for n, interval in zip(counts, intervals, strict=True)]


def _check_finite(records: Tensor, on_divergence: str) -> None:
    finite = torch.isfinite(records).all(-1)
    if on_divergence == "nan" or bool(finite.all()):
        return
    lost = ~finite
    member, _, _ = (int(i) for i in torch.nonzero(lost)[0])
    raise FloatingPointError(
        f"{int(lost[..., -1].sum())} of {lost[..., -1].numel()} trajectories diverged, first in "
        f"member {member}, from record {int(torch.nonzero(lost)[:, 2].min())} on: use a smaller "
        "step, bounds for every variable, or fewer closure variables"
    )
