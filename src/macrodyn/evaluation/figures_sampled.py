"""Figure of the sampled equilibrium beside late trajectories."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from macrodyn.evaluation import style
from macrodyn.evaluation.sampled import SampledEquilibrium

__all__ = ["sampled_means"]

_COLUMNS = 3
# Letters of all names that stand side by side below a panel.
_LETTERS = 24


@style.styled
def sampled_means(
    places: Sequence[SampledEquilibrium],
    *,
    at: Sequence[float] | Sequence[str],
    axis: str | None,
    names: Sequence[str],
    title: str | None = None,
) -> Figure:
    """Draw means of each observable at equilibrium, of late direct and of late predicted ones.

    Direct ones are left out where nothing was simulated.

    Args:
        places: The comparisons.
        at: Where each stands: values of a condition, or names.
        axis: The condition as the axis shows it; None if they stand by name.
        names: The observables as axes show them.
        title: Title of the figure.

    Returns:
        The figure: a panel for each observable; bars are two standard errors.
    """
    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = style.new_figure(1.0 + 1.9 * rows)
    panels = style.grid(figure, rows, columns, sharex=True)
    numbers = np.arange(len(at)) if axis is None else np.asarray(at, np.float64)
    order = np.argsort(numbers)
    width = 0.2 if axis is None else 0.006 * float(np.ptp(numbers))
    simulated = any(np.isfinite(place.direct).any() for place in places)
    shown = [
        ("sampled equilibrium", "o", "mean", "error", -1),
        *([("late direct trajectories", "s", "direct", "direct_error", 0)] if simulated else []),
        (_predicted(places), "^", None, "ensemble_error", 1),
    ]
    for k, panel in enumerate(panels.flat):
        if k >= len(names):
            panel.axis("off")
            continue
        for n, (_, marker, value, error, shift) in enumerate(shown):
            values = [
                p.predicted.mean(axis=0)[k] if value is None else getattr(p, value)[k]
                for p in places
            ]
            errors = [2.0 * getattr(p, error)[k] for p in places]
            panel.errorbar(
                numbers[order] + shift * width, np.array(values)[order], np.array(errors)[order],
                color=style.PALETTE[n], marker=marker, ms=3, lw=0.8 if axis else 0, elinewidth=1.0,
                capsize=1.5, mfc="white" if n else None,
            )  # fmt: skip
        panel.set_ylabel(names[k])
        if axis is None:
            told = [str(place) for place in at]
            slant = {"rotation": 30, "ha": "right"} if sum(map(len, told)) > _LETTERS else {}
            panel.set_xticks(numbers, told, **slant)
            panel.set_xlim(-0.6, len(at) - 0.4)
        elif k >= len(names) - columns:
            panel.set_xlabel(axis)
    handles = [
        Line2D([], [], color=style.PALETTE[n], marker=marker, ls="", ms=4, label=label)
        for n, (label, marker, *_) in enumerate(shown)
    ]
    style.legend(figure, handles, title)
    return figure


def _predicted(places: Sequence[SampledEquilibrium]) -> str:
    """What is predicted, in words."""
    if all(place.stationary for place in places):
        return "stationary densities of the model"
    return "late predictions"
