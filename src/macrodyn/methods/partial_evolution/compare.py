"""The evaluation stage: what a run's predictions are worth, in numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.evaluation import (
    EquilibriumComparison,
    align,
    equilibrium,
    markov_diagnostic,
    mmd_at_equilibrium,
    mmd_at_times,
    mmd_over_times,
    replica_mean_error,
    replica_spread_error,
    sampling_error,
    spread_indices,
)
from macrodyn.evaluation.available import Findings
from macrodyn.evaluation.order import (
    is_order_parameter,
    order_of_density,
    order_of_members,
    order_of_samples,
)
from macrodyn.evaluation.sampled import SampledEquilibrium, sampled_equilibrium
from macrodyn.methods.partial_evolution.cases import Case
from macrodyn.methods.partial_evolution.compare_members import (
    explain_members,
    mean_model_merits,
    member_merits,
)
from macrodyn.methods.partial_evolution.config import HorizonConfig
from macrodyn.methods.partial_evolution.sample import horizon_times
from macrodyn.storage.errors import refusal
from macrodyn.storage.netcdf import read_dataset
from macrodyn.systems import PatchSystem

MMD_TIMES = 4


@dataclass(frozen=True)
class Comparison:
    """Predictions of one horizon, beside the reference if there is one, as arrays.

    Attributes:
        time: Record times, [time].
        initial: Initial macrostates, [initial, component].
        components: Names of their components.
        reference: Observables by direct simulation, [initial, replica, time, observable]; None
            where there is none.
        predictions: By method, [member, initial, replica, time, observable].
        equilibria: Late-time comparison by method, of those that have one.
    """

    time: NDArray[np.float64]
    initial: NDArray[np.float64]
    components: tuple[str, ...]
    reference: NDArray[np.float64] | None
    predictions: dict[str, NDArray[np.float64]]
    equilibria: dict[str, EquilibriumComparison]


def compare_horizon(
    reference: xr.Dataset,
    predictions: dict[str, Path],
    horizon: HorizonConfig,
    fraction: float,
    seed: int,
    findings: Findings | None = None,
    outliers: Mapping[str, Sequence[int]] | None = None,
) -> tuple[Comparison, dict[str, Any]]:
    """Compare the predictions of all methods on one horizon with direct simulation.

    Args:
        reference: The reference, with the record times of all horizons.
        predictions: Prediction file of each method.
        horizon: The horizon.
        fraction: Late part that is taken for equilibrium.
        seed: Seed of bootstrap and of subsampling.
        findings: Of this horizon; notes which figures of merit cannot be had, and why.
        outliers: Members of each method whose drift leaves the others.

    Returns:
        The arrays, for figures, and the figures of merit; None for those that cannot be had.
    """
    findings = Findings() if findings is None else findings
    direct = reference.sel(time=horizon_times(horizon))
    arrays: dict[str, NDArray[np.float64]] = {}
    equilibria: dict[str, EquilibriumComparison] = {}
    metrics: dict[str, Any] = {}
    names = [str(n) for n in reference.observable.values]
    truth = direct.observables.values
    late = sorted({round(f * (horizon.points - 1)) for f in np.linspace(0, 1, MMD_TIMES + 1)[1:]})
    for method, path in predictions.items():
        predicted = read_dataset(path)
        prediction, truth = align(predicted, direct)
        arrays[method] = prediction
        metrics[method], settled = _merits(
            prediction, truth, names, horizon, late, fraction, seed, findings.below(method)
        )
        if settled is not None:
            equilibria[method] = settled
        metrics[method]["range"] = range_shares(predicted, path)
        metrics[method]["members"] = member_merits(
            prediction, metrics[method], (outliers or {}).get(method, ()), fraction
        )
        metrics[method]["mean_model"] = mean_model_merits(
            predicted, truth, horizon.points, seed, findings.below(method, "mean_model")
        )
        explain_members(metrics[method], findings.below(method, "members"))
    # What an exact model would score that is predicted by as many trajectories as a member.
    scored = arrays.get("ours", next(iter(arrays.values()), None))
    exact = findings.attempt(
        "sampling_error",
        lambda: sampling_error(
            truth, seed=seed, prediction_replicas=None if scored is None else scored.shape[2]
        ),
    )
    metrics["sampling_error"] = None if exact is None else exact.summary()
    findings.below("sampling_error").lack_all({} if exact is None else exact.undefined())
    time = np.array(horizon_times(horizon))
    initial = reference.initial_values.transpose("initial", "component").values
    components = tuple(str(n) for n in reference.component.values)
    comparison = Comparison(
        time, np.asarray(initial, np.float64), components, truth, arrays, equilibria
    )
    return comparison, metrics


def compare_sampled(
    chains: xr.Dataset,
    comparison: Comparison,
    prediction: xr.Dataset,
    fraction: float,
    findings: Findings,
) -> SampledEquilibrium | None:
    """Compare late trajectories with an equilibrium that was sampled without the dynamics.

    Where the model has stationary densities, these are compared.

    Args:
        chains: The samples.
        comparison: Direct and predicted trajectories.
        prediction: The prediction, which has the stationary densities.
        fraction: Late part that is taken for equilibrium.
        findings: Of this place; notes why there is no comparison, if there is none.
    """
    values = chains.observables.transpose("initial", "replica", "sample", "observable").values
    return findings.attempt(
        "",
        lambda: sampled_equilibrium(
            values,
            comparison.reference,
            comparison.predictions["ours"],
            comparison.time,
            fraction=fraction,
            stationary=_stationary_means(prediction, values.shape[-1]),
        ),
    )


def _stationary_means(prediction: xr.Dataset, observables: int) -> NDArray[np.float64] | None:
    """Means of the members' stationary densities, [member, observable]; None if there are none."""
    if "stationary_density" not in prediction:
        return None
    value, density = prediction.stationary_value.values, prediction.stationary_density.values
    means: NDArray[np.float64] = (density * value).sum(axis=-1) / density.sum(axis=-1)
    return means[:, :observables]


