"""Figures of the learned dynamics: trajectories, drift and diffusion, equilibria."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from macrodyn.evaluation import style
from macrodyn.evaluation.equilibrium import EquilibriumComparison
from macrodyn.evaluation.markov import bin_average, bin_index

__all__ = ["equilibrium_histograms", "learned_drift_diffusion", "markov_lags", "trajectories"]


@style.styled
def trajectories(
    time: ArrayLike,
    initial: ArrayLike,
    reference: ArrayLike,
    prediction: ArrayLike,
    names: Sequence[str],
    *,
    time_unit: str = "sweep",
    log_time: bool = False,
    title: str | None = None,
) -> Figure:
    """Draw mean and spread of prediction and direct simulation, and the difference of means.

    Args:
        time: Shape [time].
        initial: Initial values of the first observable, shape [initial].
        reference: Shape [initial, replica, time, observable].
        prediction: Shape [member, initial, replica, time, variable]; members are pooled.
        names: Names of the observables.
        time_unit: Unit of time for the axis.
        log_time: Whether time is drawn on a logarithmic axis, which shows the transient; the
            time 0 is left out then.
        title: Title of the figure.

    Returns:
        A figure with a column for each observable; above the trajectories, below the difference
        prediction - reference with the reference's standard error (two of them, grey).
    """
    times = np.asarray(time, np.float64)
    shown = times > 0 if log_time else np.ones(times.shape, bool)
    times = times[shown]
    direct = np.asarray(reference, np.float64)[:, :, shown]
    ours = np.asarray(prediction)[:, :, :, shown, : direct.shape[-1]].astype(np.float64)
    ours[~np.isfinite(ours)] = np.nan
    direct_mean, direct_std = direct.mean(axis=1), direct.std(axis=1, ddof=1)
    our_mean = ours.mean(axis=(0, 2))
    our_std = ours.transpose(1, 0, 2, 3, 4).reshape(len(direct), -1, *ours.shape[3:]).std(axis=1)
    noise = 2 * np.sqrt(np.square(direct_std).mean(axis=0) / direct.shape[1])

    starts = np.asarray(initial, np.float64)
    norm = style.initial_norm(starts)
    colours = [style.INITIAL_MAP(norm(value)) for value in starts]
    figure = style.new_figure(5.0)
    axes = style.grid(figure, 2, len(names), sharex=True, gridspec_kw={"height_ratios": [2.2, 1.0]})
    for k, name in enumerate(names):
        upper, lower = axes[:, k]
        for i, colour in enumerate(colours):
            low = direct_mean[i, :, k] - direct_std[i, :, k]
            high = direct_mean[i, :, k] + direct_std[i, :, k]
            # Opaque and at the back: where bands overlap, they must not look darker.
            upper.fill_between(times, low, high, color="0.87", lw=0, zorder=1.1)
            upper.plot(times, direct_mean[i, :, k], color="0.3", lw=3.0, zorder=1.9)
            upper.plot(times, our_mean[i, :, k], color=colour, lw=1.4)
            for sign in (-1, 1):
                edge = our_mean[i, :, k] + sign * our_std[i, :, k]
                upper.plot(times, edge, color=colour, lw=0.7, ls=(0, (2, 1.5)), alpha=0.9)
            lower.plot(times, our_mean[i, :, k] - direct_mean[i, :, k], color=colour, lw=1.0)
        lower.fill_between(times, -noise[:, k], noise[:, k], color="0.87", lw=0, zorder=1.1)
        lower.axhline(0, color="black", lw=0.6)
        upper.set_ylabel(style.label(name))
        lower.set_ylabel(f"mean {style.symbol(name)}, difference")
        lower.set_xlabel(f"time [{time_unit}]")
        lower.yaxis.set_major_locator(MaxNLocator(4))
        if log_time:
            lower.set_xscale("log")
        lower.set_xlim(times[0], times[-1])
    if len(starts) > 1:
        bar = figure.colorbar(
            ScalarMappable(norm, style.INITIAL_MAP), ax=axes, aspect=35, pad=0.015
        )
        bar.set_label(f"initial {style.label(names[0])}")
        if len(starts) <= 12:
            bar.set_ticks([float(value) for value in starts])
    handles = [
        Line2D([], [], color="0.3", lw=3.0, label="direct, mean"),
        Patch(color="0.87", lw=0, label="direct, ±1 std (below: ±2 std. errors)"),
        Line2D([], [], color=colours[0], lw=1.4, label="predicted, mean"),
        Line2D([], [], color=colours[0], lw=0.8, ls=(0, (2, 1.5)), label="predicted, ±1 std"),
    ]
    style.legend(figure, handles, title)
    return figure


@style.styled
def learned_drift_diffusion(
    diagnostic: xr.Dataset,
    z: ArrayLike,
    drift: ArrayLike,
    covariance: ArrayLike,
    *,
    n_observables: int,
    lag: int = 0,
    time_unit: str = "sweep",
    title: str | None = None,
) -> Figure:
    """Compare learned drift and diffusion with binned estimates along the data's ridge.

    The learned functions are averaged over the very samples that fall into each bin of the first
    observable, so that both curves are averages over one population.

    Args:
        diagnostic: Result of `markov_diagnostic` (estimates with errors, bin edges).
        z: Samples, shape [sample, variable].
        drift: Learned mu at the samples, shape [member, sample, variable].
        covariance: Learned Sigma of the whole system, shape [member, sample, variable, variable].
        n_observables: Number of observables; the first two at most are drawn.
        lag: Position of the lag whose estimates are drawn.
        time_unit: Unit of time for the axes.
        title: Title of the figure.

    Returns:
        A figure: drift above, the components of the diffusion below.
    """
    names = [str(name) for name in diagnostic["variable"].values][: min(n_observables, 2)]
    states = np.asarray(z, np.float64)
    count = diagnostic.sizes["bin"]
    index = bin_index(states[:, 0], diagnostic["edge"].values)
    mu = bin_average(drift, index, count, axis=1)
    sigma = bin_average(covariance, index, count, axis=1)
    used = np.isfinite(diagnostic["drift"].values[0, :, 0])
    x = diagnostic["centre"].values[used]
    d = len(names)
    pairs = [(i, i) for i in range(d)] + [(i, j) for i in range(d) for j in range(i + 1, d)]

    figure = style.new_figure(4.9, style.WIDTH if d > 1 else 4.2)
    # Six columns: two panels above and three below, both over the whole width.
    cells = figure.add_gridspec(2, 6)
    share = 6 // len(pairs)
    above = [figure.add_subplot(cells[0, k * 6 // d : (k + 1) * 6 // d]) for k in range(d)]
    below = [figure.add_subplot(cells[1, k * share : (k + 1) * share]) for k in range(len(pairs))]
    for panel in (*above, *below):
        panel.margins(x=0.06)
        panel.xaxis.set_major_locator(MaxNLocator(5 if panel in above else 4))
    first = diagnostic.isel(lag=lag)
    for k, name in enumerate(names):
        panel = above[k]
        _members(panel, x, mu[:, used, k])
        _points(panel, x, first["drift"].values[used, k], first["drift_error"].values[used, k])
        panel.axhline(0, color="black", lw=0.6)
        panel.set_ylabel(f"drift of {style.symbol(name)} [1/{time_unit}]")
    for place, (i, j) in enumerate(pairs):
        panel = below[place]
        _members(panel, x, sigma[:, used, i, j])
        estimate, error = first["covariance"].values, first["covariance_error"].values
        _points(panel, x, estimate[used, i, j], error[used, i, j])
        panel.set_ylabel(f"diffusion {_sigma(names[i], names[j])} [1/{time_unit}]")
        panel.set_xlabel(style.label(names[0]))
        if i == j:
            panel.set_ylim(bottom=0)
        else:
            panel.axhline(0, color="black", lw=0.6)
    elapsed = float(first["elapsed"])
    handles = [
        Line2D([], [], color="black", marker="o", ls="", ms=4,
               label=f"binned pairs, Δt = {elapsed:.3g} {time_unit}, ±1 std. error"),
        Line2D([], [], color=style.PALETTE[0], lw=1.8, label="learned, ensemble mean"),
        Line2D([], [], color=style.PALETTE[0], lw=0.8, alpha=0.45, label="learned, members"),
    ]  # fmt: skip
    style.legend(figure, handles, title)
    return figure


@style.styled
def markov_lags(
    diagnostic: xr.Dataset,
    *,
    n_observables: int,
    time_unit: str = "sweep",
    title: str | None = None,
) -> Figure:
    """Draw drift and diffusion against the first observable, one curve for each lag.

    Args:
        diagnostic: Result of `markov_diagnostic`.
        n_observables: Number of observables; each gets a column.
        time_unit: Unit of time for the axes.
        title: Title of the figure.

    Returns:
        A figure: drift above, diffusion below. Each panel notes by how much the curve at the
        longest lag departs from that at the shortest, noise subtracted.
    """
    names = [str(name) for name in diagnostic["variable"].values][:n_observables]
    x = diagnostic["centre"].values
    figure = style.new_figure(5.0, style.WIDTH if len(names) > 1 else 4.4)
    axes = style.grid(figure, 2, len(names), sharex=True)
    markers = "osD^v"
    lags = diagnostic.sizes["lag"]
    width = np.nanmedian(np.diff(diagnostic["edge"].values))
    for row, quantity in enumerate(("drift", "diffusion")):
        for k, name in enumerate(names):
            panel = axes[row, k]
            for lag in range(lags):
                values = diagnostic[quantity].values[lag, :, k]
                errors = diagnostic[f"{quantity}_error"].values[lag, :, k]
                elapsed = float(diagnostic["elapsed"].values[lag])
                # Points of one bin side by side, so that no error bar hides another.
                shift = (lag - (lags - 1) / 2) * 0.16 * width
                panel.errorbar(
                    x + shift, values, errors, marker=markers[lag % 5], ms=3.6, lw=1.0,
                    elinewidth=1.0, color=style.PALETTE[lag % len(style.PALETTE)],
                    label=f"Δt = {elapsed:.3g} {time_unit}",
                )  # fmt: skip
            excess = float(diagnostic[f"{quantity}_excess"].values[-1, k])
            panel.set_title(f"lag dependence {_percent(excess)}", loc="right", fontsize=8.5)
            if row == 0:
                panel.axhline(0, color="black", lw=0.6)
            else:
                panel.set_ylim(bottom=min(0.0, panel.get_ylim()[0]))
                panel.set_xlabel(style.label(names[0]))
            panel.set_ylabel(f"{quantity} of {style.symbol(name)} [1/{time_unit}]")
    style.legend(figure, axes[0, 0].get_legend_handles_labels()[0], title)
    return figure


@style.styled
def equilibrium_histograms(
    comparison: EquilibriumComparison,
    names: Sequence[str],
    *,
    prediction_label: str = "ours",
    baselines: Mapping[str, EquilibriumComparison] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the late-time densities of reference, prediction and baselines.

    Args:
        comparison: Result of `equilibrium` for the prediction.
        names: Names of the observables.
        prediction_label: Name of the prediction in the legend.
        baselines: Other predictions against the same reference, by name.
        title: Title of the figure.

    Returns:
        A figure with a panel for each observable; bands span the ensemble's members.
    """
    figure = style.new_figure(3.3, style.WIDTH if len(names) > 1 else 4.4)
    axes = style.grid(figure, 1, len(names))[0]
    entries = {prediction_label: comparison, **(baselines or {})}
    styles = ("-", (0, (4, 1.5)), (0, (1.5, 1.2)), "-.")
    for k, (name, panel) in enumerate(zip(names, axes, strict=True)):
        panel.stairs(
            comparison.reference_density[k], comparison.edges[k], fill=True, color="0.82",
            label="direct simulation",
        )  # fmt: skip
        for n, (key, entry) in enumerate(entries.items()):
            centres = (entry.edges[k, 1:] + entry.edges[k, :-1]) / 2
            members = entry.prediction_density[:, k]
            members = members[np.isfinite(members).all(axis=1)]
            if not len(members):
                continue
            colour = style.PALETTE[n % len(style.PALETTE)]
            if len(members) > 1:
                panel.fill_between(
                    centres, members.min(axis=0), members.max(axis=0), color=colour, alpha=0.2,
                    lw=0,
                )  # fmt: skip
            panel.plot(
                centres, members.mean(axis=0), color=colour, ls=styles[n % 4], lw=1.5, label=key
            )
        panel.set_ylim(bottom=0)
        drawn = [(comparison.edges[k], comparison.reference_density[k])]
        drawn += [
            (entry.edges[k], member)
            for entry in entries.values()
            for member in entry.prediction_density[:, k]
            if np.isfinite(member).all()
        ]
        panel.set_xlim(*_support(drawn))
        panel.set_xlabel(style.label(name))
        panel.set_ylabel(f"probability density of {style.symbol(name)}")
    style.legend(figure, axes[0].get_legend_handles_labels()[0], title)
    return figure


