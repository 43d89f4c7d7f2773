"""Figures of what a run took: its costs by stage, and the training of its models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator
from numpy.typing import ArrayLike, NDArray

from macrodyn.evaluation import style

__all__ = ["RunCost", "TrainingCurve", "costs", "training_curves"]

_DWARFS = 10
_GAP = (0.84, 0.89)
"""Where a bar and the axis are broken, as parts of the longest bar's length."""


@dataclass(frozen=True, kw_only=True)
class RunCost:
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
def costs(entries: Sequence[RunCost], *, title: str | None = None) -> Figure:
    """Draw costs as bars stacked by stage, in site updates and in seconds.

    Lengths are linear, as stacks need. A bar that dwarfs all others is broken: a gap leaves out its
    middle, its end is drawn on the same scale, and the axis is broken at the same place, with no
    numbers beyond. The total stands beside each bar.

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
        gap = (_GAP[0] * limit, _GAP[1] * limit)
        for row, (part, total) in enumerate(zip(parts, totals, strict=True)):
            broken = total > limit
            left = 0.0
            for stage, value in part.items():
                if value <= 0:
                    continue
                ends = [(left, left + value)]
                if broken:
                    # Before the gap; and the bar's last part, brought to end at the limit.
                    before, after = 0.0, limit - total
                    ends = [
                        tuple(np.clip([left + before, left + value + before], 0, gap[0])),
                        tuple(np.clip([left + after, left + value + after], gap[1], limit)),
                    ]
                for low, high in ends:
                    if high > low:
                        panel.barh(
                            row, high - low, left=low, height=0.62, color=colours[stage], lw=0
                        )
                left += value
            end = min(left, limit)
            panel.text(end + 0.02 * limit, row, _amount(left), va="center", fontsize=8.5)
        panel.set_xlim(0, 1.28 * limit)
        panel.set_xlabel(text)
        panel.grid(False, axis="y")
        panel.tick_params(axis="y", length=0)
        if totals.max() > limit:
            _break_axis(panel, gap)
    axes[0].set_yticks(range(len(entries)), [entry.name for entry in entries])
    axes[0].invert_yaxis()
    handles = [Line2D([], [], color=colours[s], lw=7, label=s.replace("_", " ")) for s in stages]
    style.legend(figure, handles, title, handlelength=0.9)
    return figure


def _break_axis(panel: Axes, gap: tuple[float, float]) -> None:
    """Break the horizontal axis: no numbers from there on, and two strokes across its line."""
    ticks = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(0, gap[0])
    panel.xaxis.set_major_locator(FixedLocator([t for t in ticks if 0 <= t < 0.98 * gap[0]]))
    panel.spines["bottom"].set_visible(False)
    line: dict[str, Any] = {
        "transform": panel.get_xaxis_transform(), "color": "black", "clip_on": False, "lw": 0.8,
    }  # fmt: skip
    for low, high in ((0, gap[0]), (gap[1], panel.get_xlim()[1])):
        panel.add_line(Line2D([low, high], [0, 0], **line))
    for place in gap:
        panel.plot(
            [place], [0], ls="", marker=[(-0.5, -1), (0.5, 1)], ms=8, mec="black", mew=0.8,
            transform=panel.get_xaxis_transform(), clip_on=False,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrainingCurve:
    """Losses of one member; steps and losses of equal length, for training and validation."""

    training_step: ArrayLike
    training_loss: ArrayLike
    validation_step: ArrayLike
    validation_loss: ArrayLike


@style.styled
def training_curves(
    models: Mapping[str, Sequence[TrainingCurve]],
    *,
    title: str | None = None,
    steps: Mapping[str, str] | None = None,
) -> Figure:
    """Draw training and validation loss against step, a panel for each model.

    Losses may be negative (a Gaussian likelihood), so the axis is linear; the first spike is cut
    off where it would flatten the rest.

    Args:
        models: For each model (e.g. closure, dynamics) the curves of its members.
        title: Title of the figure.
        steps: What a step of a model is, where it is not the optimiser's.

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
        panel.set_xlabel((steps or {}).get(name, "optimiser step"))
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
    """Return the length at which bars are broken: none, unless one dwarfs the next by over 10."""
    ordered = np.sort(totals)
    if len(ordered) > 1 and ordered[-2] > 0 and ordered[-1] > _DWARFS * ordered[-2]:
        return 1.8 * float(ordered[-2])
    return float(ordered[-1]) or 1.0


def _amount(value: float) -> str:
    if value == 0:
        return "0"
    if 0.01 <= value < 10_000:
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    exponent = int(np.floor(np.log10(value)))
    return rf"${value / 10**exponent:.1f}\times10^{{{exponent}}}$"