def order_of_case(
    case: Case,
    system: PatchSystem,
    chains: xr.Dataset,
    prediction: xr.Dataset,
    trajectories: NDArray[np.float64],
    fraction: float,
) -> dict[str, Any]:
    """Moments of order parameters at one place: sampled, and of the stationary density.

    Args:
        case: What was predicted.
        system: The system; its own parameters are those of the case where that has none.
        chains: The sampled equilibrium.
        prediction: The prediction.
        trajectories: What is predicted, shape [member, ..., time, variable].
        fraction: Late part of it, which stands in where there is no density.

    Returns:
        ``lattice``, the numbers among the ``parameters``, and ``moments`` by observable, each
        ``sampled``, and ``predicted`` where there is such a density, else ``late``: of trajectories
        that may not have come to equilibrium.
    """
    points = max(1, round(fraction * trajectories.shape[-2]))
    late = trajectories[..., -points:, :].reshape(len(trajectories), -1, trajectories.shape[-1])
    given = system.parameters.model_dump() | case.parameters
    values = chains.observables.transpose("initial", "replica", "sample", "observable").values
    moments: dict[str, Any] = {}
    for k, observable in enumerate(system.observables):
        if is_order_parameter(observable.bounds):
            chains_of = values[..., k].reshape(-1, values.shape[2])
            moments[observable.name] = {"sampled": order_of_samples(chains_of)}
            if "stationary_density" in prediction:
                moments[observable.name]["predicted"] = order_of_density(
                    prediction.stationary_value.values[k],
                    prediction.stationary_density.values[:, k],
                )
            elif np.isfinite(late).all():
                moments[observable.name]["late"] = order_of_members(late[..., k])
    return {
        "lattice": list(case.large),
        "parameters": {k: float(v) for k, v in given.items() if type(v) in (int, float)},
        "moments": moments,
    }