def _support(histograms: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> tuple[float, float]:
    """Return the range that holds all but 0.05 % of each distribution at either end."""
    low, high = np.inf, -np.inf
    for limits, density in histograms:
        mass = np.cumsum(density * np.diff(limits))
        low = min(low, float(limits[int(np.searchsorted(mass, 5e-4))]))
        high = max(high, float(limits[min(int(np.searchsorted(mass, 1 - 5e-4)) + 1, len(mass))]))
    margin = 0.04 * (high - low)
    return low - margin, high + margin


def _members(panel: Axes, x: NDArray[Any], values: NDArray[Any]) -> None:
    for member in values:
        panel.plot(x, member, color=style.PALETTE[0], lw=0.8, alpha=0.45)
    panel.plot(x, values.mean(axis=0), color=style.PALETTE[0], lw=1.8)


def _points(panel: Axes, x: NDArray[Any], values: NDArray[Any], errors: NDArray[Any]) -> None:
    panel.errorbar(
        x, values, errors, color="black", marker="o", ms=3.2, ls="", elinewidth=0.9, capsize=1.5,
        zorder=3,
    )  # fmt: skip


def _sigma(first: str, second: str) -> str:
    """Write the component of Sigma: with symbols as indices where both have one."""
    symbols = [style.symbol(name) for name in (first, second)]
    if all(text.startswith("$") for text in symbols):
        return rf"$\Sigma_{{{''.join(text.strip('$') for text in symbols)}}}$"
    return f"of {symbols[0]}" if first == second else f"of {' and '.join(symbols)}"


def _percent(value: float) -> str:
    if not np.isfinite(value):
        return "unknown"
    return f"{100 * value:.1f} %" if value >= 0.001 else "below 0.1 %"
