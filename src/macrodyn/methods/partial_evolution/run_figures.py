"""The figures of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.evaluation import style
from macrodyn.evaluation.available import Findings, Unavailable
from macrodyn.evaluation.exact import (
    ExactComparison,
    Moments,
    compare_with_exact,
    exact_moments,
)
from macrodyn.evaluation.figures_cost import TrainingCurve, training_curves
from macrodyn.evaluation.figures_drift import learned_drift_diffusion
from macrodyn.evaluation.figures_dynamics import equilibrium_histograms, markov_lags
from macrodyn.evaluation.figures_residual import residuals_by_age
from macrodyn.evaluation.figures_sampled import sampled_means
from macrodyn.evaluation.figures_sampling import SnapshotLevel, snapshots
from macrodyn.evaluation.figures_trajectories import trajectories
from macrodyn.evaluation.sampled import SampledEquilibrium
from macrodyn.lattice import Shape
from macrodyn.methods.partial_evolution.cases import evaluated_cases
from macrodyn.methods.partial_evolution.compare import Comparison
from macrodyn.methods.partial_evolution.config import PartialEvolutionRun
from macrodyn.methods.partial_evolution.diagnose import RunResidual
from macrodyn.systems import PatchSystem

# Samples at which the learned functions are evaluated.
MAX_POINTS = 20_000


def snapshot_figure(
    small: xr.Dataset,
    large: xr.Dataset,
    reference: xr.Dataset | None,
    system: PatchSystem,
    title: str,
) -> Figure:
    """Snapshots of each upsampling level beside true ones of the same age.

    All are of the middle snapshot time, the true one of the recorded time that is nearest to it.
    Along a chain, the snapshots that it began with are of its beginning, and so are small ones. Of
    the examples of the last level and of direct simulation the two are shown whose observables
    are nearest to each other, as only snapshots of the same macrostate can be compared by eye; of
    the other levels the examples nearest to these. Where there is no direct simulation, those
    nearest to the middle example of the last level are shown.

    Args:
        small: The small systems' snapshots.
        large: The large snapshots, with examples of every level at the middle snapshot time.
        reference: Direct simulation, with the states of a few trajectories; None if there is none.
        system: The system.
        title: Title of the figure.
    """
    middle = small.sizes["time"] // 2
    if "example_from" in large.attrs:
        began = float(large.attrs["example_from"])
        middle = int(np.argmin(np.abs(small["time"].values - began)))
    simulated = float(small["time"].values[middle])
    raw_time = float(large.attrs.get("example_from", simulated))
    time = float(large.attrs.get("example_age", simulated))
    numbers = sorted(int(str(n).split("_")[1]) for n in large.data_vars if str(n).endswith("_raw"))
    first = small.states.values[:, middle, 0]
    last = large[f"level_{numbers[-1]}_relaxed"].values if numbers else first
    best, true_time = len(last) // 2, time
    true: NDArray | None = None
    if reference is not None:
        moments = reference["example_time"].values
        moment = int(np.argmin(np.abs(moments - time)))
        truths = reference["example_states"].values[:, moment]
        best, nearest_truth = _nearest_pair(last, truths, system)
        true, true_time = truths[nearest_truth], float(moments[moment])
    goal = system.observe((last[best] if true is None else true)[None])[0]

    def caption(state: NDArray | None, age: float) -> str:
        return "" if state is None else _caption(state, age, system)

    def level(raw: NDArray | None, relaxed: NDArray, direct: NDArray | None) -> SnapshotLevel:
        relaxed_time = simulated if raw is None else time
        captions = (
            caption(raw, raw_time),
            caption(relaxed, relaxed_time),
            caption(direct, true_time),
        )
        return SnapshotLevel(upsampled=raw, relaxed=relaxed, direct=direct, captions=captions)

    nearest = best if not numbers else _nearest_index(first, system, goal)
    levels = [level(None, first[nearest], None if numbers else true)]
    for number in numbers:
        raw, relaxed = (large[f"level_{number}_{kind}"].values for kind in ("raw", "relaxed"))
        final = number == numbers[-1]
        index = best if final else _nearest_index(relaxed, system, goal)
        levels.append(level(raw[index], relaxed[index], true if final else None))
    channels = _channel_names(system)
    return snapshots(
        levels,
        dimension=system.dimension,
        channel_names=channels,
        state_labels=system.state_labels,
        title=title,
        **({"quantity": channels[0]} if channels and system.dimension > 1 else {}),
    )


def _caption(state: NDArray, time: float, system: PatchSystem) -> str:
    """Write a snapshot's time and macrostate, two observables a line."""
    values = system.observe(state[None])[0]
    parts = [
        f"{style.symbol(name)} = {value:.3g}"
        for name, value in zip(written_names(system, system.observable_names), values, strict=True)
    ]
    pairs = [", ".join(parts[n : n + 2]) for n in range(0, len(parts), 2)]
    return "\n".join([f"$t$ = {style.quantity_value(time, system.time_unit)}", *pairs])


