"""Figure of how well the observables' future is told, by the number of variables and the lag."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from macrodyn.evaluation import style
from macrodyn.evaluation.forecast import ForecastScores
from macrodyn.evaluation.worth import MATERIAL

__all__ = ["forecast_scores"]

# Between the marks of two lags, in variables.
_APART = 0.08


@style.styled
def forecast_scores(
    scores: ForecastScores,
    *,
    names: Sequence[str],
    time_unit: str = "1",
    title: str | None = None,
) -> Figure:
    """Draw the gain against the number of variables, a line for each lag.

    Args:
        scores: The scores.
        names: The observables as axes show them.
        time_unit: Unit of time for the legend.
        title: Title of the figure.

    Returns:
        The figure: a panel for each observable, with standard errors.
    """
    figure = style.new_figure(3.8)
    panels = style.grid(figure, 1, len(names), sharey=True)
    added = range(len(scores.order) + 1)
    labels = ["observables", *(f"+ {name}" for name in scores.order)]
    for k, (panel, name) in enumerate(zip(panels.flat, names, strict=True)):
        for lag in range(len(scores.elapsed)):
            shift = _APART * (lag - (len(scores.elapsed) - 1) / 2)
            panel.errorbar(
                [number + shift for number in added],
                scores.gain[lag, :, k],
                yerr=scores.standard_error[lag, :, k],
                color=style.PALETTE[lag % len(style.PALETTE)],
                marker="o", ms=4, capsize=2, elinewidth=1.0, lw=1.0,
            )  # fmt: skip
        panel.axhline(0, color="black", lw=0.6)
        panel.set_yscale("symlog", linthresh=MATERIAL)
        panel.set_xticks(added, labels, rotation=30, ha="right")
        panel.set_title(f"rates of {name}")
    panels.flat[0].set_ylabel("gain, share of\nthe rates' variance")
    handles = [
        Line2D([], [], color=style.PALETTE[lag % len(style.PALETTE)], marker="o", ms=4, lw=1.0,
               label=f"over {style.quantity_value(time, time_unit)}")
        for lag, time in enumerate(scores.elapsed)
    ]  # fmt: skip
    style.legend(figure, handles, title)
    return figure
