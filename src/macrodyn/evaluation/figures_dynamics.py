"""Figures of diagnostics and of equilibria."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from macrodyn.evaluation import style
from macrodyn.evaluation.equilibrium import EquilibriumComparison

__all__ = ["equilibrium_histograms", "markov_lags"]


@style.styled
def markov_lags(
    diagnostic: xr.Dataset,
    *,
    names: Sequence[str],
    time_unit: str = "1",
    title: str | None = None,
) -> Figure:
    """Draw drift and diffusion against the first observable, one curve for each lag.

    Args:
        diagnostic: Result of `markov_diagnostic`.
        names: The observables as axes show them; each gets a column.
        time_unit: Unit of time for the axes.
        title: Title of the figure.

    Returns:
        A figure: drift above, diffusion below. Each panel notes by how much the curve at the
        longest lag departs from that at the shortest, noise subtracted.
    """
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
                    label=f"Δt = {style.quantity_value(elapsed, time_unit)}",
                )  # fmt: skip
            excess = float(diagnostic[f"{quantity}_excess"].values[-1, k])
            panel.set_title(f"lag dependence {_percent(excess)}", loc="right", fontsize=8.5)
            if row == 0:
                panel.axhline(0, color="black", lw=0.6)
            else:
                panel.set_ylim(bottom=min(0.0, panel.get_ylim()[0]))
                panel.set_xlabel(names[0])
            panel.set_ylabel(style.rate(f"{quantity} of {style.symbol(name)}", time_unit))
    factor = float(diagnostic.attrs["covariance_factor"])
    known_as = diagnostic.attrs.get("factor_name", "K")
    note = f"diffusion: of one patch, divided by {known_as} = {factor:g}"
    handles = [*axes[0, 0].get_legend_handles_labels()[0], Line2D([], [], ls="", label=note)]
    style.legend(figure, handles, title)
    return figure


@style.styled
def equilibrium_histograms(
    comparison: EquilibriumComparison,
    names: Sequence[str],
    *,
    baselines: Mapping[str, EquilibriumComparison] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the late-time densities of reference, prediction and baselines.

    Args:
        comparison: Result of `equilibrium` for the prediction.
        names: The observables as axes show them.
        baselines: Other predictions against the same reference, by name.
        title: Title of the figure.

    Returns:
        A figure with a panel for each observable; bands span the ensemble's members.
    """
    figure = style.new_figure(3.3, style.WIDTH if len(names) > 1 else 4.4)
    axes = style.grid(figure, 1, len(names))[0]
    entries = {"ours": comparison, **(baselines or {})}
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
        panel.set_xlabel(name)
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


def _percent(value: float) -> str:
    if not np.isfinite(value):
        return "unknown"
    return f"{100 * value:.1f} %" if value >= 0.001 else "below 0.1 %"