def _channel_names(system: PatchSystem) -> list[str]:
    """Name the channels: as the observables where there is one for each, else by number."""
    if system.channels == 1:
        return []
    if len(system.observables) == system.channels:
        return [name.replace("_", " ") for name in system.observable_names]
    return [f"channel {number + 1}" for number in range(system.channels)]


def _nearest_index(states: NDArray, system: PatchSystem, goal: NDArray[np.float64]) -> int:
    """Find the state nearest in all observables, each in units of its spread over the states."""
    values = system.observe(states)
    return int(np.argmin(_distances(values, goal[None])))


def _nearest_pair(states: NDArray, others: NDArray, system: PatchSystem) -> tuple[int, int]:
    """Find the state and the other state whose observables are nearest to each other."""
    distances = _distances(system.observe(states), system.observe(others))
    one, other = np.unravel_index(np.argmin(distances), distances.shape)
    return int(one), int(other)


def _distances(values: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distances [value, other], each observable in units of its spread over the values."""
    spread = values.std(axis=0)
    scaled = (values[:, None] - others) / np.where(spread > 0, spread, 1.0)
    return np.asarray(np.square(scaled).sum(axis=-1))


def comparison_figures(
    comparison: Comparison,
    system: PatchSystem,
    horizon: str,
    title: str,
    findings: Findings | None = None,
) -> Iterator[tuple[str, str, Figure]]:
    """Trajectories and equilibrium distributions of one horizon; these if there is a reference.

    Args:
        comparison: Predictions, beside the reference if there is one.
        system: The system.
        horizon: Name of the horizon.
        title: Title of the run's figures.
        findings: Of this horizon: why there is no late-time comparison, if there is none.
    """
    findings = Findings() if findings is None else findings
    names = written_names(system, system.observable_names)
    for method, prediction in comparison.predictions.items():
        yield (
            "trajectories",
            f"{horizon}/{method}",
            trajectories(
                comparison.time,
                comparison.initial,
                comparison.reference,
                prediction,
                names,
                components=written_names(system, comparison.components),
                time_unit=system.time_unit,
                title=f"{title}, {horizon}, {method}",
            ),
        )
    if comparison.reference is None:
        return
    others = {k: v for k, v in comparison.equilibria.items() if k != "ours"}
    head = f"{title}, {horizon}"

    def histograms() -> Figure:
        ours = findings.demand("ours.equilibrium", comparison.equilibria.get("ours"))
        return equilibrium_histograms(ours, names, baselines=others, title=head)

    yield "equilibrium", horizon, drawn(histograms, head)


def sampled_figure(
    sampled: Mapping[str, SampledEquilibrium | None],
    run: PartialEvolutionRun,
    system: PatchSystem,
    title: str,
) -> Figure:
    """Sampled equilibria beside late trajectories, against a condition where there is one alone.

    Args:
        sampled: Comparisons by place; None for those that cannot be made.
        run: The run.
        system: The system.
        title: Title of the figure.
    """
    known = {place: found for place, found in sampled.items() if found is not None}
    if not known:
        return style.note("a member diverged", title=title)
    names = written_names(system, system.observable_names)
    values = {
        case.place: tuple(case.parameters.values())
        for case in evaluated_cases(run)
        if len(run.evaluate.sizes) < 2
    }
    alone = len(run.evaluate.conditions) == 1 and len(known) > 1 and set(known) <= set(values)
    at: list[Any] = [values[p][0] for p in known] if alone else [p or "here" for p in known]
    axis = style.label(next(iter(run.evaluate.conditions)), {}) if alone else None
    return sampled_means(list(known.values()), at=at, axis=axis, names=names, title=title)


def drawn(draw: Callable[[], Figure], title: str) -> Figure:
    """Draw a figure, or write in its place why it cannot be drawn."""
    try:
        return draw()
    except Unavailable as reason:
        return style.note(str(reason), title=title)


def written_names(system: PatchSystem, names: Sequence[str]) -> list[str]:
    """Names of observables, or of macrostates, as figures show them."""
    return [style.label(name, system.labels) for name in names]


@dataclass(frozen=True, kw_only=True)
class LearnedMoments:
    """Learned drift and diffusion at samples of the latents, with what is exactly known of them.

    Attributes:
        z: Samples, [sample, variable].
        drift: Learned, [member, sample, variable].
        covariance: Learned, of the whole system, [member, sample, variable, variable].
        exact: Exact drift [sample, observable] and covariance rate [sample, observable,
            observable], NaN where unknown; None if nothing is known.
        comparison: Learned against exact where there is data.
    """

    z: NDArray[np.float64]
    drift: NDArray[np.float64]
    covariance: NDArray[np.float64]
    exact: Moments | None
    comparison: ExactComparison | None


def learned_moments(
    latents: xr.Dataset, ensemble: Ensemble, system: PatchSystem, large: Shape, seed: int
) -> LearnedMoments:
    """Evaluate the learned ensemble and the system's exact moments at samples of the latents.

    Args:
        latents: The latents that trained the ensemble.
        ensemble: The ensemble.
        system: The system.
        large: Sites along each axis of the large system, whose diffusion was learned.
        seed: Seed of the choice of samples, where there are very many.
    """
    chosen = np.random.default_rng(seed).permutation(latents.sizes["sample"])[:MAX_POINTS]
    z = np.asarray(latents.z.values[chosen], np.float64)
    given = np.asarray(latents.condition_values.values[chosen], np.float64)
    conditions = [str(n) for n in latents.condition.values]
    names = list(system.observable_names)

    def learned(points: NDArray[np.float64], rows: NDArray[np.float64]) -> Moments:
        with torch.inference_mode():
            inputs = torch.as_tensor(points, dtype=torch.float32)
            extra = torch.as_tensor(rows, dtype=torch.float32) if conditions else None
            drift, covariance = ensemble.drift(inputs, extra), ensemble.covariance(inputs, extra)
        return drift.double().numpy(), covariance.double().numpy()

    def exact(points: NDArray[np.float64], rows: NDArray[np.float64]) -> Moments | None:
        return exact_moments(
            system, points[:, : len(names)], large, conditions=rows, condition_names=conditions
        )

    drift, covariance = learned(z, given)
    known = exact(z, given)
    comparison = None
    if known is not None:
        # Conditions are looked up with the samples as further variables, which the models split.
        d = z.shape[1]
        comparison = compare_with_exact(
            np.concatenate([z, given], axis=1),
            names,
            lambda points: learned(points[:, :d], points[:, d:]),
            lambda points: exact(points[:, :d], points[:, d:]),
        )
    return LearnedMoments(
        z=z, drift=drift, covariance=covariance, exact=known, comparison=comparison
    )


def dynamics_figures(
    diagnostic: xr.Dataset | None,
    learned: LearnedMoments,
    residual: RunResidual | None,
    system: PatchSystem,
    title: str,
    findings: Findings,
) -> Iterator[tuple[str, Figure]]:
    """Learned drift and diffusion, the Markov diagnostic, and the residual by age.

    Args:
        diagnostic: Result of the Markov diagnostic, if there is one.
        learned: Learned moments at samples of the latents.
        residual: Residuals by age, if there are any.
        system: The system.
        title: Title of the run's figures.
        findings: Of the run: why there is no diagnostic or no residual.
    """
    names = written_names(system, system.observable_names)
    common: dict[str, Any] = {"time_unit": system.time_unit, "title": title}

    def moments() -> Figure:
        return learned_drift_diffusion(
            findings.demand("markov", diagnostic),
            learned.z,
            learned.drift,
            learned.covariance,
            exact=learned.exact,
            comparison=learned.comparison,
            names=names,
            **common,
        )

    def residuals() -> Figure:
        found = findings.demand("residual_by_age.ours", residual)
        return residuals_by_age(
            found.everything,
            held_out=found.held_out,
            names=written_names(system, found.variables),
            **common,
        )

    yield "drift-diffusion", drawn(moments, title)
    yield (
        "markov",
        drawn(
            lambda: markov_lags(findings.demand("markov", diagnostic), names=names, **common), title
        ),
    )
    yield "residual-by-age", drawn(residuals, title)


def training_figure(
    closure: dict[str, Any], dynamics: dict[str, dict[str, Any]], title: str
) -> Figure:
    """Losses of the closure and of the dynamics against the optimiser's steps.

    Of polynomials, what cross-validation found against their degree.

    Args:
        closure: The closure's training, with its history.
        dynamics: The training of each scheme.
        title: Title of the figure.
    """
    trainings = {"closure": closure} | {f"dynamics, {s}": t for s, t in dynamics.items()}
    models: dict[str, list[TrainingCurve]] = {}
    for name, history in ((name, training["history"]) for name, training in trainings.items()):
        if not history["steps"]:
            continue
        training = np.array(history["training_loss"])
        validation = np.array(history["validation_loss"])
        models[name] = [
            TrainingCurve(
                training_step=history["steps"],
                training_loss=training[:, member],
                validation_step=history["steps"],
                validation_loss=validation[:, member],
            )
            for member in range(training.shape[1])
        ]
    steps = {name: "degree of the drift" for name, t in trainings.items() if "selection" in t}
    return training_curves(models, title=title, steps=steps)
