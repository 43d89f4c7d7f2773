"""Figures of a run of partial forces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from macrodyn.evaluation import style
from macrodyn.methods.partial_forces.config import PartialForcesRun
from macrodyn.systems import ForceSystem

Array = NDArray[np.float64]
# Held-out runs that are drawn: by their initial macrostates, the first, the last and some between.
_RUNS = 5
NAMES = {
    "interpolation": "interpolation",
    "nearest": "nearest run",
    "regression": "regression on the\nfirst observables",
    "constant": "constant",
    "observables": "equation of the\nobservables alone",
}


def of_run(
    run: PartialForcesRun,
    system: ForceSystem,
    made: xr.Dataset,
    true: xr.Dataset,
    used: NDArray[np.bool_],
    without: Mapping[str, Array],
    errors: Array,
    metrics: Mapping[str, Any],
    trainings: tuple[Mapping[str, Any], Mapping[str, Any]],
    title: str,
) -> dict[str, Figure]:
    """Draw all figures of a run but that of its states.

    Args:
        run: The run.
        system: Its system.
        made: The forecast.
        true: The held-out trajectories.
        used: Which of their records count, shape [run, time].
        without: Predictions without forces by name, [run, time, observable].
        errors: Of each member, run and observable.
        metrics: The run's metrics.
        trainings: Reports of the closure's and of the drift's training.
        title: Name of the run.

    Returns:
        The figures by file name.
    """
    return {
        "held-out": held_out(system, made, true, used, title),
        "phase-portrait": phase_portrait(system, made, title),
        "errors": error_bars(errors, metrics, run.published, title),
        "encoder": encoder(made, metrics, title),
        "training": training(*trainings, title),
    }


@style.styled
def held_out(
    system: ForceSystem, made: xr.Dataset, true: xr.Dataset, used: NDArray[np.bool_], title: str
) -> Figure:
    """Observables of some held-out runs: as simulated, and as the members predict them."""
    names = system.observable_names
    chosen = _spread(true.initial_values.values[:, 0])
    figure, axes = panels(2 * len(names), 1, height=2.1 * 2 * len(names))
    times = true.time.values
    for k, name in enumerate(names):
        upper, lower = axes[2 * k], axes[2 * k + 1]
        for place, r in enumerate(chosen):
            colour = style.PALETTE[place % len(style.PALETTE)]
            shown = np.where(used[r], true.observables.values[r, :, k], np.nan)
            upper.plot(times, shown, color=colour)
            members = np.where(used[r], made.z.values[:, r, :, k], np.nan)
            upper.plot(times, members.mean(0), color="black", linestyle="--", linewidth=0.9)
            gap = members - shown
            lower.plot(times, gap.mean(0), color=colour)
            low, high = gap.min(0), gap.max(0)
            lower.fill_between(times, low, high, color=colour, alpha=0.2, linewidth=0)
        lower.axhline(0.0, color=style.QUIET, linewidth=0.8)
        upper.set_ylabel(style.label(name, system.labels))
        lower.set_ylabel("predicted - simulated")
        lower.set_xlabel(f"time [{system.time_unit}]" if system.time_unit != "1" else "time")
    axes[0].plot([], [], color="black", linestyle="--", linewidth=0.9, label="predicted (mean)")
    axes[0].plot([], [], color=style.PALETTE[0], label="simulated")
    axes[0].legend(loc="best")
    figure.suptitle(f"{title}: held-out trajectories")
    return figure


@style.styled
def phase_portrait(system: ForceSystem, made: xr.Dataset, title: str) -> Figure:
    """The first two macroscopic variables of all held-out runs."""
    names = [str(name) for name in made.variable.values]
    if len(names) < 2:
        return style.note("there is one macroscopic variable alone", title=title)
    figure, (axis,) = panels(1, 1, height=4.0, width=0.7 * style.WIDTH)
    for r in range(made.sizes["run"]):
        x, y = made.encoded.values[r, :, :2].T
        axis.plot(x, y, color=style.PALETTE[0], linewidth=1.2, alpha=0.8)
        px, py = made.z.values[:, r, :, :2].mean(axis=0).T
        axis.plot(px, py, color=style.PALETTE[1], linewidth=0.9, linestyle="--")
        axis.plot(x[:1], y[:1], marker="o", color=style.PALETTE[7], markersize=3)
    axis.plot([], [], color=style.PALETTE[0], label="simulated")
    axis.plot([], [], color=style.PALETTE[1], linestyle="--", label="predicted (mean)")
    axis.set_xlabel(style.label(names[0], system.labels))
    axis.set_ylabel(style.label(names[1], system.labels))
    axis.legend(loc="best")
    figure.suptitle(f"{title}: phase portrait")
    return figure


@style.styled
def error_bars(
    errors: Array, metrics: Mapping[str, Any], published: Mapping[str, float], title: str
) -> Figure:
    """Relative errors of the members, and of what needs no forces."""
    figure, (axis,) = panels(1, 1, height=3.0)
    members = errors.mean(axis=(1, 2))
    rows: list[tuple[str, Any, str]] = [("this run", members, style.PALETTE[0])]
    rows += [
        (NAMES[name], [value], style.PALETTE[7])
        for name, value in metrics["without_forces"].items()
        if value is not None
    ]
    rows += [(f"published: {name}", [value], style.QUIET) for name, value in published.items()]
    for place, (_, values, colour) in enumerate(rows):
        finite = [v for v in values if np.isfinite(v)]
        axis.plot(finite, [place] * len(finite), "o", color=colour, alpha=0.6)
        if len(finite) > 1:
            axis.plot([np.mean(finite)], [place], "D", color=colour, markersize=8)
    axis.set_xscale("log")
    axis.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axis.invert_yaxis()
    axis.set_xlabel("relative error of held-out trajectories")
    figure.suptitle(f"{title}: errors")
    return figure


@style.styled
def encoder(made: xr.Dataset, metrics: Mapping[str, Any], title: str) -> Figure:
    """What the encoder leaves out of the forces, and how far its variables reach."""
    figure, (left, right) = panels(1, 2, height=2.8)
    unresolved = np.maximum(made.unresolved.values, 1e-16)
    left.hist(np.log10(unresolved), bins=20, color=style.PALETTE[0])
    left.set_xlabel("log$_{10}$ unresolved fraction u")
    left.set_ylabel("held-out configurations")
    spread = made.encoded.values.std(axis=(0, 1))
    right.semilogy(range(len(spread)), spread, "o-", color=style.PALETTE[1], markersize=3)
    right.set_xlabel("macroscopic variable")
    right.set_ylabel("standard deviation")
    condition = metrics["condition_number"]["median"]
    figure.suptitle(f"{title}: encoder; condition number {condition:.3g} (median)")
    return figure


@style.styled
def training(closure: Mapping[str, Any], drift: Mapping[str, Any], title: str) -> Figure:
    """Losses against steps, less the least of them, as a constant is no concern of training."""
    figure, axes = panels(1, 2, height=2.8)
    for axis, report, name in zip(axes, (closure, drift), ("closure", "drift"), strict=True):
        history = report["history"]
        axis.set_title(name)
        axis.set_xlabel("step")
        values = np.array(history["validation_loss"], dtype=float)
        if len(values) < 2:
            told = "validated once, at the end" if len(values) else "not trained"
            axis.text(0.5, 0.5, told, ha="center", va="center", transform=axis.transAxes)
            continue
        least = values.min()
        gap = np.maximum(values - least, 1e-12 * abs(least) + 1e-300)
        axis.semilogy(history["steps"], gap, color=style.PALETTE[1], linewidth=0.9)
        axis.set_ylabel("validation loss above the least")
    figure.suptitle(f"{title}: training")
    return figure


def _spread(values: Array) -> list[int]:
    """Numbers of a few runs, spread over their initial macrostates."""
    order = np.argsort(values)
    places = np.unique(np.linspace(0, len(order) - 1, min(_RUNS, len(order))).astype(int))
    return [int(order[place]) for place in places]


def panels(
    rows: int, columns: int, height: float, width: float = style.WIDTH
) -> tuple[Figure, list[Any]]:
    """Make a figure of some panels, row by row."""
    figure = style.new_figure(height, width)
    return figure, list(style.grid(figure, rows, columns).ravel())
