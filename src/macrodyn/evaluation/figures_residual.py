"""Figure of the residual of the increments by snapshot age."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from macrodyn.evaluation import style
from macrodyn.evaluation.residual import AgeResidual

__all__ = ["residuals_by_age"]

_MOST_COLUMNS = 2
_SHIFT = 0.12


@style.styled
def residuals_by_age(
    residual: AgeResidual,
    *,
    names: Sequence[str],
    held_out: AgeResidual | None = None,
    time_unit: str = "1",
    title: str | None = None,
) -> Figure:
    """Draw the mean residual of the increments at each age, a panel for each variable.

    Args:
        residual: Of all snapshots.
        names: The variables as axes show them.
        held_out: Of the groups that the drift was not fitted to.
        time_unit: Unit of time for the axes.
        title: Title of the figure.

    Returns:
        The figure. Ages are evenly spaced whatever they are; each panel notes chi^2 per degree of
        freedom.
    """
    columns = min(len(names), _MOST_COLUMNS)
    rows = -(-len(names) // columns)
    figure = style.new_figure(1.0 + 2.3 * rows, style.WIDTH if columns > 1 else 4.6)
    axes = style.grid(figure, rows, columns)
    entries = [(residual, style.PALETTE[0], "o", "all groups, ±1 std. error")]
    if held_out is not None:
        entries.append((held_out, style.PALETTE[1], "s", "groups held out of the fit"))
    ages = residual.age
    for panel in axes.flat[len(names) :]:
        panel.set_visible(False)
    for k, (name, panel) in enumerate(zip(names, axes.flat, strict=False)):
        panel.axhline(0, color="black", lw=0.6)
        notes = []
        for n, (entry, colour, marker, _) in enumerate(entries):
            # By place: ages of 0, 1, 100 would crowd on a linear axis, and 0 has no logarithm.
            place = np.searchsorted(ages, entry.age) + _SHIFT * (2 * n - len(entries) + 1)
            panel.errorbar(
                place, entry.residual[:, k], entry.standard_error[:, k], color=colour,
                marker=marker, ms=4, ls="", elinewidth=1.0, capsize=2,
            )  # fmt: skip
            notes.append(_chi2(float(entry.chi2_per_degree[k])))
        panel.set_title(
            rf"$\chi^2$ per degree {', held out '.join(notes)}", loc="right", fontsize=8.5
        )
        step = -(-len(ages) // 8)
        panel.set_xticks(range(0, len(ages), step), [f"{age:.3g}" for age in ages[::step]])
        panel.set_xlim(-0.6, len(ages) - 0.4)
        panel.set_ylabel(style.rate(f"residual of {style.symbol(name)}", time_unit))
        if k >= len(names) - columns:
            panel.set_xlabel(style.quantity("age of the snapshot", time_unit))
    handles = [
        Line2D([], [], color=colour, marker=marker, ls="", ms=4, label=text)
        for _, colour, marker, text in entries
    ]
    style.legend(figure, handles, title)
    return figure


def _chi2(value: float) -> str:
    return f"{value:.2g}" if np.isfinite(value) else "unknown"
