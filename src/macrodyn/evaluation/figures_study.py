"""Figures that compare the test errors of a study's runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

from macrodyn.evaluation import style

__all__ = [
    "Ablation",
    "ErrorSeries",
    "ablations",
    "error_against_patch_size",
]


@dataclass(frozen=True, kw_only=True)
class ErrorSeries:
    """Test errors of one method at several sizes of the small system.

    Attributes:
        name: Name in the legend.
        sizes: Shapes of the small system, e.g. [(8, 8), (16, 16)] or [(100,), (200,)].
        errors: Errors of the members at each size; one array for each size.
    """

    name: str
    sizes: Sequence[tuple[int, ...]]
    errors: Sequence[ArrayLike]


@style.styled
def error_against_patch_size(
    series: Sequence[ErrorSeries],
    *,
    sampling_error: tuple[float, float] | None = None,
    published: Sequence[ErrorSeries] = (),
    ylabel: str = "relative squared error of the mean",
    title: str | None = None,
) -> Figure:
    """Draw test error against the size of the small system on logarithmic axes.

    Args:
        series: Ours and the baselines; points are averages over members, bars span the members.
        sampling_error: 5 % and 95 % quantiles of the sampling error (`bootstrap`): below it no
            model can be told from an exact one.
        published: Values from elsewhere, drawn as open symbols; in the colour of the series whose
            name theirs ends with ("published, naive").
        ylabel: What the error is.
        title: Title of the figure.

    Returns:
        The figure.
    """
    figure = style.new_figure(4.0, 6.2)
    panel = style.grid(figure, 1, 1)[0, 0]
    shapes = sorted({tuple(s) for entry in [*series, *published] for s in entry.sizes}, key=np.prod)
    markers = "osD^vP"
    if sampling_error is not None:
        low, high = sampling_error
        band = panel.axhspan(
            low, high, color="0.85", lw=0, label="sampling error (exact model), 5 % to 95 %"
        )
    handles: list[Any] = []
    spread = 1.025
    for n, entry in enumerate(series):
        colour = style.PALETTE[n % len(style.PALETTE)]
        # Methods side by side, so that their bars do not cover each other.
        x = _sites(entry) * spread ** (2 * n - len(series) + 1)
        members = [np.atleast_1d(np.asarray(e, np.float64)) for e in entry.errors]
        lost = np.array([not np.isfinite(e).all() for e in members])
        members = [np.full(1, np.nan) if gone else e for gone, e in zip(lost, members, strict=True)]
        mean = np.array([e.mean() for e in members])
        reach = np.array([[m - e.min(), e.max() - m] for m, e in zip(mean, members, strict=True)])
        handles.append(
            panel.errorbar(
                x, mean, reach.T, color=colour, marker=markers[n % 6], capsize=2.5, elinewidth=1.1,
                label=entry.name,
            )
        )  # fmt: skip
        for place in x[lost]:
            panel.text(
                place, 0.98, f"{entry.name}: diverged", color=colour, rotation=90, fontsize=8,
                ha="center", va="top", transform=panel.get_xaxis_transform(),
            )  # fmt: skip
    for k, entry in enumerate(published):
        stem = entry.name.removesuffix(" (published)")
        n = next((n for n, s in enumerate(series) if stem.endswith(s.name)), len(series) + k)
        mean = np.array([np.mean(np.asarray(e, np.float64)) for e in entry.errors])
        handles += panel.plot(
            _sites(entry), mean, color=style.PALETTE[n % len(style.PALETTE)], ls=":", lw=1.0,
            marker=markers[n % 6], mfc="white", ms=6, label=entry.name,
        )  # fmt: skip
    panel.set(xscale="log", yscale="log", ylabel=ylabel)
    panel.set_xlabel("size of the small system [sites]")
    places = [float(np.prod(s)) for s in shapes]
    panel.xaxis.set_major_locator(FixedLocator(places))
    if len(set(places)) == 1:
        panel.set_xlim(places[0] / 1.5, places[0] * 1.5)
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xticklabels([" × ".join(str(n) for n in s) for s in shapes])
    if sampling_error is not None:
        handles.append(band)
    style.legend(figure, handles, title)
    return figure


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """Test errors of one run on each horizon: horizon to the members' errors."""

    name: str
    errors: Mapping[str, ArrayLike]


@style.styled
def ablations(
    runs: Sequence[Ablation],
    *,
    baseline: str | None = None,
    sampling_error: Mapping[str, float] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the test error of each run as dots on a logarithmic axis, a panel for each horizon.

    Args:
        runs: From top to bottom.
        baseline: Name of the run whose error is drawn as a line, to compare the others with.
        sampling_error: The reference's expected own error on each horizon.
        title: Title of the figure.

    Returns:
        The figure; large dots are averages over members, small ones the members.

    Raises:
        ValueError: If the baseline is not among the runs.
    """
    horizons = list(dict.fromkeys(h for run in runs for h in run.errors))
    by_name = {run.name: run for run in runs}
    if baseline is not None and baseline not in by_name:
        raise ValueError(f"baseline '{baseline}' is not among the runs {list(by_name)}")
    figure = style.new_figure(1.3 + 0.3 * len(runs), style.WIDTH if len(horizons) > 1 else 5.2)
    axes = style.grid(figure, 1, len(horizons), sharey=True)[0]
    for panel, horizon in zip(axes, horizons, strict=True):
        for row, run in enumerate(runs):
            if horizon not in run.errors:
                continue
            members = np.atleast_1d(np.asarray(run.errors[horizon], np.float64))
            colour = style.PALETTE[1] if run.name == baseline else style.PALETTE[0]
            if not np.isfinite(members).all():
                panel.text(
                    0.99, row, "diverged", color=colour, fontsize=8, ha="right", va="center",
                    transform=panel.get_yaxis_transform(),
                )  # fmt: skip
                continue
            panel.plot(members, np.full(members.size, row), "o", ms=3, color=colour, alpha=0.4)
            panel.plot(members.mean(), row, "o", ms=7, color=colour, mec="white", mew=0.8)
        if baseline is not None and horizon in by_name[baseline].errors:
            level = float(np.mean(np.asarray(by_name[baseline].errors[horizon], np.float64)))
            panel.axvline(level, color=style.PALETTE[1], lw=1.0, ls=(0, (4, 2)), zorder=0.9)
        if sampling_error is not None and horizon in sampling_error:
            panel.axvline(sampling_error[horizon], color=style.QUIET, lw=1.0, ls=":", zorder=0.9)
        panel.set_xscale("log")
        panel.set_title(horizon)
        panel.set_xlabel("relative squared error of the mean")
    axes[0].set_yticks(range(len(runs)), [run.name for run in runs])
    axes[0].set_ylim(len(runs) - 0.5, -0.5)
    handles = [
        Line2D([], [], color="0.3", marker="o", ls="", ms=6, label="mean over members"),
        Line2D([], [], color="0.3", marker="o", ls="", ms=3, alpha=0.5, label="members"),
    ]
    if baseline is not None:
        handles.append(
            Line2D([], [], color=style.PALETTE[1], lw=1, ls=(0, (4, 2)), label=f"as '{baseline}'")
        )
    if sampling_error is not None:
        handles.append(
            Line2D([], [], color=style.QUIET, lw=1, ls=":", label="sampling error (exact model)")
        )
    style.legend(figure, handles, title)
    return figure


def _sites(entry: ErrorSeries) -> NDArray[np.float64]:
    return np.array([np.prod(size) for size in entry.sizes], dtype=np.float64)
