"""Figures of the covariance factor: estimated against theory, and what it does to predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator, StrMethodFormatter
from numpy.typing import ArrayLike

from macrodyn.evaluation import style

__all__ = ["CovarianceFactor", "FactorTrial", "covariance_factors", "mmd_against_factor"]


@dataclass(frozen=True, kw_only=True)
class CovarianceFactor:
    """Theoretical and estimated covariance factor of one run.

    Attributes:
        name: Name of the run.
        theory: K = number of patches of the large system, the factor of a single patch.
        estimate: Estimated factor of a single patch.
        error: Standard error of the estimate; NaN if it is not known, which draws no bar.
        patches: Numbers m' of patches over which increments are averaged, shape [size]; may be
            empty.
        variance: Variance of those averages, shape [size].
        variance_error: Its standard error, shape [size].
    """

    name: str
    theory: float
    estimate: float
    error: float
    patches: Sequence[int] = ()
    variance: Sequence[float] = ()
    variance_error: Sequence[float] = ()


@style.styled
def covariance_factors(runs: Sequence[CovarianceFactor], *, title: str | None = None) -> Figure:
    """Draw estimated against theoretical factor, and the variance that averaging leaves.

    Args:
        runs: One entry for each run.
        title: Title of the figure.

    Returns:
        The figure; right, variances relative to that at the run's smallest m', times m' over that
        m': 1 where patches are independent.
    """
    curves = any(len(run.patches) > 1 for run in runs)
    figure = style.new_figure(3.7, style.WIDTH if curves else 4.4)
    axes = style.grid(figure, 1, 2 if curves else 1)[0]
    markers = "osD^vP"
    ends = [v for run in runs for v in (run.theory, run.estimate)]
    limits = np.array([min(ends) / 1.6, max(ends) * 1.6])
    axes[0].plot(limits, limits, color="black", lw=0.8, label="estimate = $K$")
    for n, run in enumerate(runs):
        look: dict[str, Any] = {
            "color": style.PALETTE[n % len(style.PALETTE)],
            "marker": markers[n % 6],
            "capsize": 2.5,
            "elinewidth": 1.1,
        }
        axes[0].errorbar(
            run.theory, run.estimate, run.error, ls="",
            label=rf"{run.name}, $K = {run.theory:g}$", **look,
        )  # fmt: skip
        if len(run.patches) > 1:
            m = np.asarray(run.patches, np.float64)
            scale = m / (m[0] * run.variance[0])
            axes[1].errorbar(
                m, np.asarray(run.variance) * scale, np.asarray(run.variance_error) * scale,
                lw=1.1, **look,
            )  # fmt: skip
    axes[0].set(xscale="log", yscale="log", xlim=limits, ylim=limits, aspect="equal")
    for axis in (axes[0].xaxis, axes[0].yaxis):
        # Decades alone leave an axis around K = 5 without a number.
        narrow = limits[1] / limits[0] < 20
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter("")
    axes[0].set_xlabel("factor of a single patch by theory, $K$")
    axes[0].set_ylabel("the same, estimated")
    if curves:
        axes[1].axhline(1, color="black", lw=0.8)
        axes[1].set_xscale("log", base=2)
        axes[1].xaxis.set_major_formatter("{x:g}")
        axes[1].set_xlabel("patches averaged $m'$")
        axes[1].set_ylabel(r"$m'\,\mathrm{Var}(m')$ / value at smallest $m'$")
    style.legend(figure, axes[0].get_legend_handles_labels()[0], title)
    return figure


@dataclass(frozen=True, kw_only=True)
class FactorTrial:
    """A run that was trained with some covariance factor.

    Attributes:
        factor: Factor of a single patch: the one that was used times the patches averaged.
        patches: Patches m that were evolved of each snapshot.
        mmd: Squared MMD of each member's predictions, shape [member].
    """

    factor: float
    patches: int
    mmd: ArrayLike


@style.styled
def mmd_against_factor(
    runs: Sequence[FactorTrial],
    *,
    theory: float,
    null: tuple[float, float] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the squared MMD of predictions against the covariance factor they were trained with.

    Args:
        runs: The runs, in any order; a line joins those of equal m.
        theory: K, the factor of a single patch for independent patches.
        null: Mean and 95 % quantile of the squared MMD that an exact model's members would show.
        title: Title of the figure.

    Returns:
        The figure; points are averages over members, bars span the members. The vertical axis is
        logarithmic, but linear below the 95 % quantile, where the unbiased estimate may be
        negative.
    """
    figure = style.new_figure(4.0, 6.2)
    panel = style.grid(figure, 1, 1)[0, 0]
    panel.axvline(theory, color=style.QUIET, lw=1.2, ls="--", zorder=0.95)
    handles: list[Any] = []
    values: list[float] = [null[1]] if null else []
    factors = sorted({run.factor for run in runs} | {theory})
    counts = sorted({run.patches for run in runs})
    for n, count in enumerate(counts):
        colour = style.PALETTE[n % len(style.PALETTE)]
        group = sorted((r for r in runs if r.patches == count), key=lambda r: r.factor)
        members = [np.atleast_1d(np.asarray(r.mmd, np.float64)) for r in group]
        lost = np.array([not np.isfinite(m).all() for m in members])
        members = [np.full(1, np.nan) if gone else m for gone, m in zip(lost, members, strict=True)]
        # Side by side where two m share a factor.
        x = np.array([r.factor for r in group]) * 1.02 ** (2 * n - len(counts) + 1)
        mean = np.array([m.mean() for m in members])
        reach = np.array([[a - m.min(), m.max() - a] for a, m in zip(mean, members, strict=True)])
        values += [float(v) for m in members for v in m if np.isfinite(v)]
        handles.append(
            panel.errorbar(
                x, mean, reach.T, color=colour, marker="osD^vP"[n % 6], lw=1.1, capsize=2.5,
                elinewidth=1.1, label=f"$m = {count}$ patch{'es' if count > 1 else ''} evolved",
            )
        )  # fmt: skip
        for place in x[lost]:
            panel.text(
                place, 0.98, "diverged", color=colour, rotation=90, fontsize=8, ha="center",
                va="top", transform=panel.get_xaxis_transform(),
            )  # fmt: skip
    panel.set_xscale("log")
    margin = (factors[-1] / factors[0]) ** 0.06
    panel.set_xlim(factors[0] / margin, factors[-1] * margin)
    _plain_ticks(panel, factors)
    if null is not None:
        low = min(0.0, *values)
        panel.axhspan(2 * low - null[1], null[1], color="0.88", lw=0, zorder=0.5)
        panel.axhline(null[0], color="0.6", lw=0.8, zorder=0.6)
        handles.append(Patch(color="0.88", lw=0, label="exact model, up to 95 %"))
    scale = null[1] if null and null[1] > 0 else 0.1 * max(map(abs, values), default=1.0) or 1.0
    if values and max(values) > 10 * scale:
        panel.set_yscale("symlog", linthresh=scale, linscale=0.6)
    low, high = min([0.0, *values]), max([scale, *values])
    panel.set_ylim(min(1.3 * low, -0.25 * scale), 1.5 * high)
    panel.set_xlabel("covariance factor of a single patch")
    panel.set_ylabel("squared MMD, averaged over times")
    handles.append(Line2D([], [], color=style.QUIET, lw=1.2, ls="--",
                          label=f"theory, $K = {theory:g}$"))  # fmt: skip
    style.legend(figure, handles, title)
    return figure


def _plain_ticks(panel: Axes, values: Sequence[float]) -> None:
    """Label a logarithmic axis with the factors themselves, as far as they do not collide."""
    kept: list[float] = []
    span = np.log(values[-1] / values[0]) or 1.0
    for value in values:
        if not kept or np.log(value / kept[-1]) > 0.07 * span:
            kept.append(value)
    panel.xaxis.set_major_locator(FixedLocator(kept))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:.3g}"))