def _merits(
    prediction: NDArray[np.float64],
    truth: NDArray[np.float64],
    names: list[str],
    horizon: HorizonConfig,
    late: list[int],
    fraction: float,
    seed: int,
    findings: Findings,
) -> tuple[dict[str, Any], EquilibriumComparison | None]:
    """Figures of merit of one method on one horizon, and its late-time comparison."""
    settled = findings.attempt(
        "equilibrium", lambda: equilibrium(prediction, truth, fraction=fraction)
    )
    if settled is not None:
        findings.below("equilibrium").lack_all(settled.undefined(names))
    times = [str(horizon_times(horizon)[t]) for t in late]
    makers: dict[str, Callable[[], Any]] = {
        "test_error": lambda: replica_mean_error(prediction, truth).summary(),
        "spread_error": lambda: replica_spread_error(prediction, truth).summary(),
        "mmd": lambda: mmd_over_times(
            prediction, truth, spread_indices(horizon.points), seed=seed
        ).summary(),
        "mmd_equilibrium": lambda: mmd_at_equilibrium(
            prediction, truth, fraction=fraction, seed=seed
        ).summary(),
        "mmd_at_times": lambda: {
            time: [d.summary() for d in row]
            for time, row in zip(
                times, mmd_at_times(prediction, truth, late, seed=seed), strict=True
            )
        },
    }
    merits = {key: findings.attempt(key, make) for key, make in makers.items()}
    for key in ("test_error", "spread_error"):
        error = merits[key]
        if error is not None and math.isnan(error["std"]):
            findings.lack(f"{key}.std", "a member diverged")
    merits["equilibrium"] = None if settled is None else settled.summary(names)
    return merits, settled


def range_shares(prediction: xr.Dataset, path: Path) -> dict[str, float]:
    """Read which shares of a prediction lie outside of its training data's range.

    Args:
        prediction: The prediction.
        path: Its file.

    Returns:
        ``outside``: of all predicted points; ``initial_outside``: of the initial states.

    Raises:
        StoreError: If the prediction does not say.
    """
    names = ("outside", "initial_outside")
    if not all(name in prediction.attrs for name in names):
        raise refusal(path, "does not say what share lies outside of the training data's range")
    return {name: float(prediction.attrs[name]) for name in names}


def conditions_outside(
    ensemble: Ensemble,
    system: PatchSystem,
    sampled: Mapping[str, Sequence[float]],
    evaluated: Mapping[str, Sequence[float]],
) -> dict[str, dict[str, float]]:
    """Find the conditions that a run is evaluated at outside of those that it sampled.

    Args:
        ensemble: The trained ensemble.
        system: The system with its own parameters.
        sampled: Sampled values of the conditions by name.
        evaluated: Values at which the run is evaluated; those of the system where left out.

    Returns:
        By name the ``value``, and the ``low``est and ``high``est value sampled; of several values
        outside the one that is farthest.
    """
    names = sorted(sampled)
    own = {name: (float(getattr(system.parameters, name)),) for name in names}
    found: dict[str, dict[str, float]] = {}
    for values in product(*({**own, **evaluated}[name] for name in names)):
        for name, outside in ensemble.domain.conditions_outside(names, list(values)).items():
            known = found.setdefault(name, outside)
            if _beyond(outside) > _beyond(known):
                found[name] = outside
    return found


def _beyond(outside: Mapping[str, float]) -> float:
    return max(outside["low"] - outside["value"], outside["value"] - outside["high"])


def markov_metrics(
    latents: xr.Dataset, findings: Findings | None = None, *, sites: int | None = None
) -> tuple[xr.Dataset, dict[str, Any]]:
    """Run the Markov diagnostic, with fewer bins where there are few samples.

    Args:
        latents: The latents.
        findings: Of this diagnostic; notes what of it cannot be had, and why.
        sites: Sites of the system whose diffusion is wanted, where it is not that of the latents.

    Returns:
        The diagnostic, and by variable the excess of drift and diffusion at each lag over the
        first, relative.

    Raises:
        Unavailable: If there are too few samples for any bin.
    """
    findings = Findings() if findings is None else findings
    samples = latents.sizes["sample"]
    bins = int(np.clip(samples // 100, 4, 20))
    least = min(50, max(4, samples // 50))
    scale = 1.0 if sites is None else sites / latents.attrs["sites"]
    factor = None if scale == 1.0 else scale * latents.attrs["patches_total"]
    diagnostic = markov_diagnostic(latents, bins=bins, min_count=least, covariance_factor=factor)
    if factor is not None:
        diagnostic.attrs["factor_name"] = "K n / n′"
    lags = [str(int(lag)) for lag in latents.lag.values]
    summary: dict[str, Any] = {}
    for name in map(str, latents.variable.values):
        summary[name] = {}
        for kind in ("drift", "diffusion"):
            values = diagnostic[f"{kind}_excess"].sel(variable=name).values
            summary[name][kind] = dict(zip(lags, map(float, values), strict=True))
            for lag, value in summary[name][kind].items():
                if math.isnan(value):
                    findings.lack(f"{name}.{kind}.{lag}", f"the {kind} at the first lag is zero")
    return diagnostic, summary
