"""Figures of what a run took: its costs by stage, and the training of its models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from macrodyn.evaluation import style

__all__ = ["Cost", "TrainingCurve", "costs", "training_curves"]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one way to the result costs, by stage.

    Attributes:
        name: Name of the run, or of direct simulation.
        updates: Microscopic site updates of each stage.
        seconds: Processor seconds of each stage.
    """

    name: str
    updates: Mapping[str, float]
    seconds: Mapping[str, float]


@style.styled
def costs(entries: Sequence[Cost], *, title: str | None = None) -> Figure:
    """Draw costs as bars stacked by stage, in site updates and in seconds.

    Lengths are linear, as stacks need; a bar far longer than the others is cut, which a
    break and the total beside it show.

    Args:
        entries: Runs and direct simulation, from top to bottom.
        title: Title of the figure.

    Returns:
        The figure.
    """
    amounts = [pair for e in entries for pair in [*e.updates.items(), *e.seconds.items()]]
    stages = list(dict.fromkeys(stage for stage, value in amounts if value > 0))
    colours = {s: style.PALETTE[n % len(style.PALETTE)] for n, s in enumerate(stages)}
    figure = style.new_figure(1.25 + 0.42 * len(entries))
    axes = style.grid(figure, 1, 2, sharey=True)[0]
    quantities = (("updates", "microscopic site updates"), ("seconds", "processor time [s]"))
    for panel, (attribute, text) in zip(axes, quantities, strict=True):
        parts = [getattr(entry, attribute) for entry in entries]
        totals = np.array([sum(part.values()) for part in parts])
        limit = _break_limit(totals)
        for row, part in enumerate(parts):
            left = 0.0
            for stage, value in part.items():
                if value <= 0:
                    continue
                width = min(left + value, limit) - min(left, limit)
                panel.barh(row, width, left=left, height=0.62, color=colours[stage], lw=0)
                left += value
            end = min(left, limit)
            if left > limit:
                panel.text(
                    0.93 * limit, row, "//", ha="center", va="center", color="white",
                    fontweight="bold", fontsize=13,
                )  # fmt: skip
            panel.text(end + 0.02 * limit, row, _amount(left), va="center", fontsize=8.5)
        panel.set_xlim(0, 1.28 * limit)
        panel.set_xlabel(text)
        panel.grid(False, axis="y")
        panel.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(entries)), [entry.name for entry in entries])
    axes[0].invert_yaxis()
    handles = [Line2D([], [], color=colours[s], lw=7, label=s.replace("_", " ")) for s in stages]
    style.legend(figure, handles, title, handlelength=0.9)
    return figure


@dataclass(frozen=True, kw_only=True)
class TrainingCurve:
    """Losses of one member; steps and losses of equal length, for training and validation."""

    training_step: ArrayLike
    training_loss: ArrayLike
    validation_step: ArrayLike
    validation_loss: ArrayLike


@style.styled
def training_curves(
    models: Mapping[str, Sequence[TrainingCurve]], *, title: str | None = None
) -> Figure:
    """Draw training and validation loss against step, a panel for each model.

    Losses may be negative (a Gaussian likelihood), so the axis is linear; the first spike is cut
    off where it would flatten the rest.

    Args:
        models: For each model (e.g. closure, dynamics) the curves of its members.
        title: Title of the figure.

    Returns:
        The figure; a dot marks each member's best validation loss.
    """
    figure = style.new_figure(3.3, style.WIDTH if len(models) > 1 else 5.0)
    axes = style.grid(figure, 1, len(models))[0]
    for panel, (name, curves) in zip(axes, models.items(), strict=True):
        late: list[NDArray[np.float64]] = []
        for n, curve in enumerate(curves):
            colour = style.PALETTE[n % len(style.PALETTE)]
            step = np.asarray(curve.validation_step, np.float64)
            loss = np.asarray(curve.validation_loss, np.float64)
            train = np.asarray(curve.training_loss, np.float64)
            panel.plot(curve.training_step, train, color=colour, lw=0.7, alpha=0.4)
            panel.plot(step, loss, color=colour, lw=1.4)
            if np.isfinite(loss).any():
                best = int(np.nanargmin(loss))
                panel.plot(step[best], loss[best], "o", color=colour, ms=4.5, mec="white", mew=0.7)
            late += [v[len(v) // 5 :][np.isfinite(v[len(v) // 5 :])] for v in (train, loss)]
        values = np.concatenate(late) if late else np.empty(0)
        if values.size and values.max() > values.min():
            margin = 0.06 * (values.max() - values.min())
            panel.set_ylim(values.min() - margin, values.max() + margin)
        panel.set_xlabel("optimiser step")
        panel.set_ylabel(f"loss of the {name.replace('_', ' ')}")
        panel.margins(x=0.02)
    handles = [
        Line2D([], [], color="0.3", lw=0.8, alpha=0.5, label="training"),
        Line2D([], [], color="0.3", lw=1.4, label="validation"),
        Line2D([], [], color="0.3", marker="o", ls="", ms=4.5, label="best, by member (colour)"),
    ]
    style.legend(figure, handles, title)
    return figure


def _break_limit(totals: NDArray[np.float64]) -> float:
    """Return the length at which bars are cut: none, unless one dwarfs the next by over 5."""
    ordered = np.sort(totals)
    if len(ordered) > 1 and ordered[-2] > 0 and ordered[-1] > 5 * ordered[-2]:
        return 1.6 * float(ordered[-2])
    return float(ordered[-1]) or 1.0


def _amount(value: float) -> str:
    if value == 0:
        return "0"
    if 0.01 <= value < 10_000:
        return f"{value:.3g}"
    exponent = int(np.floor(np.log10(value)))
    return rf"${value / 10**exponent:.1f}\times10^{{{exponent}}}$"
