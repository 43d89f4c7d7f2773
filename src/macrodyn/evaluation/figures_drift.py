"""Figure of learned drift and diffusion beside estimates from pairs and exact values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import ArrayLike, NDArray

from macrodyn.evaluation import style
from macrodyn.evaluation.exact import ExactComparison
from macrodyn.evaluation.markov import bin_average, bin_index

__all__ = ["learned_drift_diffusion"]

_EXACT = (0, (4, 2))
_BIN = "."


@style.styled
def learned_drift_diffusion(
    diagnostic: xr.Dataset,
    z: ArrayLike,
    drift: ArrayLike,
    covariance: ArrayLike,
    *,
    names: Sequence[str],
    exact: tuple[ArrayLike, ArrayLike] | None = None,
    comparison: ExactComparison | None = None,
    lag: int = 0,
    time_unit: str = "1",
    title: str | None = None,
) -> Figure:
    """Compare learned drift and diffusion with binned estimates along the data's ridge.

    The learned and the exact functions are averaged over the very samples that fall into each bin
    of the first observable, so that all curves are averages over one population.

    Args:
        diagnostic: Result of `markov_diagnostic` (estimates with errors, bin edges).
        z: Samples, shape [sample, variable].
        drift: Learned mu at the samples, shape [member, sample, variable].
        covariance: Learned Sigma of the whole system, shape [member, sample, variable, variable].
        names: The observables as axes show them; the first two at most are drawn.
        exact: Exact drift [sample, observable] and covariance rate [sample, observable,
            observable] at the samples, NaN where unknown.
        comparison: Learned against exact, point by point; drawn in strips below the panels if
            there is one observable.
        lag: Position of the lag whose estimates are drawn.
        time_unit: Unit of time for the axes.
        title: Title of the figure.

    Returns:
        A figure: drift above, the components of the diffusion below; with strips, drift left and
        diffusion right.
    """
    names = list(names[:2])
    states = np.asarray(z, np.float64)
    count = diagnostic.sizes["bin"]
    edges = diagnostic["edge"].values
    index = bin_index(states[:, 0], edges)
    used = np.isfinite(diagnostic["drift"].values[0, :, 0])
    x = diagnostic["centre"].values[used]
    mu = bin_average(drift, index, count, axis=1)[:, used]
    sigma = bin_average(covariance, index, count, axis=1)[:, used]
    d = len(names)
    true_drift, true_sigma = np.full((len(x), d), np.nan), np.full((len(x), d, d), np.nan)
    if exact is not None:
        true_drift = bin_average(exact[0], index, count)[used]
        true_sigma = bin_average(exact[1], index, count)[used]
    pairs = [(i, i) for i in range(d)] + [(i, j) for i in range(d) for j in range(i + 1, d)]

    strips = comparison if d == 1 else None
    figure, above, below, strip_axes = _panels(d, len(pairs), strips)
    first = diagnostic.isel(lag=lag)
    for k, name in enumerate(names):
        panel = above[k]
        _members(panel, x, mu[..., k], marker=_BIN)
        _exact(panel, x, true_drift[:, k])
        _points(panel, x, first["drift"].values[used, k], first["drift_error"].values[used, k])
        panel.axhline(0, color="black", lw=0.6)
        panel.set_ylabel(style.rate(f"drift of {style.symbol(name)}", time_unit))
    for panel, (i, j) in zip(below, pairs, strict=True):
        _members(panel, x, sigma[..., i, j], marker=_BIN)
        _exact(panel, x, true_sigma[:, i, j])
        estimate, error = first["covariance"].values, first["covariance_error"].values
        _points(panel, x, estimate[used, i, j], error[used, i, j])
        panel.set_ylabel(style.rate(f"diffusion {_sigma(names[i], names[j])}", time_unit))
        if i == j:
            panel.set_ylim(bottom=0)
        else:
            panel.axhline(0, color="black", lw=0.6)
    if strips is not None:
        _draw_strips(strip_axes, strips, edges, used)
    for panel in strip_axes or below:
        panel.set_xlabel(names[0])
    for panel, strip in zip([*above, *below], strip_axes, strict=False):
        panel.tick_params(labelbottom=False)
        low, high = zip(panel.get_xlim(), strip.get_xlim(), strict=True)
        for one in (panel, strip):
            one.set_xlim(min(low), max(high))
    elapsed = style.quantity_value(float(first["elapsed"]), time_unit)
    factor = float(diagnostic.attrs["covariance_factor"])
    known_as = diagnostic.attrs.get("factor_name", "K")
    handles = [
        Line2D([], [], color="black", marker="o", ls="", ms=4,
               label=f"pairs, mean of each bin, Δt = {elapsed}, ±1 std. error"),
        Line2D([], [], color=style.PALETTE[0], lw=1.8, marker=_BIN, ms=4,
               label="learned, mean over the snapshots of each bin"),
        Line2D([], [], color=style.PALETTE[0], lw=0.8, alpha=0.45, label="each member likewise"),
    ]  # fmt: skip
    if np.isfinite(true_drift).any() or np.isfinite(true_sigma).any():
        handles.append(Line2D([], [], color="black", lw=1.3, ls=_EXACT, label="exact, likewise"))
    note = f"diffusion from pairs: of one patch, divided by {known_as} = {factor:g}"
    handles.append(Line2D([], [], ls="", label=note))
    style.legend(figure, handles, title)
    return figure


def _panels(
    observables: int, pairs: int, strips: ExactComparison | None
) -> tuple[Figure, list[Axes], list[Axes], list[Axes]]:
    """Make the figure: panels of the drift, of the diffusion, and strips below them."""
    if strips is not None:
        figure = style.new_figure(4.6)
        axes = style.grid(figure, 2, 2, gridspec_kw={"height_ratios": [2.2, 1.0]})
        above, below, strip_axes = [axes[0, 0]], [axes[0, 1]], [*axes[1]]
        for strip in strip_axes:
            strip.xaxis.set_major_locator(MaxNLocator(5))
    else:
        figure = style.new_figure(4.9, style.WIDTH if observables > 1 else 4.2)
        # Six columns: two panels above and three below, both over the whole width.
        cells = figure.add_gridspec(2, 6)

        def row(number: int, count: int) -> list[Axes]:
            share = 6 // count
            spans = (slice(k * share, (k + 1) * share) for k in range(count))
            return [figure.add_subplot(cells[number, span]) for span in spans]

        above, below = row(0, observables), row(1, pairs)
        strip_axes = []
    for panel in (*above, *below):
        panel.margins(x=0.06)
        panel.xaxis.set_major_locator(MaxNLocator(5 if panel in above or strip_axes else 4))
    return figure, above, below, strip_axes


def _draw_strips(
    axes: list[Axes], comparison: ExactComparison, edges: NDArray[Any], used: NDArray[np.bool_]
) -> None:
    texts = (r"$(\mu - b)\,/\,\max |b|$", r"$\Sigma\,/\,D - 1$")
    deviations = (comparison.drift_deviation, comparison.diffusion_deviation)
    for panel, values, text in zip(axes, deviations, texts, strict=True):
        x, curves = comparison.first, values[..., 0]
        if not comparison.on_grid:
            count = len(edges) - 1
            index = bin_index(comparison.first, edges)
            filled = (np.bincount(index[index >= 0], minlength=count) > 0) & used
            x = bin_average(comparison.first, index, count)[filled]
            curves = bin_average(curves, index, count, axis=1)[:, filled]
        panel.margins(x=0.02)
        panel.axhline(0, color="black", lw=1.3, ls=_EXACT)
        panel.set_ylabel(text)
        if not np.isfinite(curves).any():
            panel.text(
                0.5, 0.75, "exact value not known", transform=panel.transAxes, ha="center",
                va="center", color=style.QUIET,
            )  # fmt: skip
            panel.set_yticks([])
            continue
        _members(panel, x, curves[:-1])
        panel.yaxis.set_major_formatter(PercentFormatter(1.0))
        panel.yaxis.set_major_locator(MaxNLocator(4))


def _members(panel: Axes, x: NDArray[Any], values: NDArray[Any], marker: str | None = None) -> None:
    for member in values:
        panel.plot(x, member, color=style.PALETTE[0], lw=0.8, alpha=0.45)
    panel.plot(x, values.mean(axis=0), color=style.PALETTE[0], lw=1.8, marker=marker)


def _exact(panel: Axes, x: NDArray[Any], values: NDArray[Any]) -> None:
    if np.isfinite(values).any():
        panel.plot(x, values, color="black", lw=1.3, ls=_EXACT, zorder=2.5, label="exact")


def _points(panel: Axes, x: NDArray[Any], values: NDArray[Any], errors: NDArray[Any]) -> None:
    panel.errorbar(
        x, values, errors, color="black", marker="o", ms=3.2, ls="", elinewidth=0.9, capsize=1.5,
        zorder=3,
    )  # fmt: skip


def _sigma(first: str, second: str) -> str:
    """Write the component of Sigma: with symbols as indices where both have one."""
    symbols = [style.symbol(name) for name in (first, second)]
    if all(text.startswith("$") for text in symbols):
        return rf"$\Sigma_{{{' '.join(text.strip('$') for text in symbols)}}}$"
    return f"of {symbols[0]}" if first == second else f"of {' and '.join(symbols)}"
