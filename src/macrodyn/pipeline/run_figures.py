"""The figures of one run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from macrodyn.dynamics.model import EnsembleSDE
from macrodyn.evaluation.figures_cost import TrainingCurve, training_curves
from macrodyn.evaluation.figures_dynamics import (
    equilibrium_histograms,
    learned_drift_diffusion,
    markov_lags,
    trajectories,
)
from macrodyn.evaluation.figures_sampling import SnapshotLevel, snapshots
from macrodyn.pipeline.compare import Comparison
from macrodyn.systems import System

MAX_POINTS = 4000


def snapshot_figure(
    small: xr.Dataset, large: xr.Dataset, reference: xr.Dataset, system: System, title: str
) -> Figure:
    """Snapshots of each upsampling level beside true ones.

    The upsampled example is the one whose magnetisation is nearest to the true snapshot's, as only
    snapshots of the same macrostate can be compared by eye.
    """
    truth = reference.final_states.values
    goal = system.observe(truth[:1])[0]
    numbers = sorted(int(str(n).split("_")[1]) for n in large.data_vars if str(n).endswith("_raw"))
    first = small.states.values[:, small.sizes["time"] // 2, 0]
    levels = [SnapshotLevel(upsampled=None, relaxed=_nearest(first, system, goal))]
    for number in numbers:
        raw = large[f"level_{number}_raw"].values
        relaxed = large[f"level_{number}_relaxed"].values
        best = _nearest_index(relaxed, system, goal)
        last = number == numbers[-1]
        levels.append(
            SnapshotLevel(
                upsampled=raw[best], relaxed=relaxed[best], direct=truth[0] if last else None
            )
        )
    if not numbers:
        levels = [SnapshotLevel(upsampled=None, relaxed=levels[0].relaxed, direct=truth[0])]
    return snapshots(levels, dimension=system.dimension, title=title)


def _nearest_index(states: NDArray, system: System, goal: NDArray[np.float64]) -> int:
    return int(np.argmin(np.abs(system.observe(states) - goal)[:, 0]))


def _nearest(states: NDArray, system: System, goal: NDArray[np.float64]) -> NDArray:
    return states[_nearest_index(states, system, goal)]


def comparison_figures(
    comparison: Comparison, system: System, horizon: str, title: str
) -> Iterator[tuple[str, str, Figure]]:
    """Trajectories and equilibrium distributions of one horizon."""
    initial = comparison.initial
    for method, prediction in comparison.predictions.items():
        yield (
            "trajectories",
            f"{horizon}-{method}",
            trajectories(
                comparison.time,
                initial,
                comparison.reference,
                prediction,
                list(system.observables),
                time_unit=system.time_unit,
                title=f"{title}, {horizon}, {method}",
            ),
        )
    others = {k: v for k, v in comparison.equilibria.items() if k != "ours"}
    yield (
        "equilibrium",
        horizon,
        equilibrium_histograms(
            comparison.equilibria["ours"],
            list(system.observables),
            baselines=others,
            title=f"{title}, {horizon}",
        ),
    )


def dynamics_figures(
    latents: xr.Dataset,
    diagnostic: xr.Dataset,
    ensemble: EnsembleSDE,
    system: System,
    title: str,
    seed: int,
) -> Iterator[tuple[str, Figure]]:
    """Learned drift and diffusion, and the Markov diagnostic."""
    count = latents.sizes["sample"]
    chosen = np.random.default_rng(seed).permutation(count)[:MAX_POINTS]
    z = latents.z.values[chosen]
    given = latents.condition_values.values[chosen]
    with torch.inference_mode():
        inputs = torch.as_tensor(z, dtype=torch.float32)
        conditions = torch.as_tensor(given, dtype=torch.float32) if given.shape[1] else None
        drift = ensemble.drift(inputs, conditions).numpy()
        covariance = ensemble.covariance(inputs, conditions).numpy()
    n_observables = len(system.observables)
    common: dict[str, Any] = {
        "n_observables": n_observables,
        "time_unit": system.time_unit,
        "title": title,
    }
    yield "drift_diffusion", learned_drift_diffusion(diagnostic, z, drift, covariance, **common)
    yield "markov", markov_lags(diagnostic, **common)


def training_figure(
    closure: dict[str, Any], dynamics: dict[str, dict[str, Any]], title: str
) -> Figure:
    """Losses of the closure and of the dynamics against the optimiser's steps."""
    models: dict[str, list[TrainingCurve]] = {}
    if closure["steps"]:
        models["closure"] = [
            TrainingCurve(
                training_step=closure["steps"],
                training_loss=closure["training_loss"],
                validation_step=closure["steps"],
                validation_loss=closure["validation_loss"],
            )
        ]
    for method, history in dynamics.items():
        training, validation = np.array(history["train_nll"]), np.array(history["validation_nll"])
        models[f"dynamics, {method}"] = [
            TrainingCurve(
                training_step=history["steps"],
                training_loss=training[:, member],
                validation_step=history["steps"],
                validation_loss=validation[:, member],
            )
            for member in range(training.shape[1])
        ]
    return training_curves(models, title=title)
