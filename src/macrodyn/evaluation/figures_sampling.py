"""Figures of the sampling stages: snapshots at each level of upsampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from macrodyn.evaluation import style

__all__ = ["SnapshotLevel", "snapshots"]

_TALLEST = 8.0
_FIRST = "small system:\nnot upsampled"
_COLUMNS = ("after upsampling", "after relaxation", "direct simulation")


@dataclass(frozen=True, kw_only=True)
class SnapshotLevel:
    """The snapshots of one size. Each is [*lattice] or [channel, *lattice], or None.

    Attributes:
        upsampled: As upsampling left it; None at the first level, which is simulated.
        relaxed: After relaxation, or the simulated small system at the first level.
        direct: A snapshot of that size by direct simulation, None if there is none.
        note: What to write in the place of a missing snapshot.
    """

    upsampled: NDArray[Any] | None
    relaxed: NDArray[Any] | None
    direct: NDArray[Any] | None = None
    note: str = "not simulated"


@style.styled
def snapshots(
    levels: Sequence[SnapshotLevel],
    *,
    dimension: int = 2,
    channel_names: Sequence[str] = (),
    quantity: str = "field",
    title: str | None = None,
) -> Figure:
    """Draw a row for each level: after upsampling, after relaxation, by direct simulation.

    Integer states of two values are drawn black (lower value) and white, other planar fields in
    colour with one scale for all panels (their first channel), one-dimensional fields as lines
    over a common axis of sites (all channels). A column without any snapshot is left out.

    Args:
        levels: From the smallest size to the largest.
        dimension: Dimension of the lattice, 1 or 2; for 3, the middle plane is shown.
        channel_names: Names of the channels, for the legend of the lines.
        quantity: What a field is, with unit, for its axis or colour bar.
        title: Title of the figure.

    Returns:
        The figure.

    Raises:
        ValueError: If there are no levels or a state does not have the dimension.
    """
    if not levels:
        raise ValueError("snapshots needs at least one level")
    states = [[_cube(s, dimension) for s in (v.upsampled, v.relaxed, v.direct)] for v in levels]
    columns = [c for c in range(3) if any(row[c] is not None for row in states)]
    given = [s for row in states for s in row if s is not None]
    if dimension == 1:
        return _lines(levels, states, columns, channel_names, quantity, title)

    planes = [_plane(s) for s in given]
    ratios = [max(_ratio(s) for s in line if s is not None) for line in states]
    # Panels as wide as three of them fit, narrower where the figure would exceed a page.
    wide = min(2.15, _TALLEST / sum(ratios))
    figure = style.new_figure(
        wide * sum(ratios) + 0.08 * len(levels) + 0.35, max(wide * len(columns) + 0.6, 3.0)
    )
    axes = style.grid(figure, len(levels), len(columns), gridspec_kw={"height_ratios": ratios})
    values = np.unique(np.concatenate([np.unique(p) for p in planes]))
    discrete = np.issubdtype(given[0].dtype, np.integer)
    scale: dict[str, Any] = {"vmin": values[0], "vmax": values[-1]}
    scale["cmap"] = "gray" if discrete and len(values) <= 2 else "viridis"
    if discrete and len(values) <= 2:
        # A snapshot of one value only must keep that value's colour.
        scale["vmin"], scale["vmax"] = (-1, 1) if values[0] < 0 else (0, 1)
    image: AxesImage | None = None
    for row, (level, line) in enumerate(zip(levels, states, strict=True)):
        for place, column in enumerate(columns):
            panel, state = axes[row, place], line[column]
            panel.grid(False)
            panel.set(xticks=[], yticks=[])
            if state is None:
                panel.set_box_aspect(ratios[row])
                _missing(panel, level.note if column == 2 else _FIRST)
                continue
            image = panel.imshow(_plane(state), interpolation="nearest", **scale)
            for spine in panel.spines.values():
                spine.set_visible(True)
        axes[row, 0].set_ylabel(_size(line))
    _heads(axes, columns)
    if image is not None and scale["cmap"] != "gray":
        bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, pad=0.02)
        bar.set_label(quantity)
    if title:
        figure.suptitle(title)
    return figure


def _lines(
    levels: Sequence[SnapshotLevel],
    states: list[list[NDArray[Any] | None]],
    columns: list[int],
    channel_names: Sequence[str],
    quantity: str,
    title: str | None,
) -> Figure:
    figure = style.new_figure(0.7 + 1.35 * len(levels))
    axes = style.grid(figure, len(levels), len(columns), sharey=True)
    # One scale of length for all sizes: a wave must look as long before and after upsampling.
    longest = max(s.shape[1] for line in states for s in line if s is not None)
    for row, (level, line) in enumerate(zip(levels, states, strict=True)):
        for place, column in enumerate(columns):
            panel, state = axes[row, place], line[column]
            if state is None:
                _missing(panel, level.note if column == 2 else _FIRST)
                panel.set_xticks([])
                panel.tick_params(left=False)
                panel.grid(False)
                continue
            for k, values in enumerate(state):
                panel.plot(values, lw=1.1, color=style.PALETTE[k % len(style.PALETTE)])
            panel.set_xlim(0, longest - 1)
            if row == len(levels) - 1:
                panel.set_xlabel("site")
        axes[row, 0].set_ylabel(f"{quantity}\n{_size(line)}")
    _heads(axes, columns)
    if channel_names:
        handles = [
            Line2D([], [], color=style.PALETTE[k % len(style.PALETTE)], label=name)
            for k, name in enumerate(channel_names)
        ]
        style.legend(figure, handles, title)
    elif title:
        figure.suptitle(title)
    return figure


def _plane(state: NDArray[Any]) -> NDArray[Any]:
    plane: NDArray[Any] = state[0]
    return plane if plane.ndim == 2 else plane[len(plane) // 2]


def _ratio(state: NDArray[Any]) -> float:
    return float(state.shape[-2] / state.shape[-1])


def _heads(axes: NDArray[Any], columns: list[int]) -> None:
    for place, column in enumerate(columns):
        axes[0, place].set_title(_COLUMNS[column])


def _missing(panel: Axes, note: str) -> None:
    panel.text(
        0.5, 0.5, note, transform=panel.transAxes, ha="center", va="center", color=style.QUIET
    )
    for spine in panel.spines.values():
        spine.set_visible(False)


def _size(line: list[NDArray[Any] | None]) -> str:
    shape = next(s.shape[1:] for s in line if s is not None)
    return " × ".join(str(n) for n in shape) + (" sites" if len(shape) == 1 else "")


def _cube(state: NDArray[Any] | None, dimension: int) -> NDArray[Any] | None:
    if state is None:
        return None
    array = np.asarray(state)
    if array.ndim == dimension:
        array = array[None]
    if array.ndim != dimension + 1:
        raise ValueError(
            f"a snapshot must be [*lattice] or [channel, *lattice] with a lattice of dimension "
            f"{dimension}, got shape {np.shape(state)}"
        )
    return array
