"""Figures of the sampling stages: snapshots at each level of upsampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from macrodyn.evaluation import style

__all__ = ["SnapshotLevel", "snapshots"]

_TALLEST = 8.0
_FIRST = "small system:\nnot upsampled"
_COLUMNS = ("after upsampling", "after relaxation", "direct simulation")
_EDGE = "0.45"


@dataclass(frozen=True, kw_only=True)
class SnapshotLevel:
    """The snapshots of one size. Each is [*lattice] or [channel, *lattice], or None.

    Attributes:
        upsampled: As upsampling left it; None at the first level, which is simulated.
        relaxed: After relaxation, or the simulated small system at the first level.
        direct: A snapshot of that size by direct simulation, None if there is none.
        note: What to write in the place of a missing snapshot.
        captions: What to write above the three, e.g. time and macrostate.
    """

    upsampled: NDArray[Any] | None
    relaxed: NDArray[Any] | None
    direct: NDArray[Any] | None = None
    note: str = "not simulated"
    captions: tuple[str, str, str] = ("", "", "")


@style.styled
def snapshots(
    levels: Sequence[SnapshotLevel],
    *,
    dimension: int = 2,
    channel_names: Sequence[str] = (),
    state_labels: Mapping[int, str] | None = None,
    quantity: str = "value of a site",
    title: str | None = None,
) -> Figure:
    """Draw a row for each level: after upsampling, after relaxation, by direct simulation.

    Integer states of few values have a colour for each, named in a legend; two are black (the lower
    value) and white. Other planar fields are drawn in colour with one scale for all panels (their
    first channel), one-dimensional ones as lines over a common axis of sites (all channels). A
    column without any snapshot is left out.

    Args:
        levels: From the smallest size to the largest.
        dimension: Dimension of the lattice, 1 or 2; for 3, the middle plane is shown.
        channel_names: Names of the channels, for the legend of the lines.
        state_labels: Names of integer states, by value; a value without a name stands for itself.
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
    given = [s for row in states for s in row if s is not None]
    columns = [c for c in range(3) if any(row[c] is not None for row in states)]
    names = dict(state_labels or {})
    colours = _Colours.of(given, names)
    if dimension == 1:
        figure, axes = _lines(states, columns, colours, quantity)
    else:
        figure, axes = _planes(states, columns, colours, quantity)
    for row, (level, line) in enumerate(zip(levels, states, strict=True)):
        for place, column in enumerate(columns):
            if line[column] is None:
                _missing(axes[row, place], level.note if column == 2 else _FIRST)
            head = [_COLUMNS[column]] if row == 0 else []
            text = "\n".join([*head, *filter(None, [level.captions[column]])])
            axes[row, place].set_title(text, fontsize=9)
    if colours is not None:
        style.legend(figure, colours.handles(names), title)
    elif dimension == 1 and channel_names:
        handles = [
            Line2D([], [], color=style.PALETTE[k % len(style.PALETTE)], label=name)
            for k, name in enumerate(channel_names)
        ]
        style.legend(figure, handles, title)
    elif title:
        figure.suptitle(title)
    return figure


@dataclass(frozen=True)
class _Colours:
    """A colour for each of a few integer values, the same in all panels."""

    values: list[int]
    colours: list[Any]

    @classmethod
    def of(cls, states: list[NDArray[Any]], names: Mapping[int, str]) -> _Colours | None:
        """Choose the colours; None for real states, and for more values than there are colours."""
        if not np.issubdtype(states[0].dtype, np.integer):
            return None
        values = {int(v) for state in states for v in np.unique(state)} | set(names)
        if len(values) > len(style.PALETTE):
            return None
        # A snapshot of one value only must keep that value's colour.
        for pair in ({-1, 1}, {0, 1}):
            values |= pair if values < pair else set()
        ordered = sorted(values)
        if len(ordered) == 2:
            return cls(ordered, ["black", "white"])
        return cls(ordered, list(style.PALETTE[: len(ordered)]))

    def options(self) -> dict[str, Any]:
        """Options of `imshow`."""
        inner = np.convolve(self.values, [0.5, 0.5], mode="valid")
        limits = [self.values[0] - 1, *inner, self.values[-1] + 1]
        return {
            "cmap": ListedColormap(self.colours),
            "norm": BoundaryNorm(limits, len(self.values)),
        }

    def handles(self, names: Mapping[int, str]) -> list[Patch]:
        return [
            Patch(facecolor=colour, edgecolor=_EDGE, lw=0.8, label=names.get(value, str(value)))
            for value, colour in zip(self.values, self.colours, strict=True)
        ]


Rows = list[list[NDArray[Any] | None]]


def _planes(
    states: Rows, columns: list[int], colours: _Colours | None, quantity: str
) -> tuple[Figure, NDArray[Any]]:
    ratios = [max(_ratio(s) for s in line if s is not None) for line in states]
    # Panels as wide as three of them fit, narrower where the figure would exceed a page.
    wide = min(2.15, _TALLEST / sum(ratios))
    figure = style.new_figure(
        wide * sum(ratios) + 0.5 * len(states) + 0.5, max(wide * len(columns) + 0.6, 3.0)
    )
    axes = style.grid(figure, len(states), len(columns), gridspec_kw={"height_ratios": ratios})
    if colours is not None:
        options = colours.options()
    else:
        planes = [_plane(s) for line in states for s in line if s is not None]
        low, high = min(p.min() for p in planes), max(p.max() for p in planes)
        options = {"vmin": low, "vmax": high, "cmap": "viridis"}
    image: AxesImage | None = None
    for row, line in enumerate(states):
        for place, column in enumerate(columns):
            panel, state = axes[row, place], line[column]
            panel.grid(False)
            panel.set(xticks=[], yticks=[])
            if state is None:
                panel.set_box_aspect(ratios[row])
                continue
            image = panel.imshow(_plane(state), interpolation="nearest", **options)
            for spine in panel.spines.values():
                spine.set_visible(True)
        axes[row, 0].set_ylabel(_size(line))
    if image is not None and colours is None:
        bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, pad=0.02)
        bar.set_label(quantity)
    return figure, axes


def _lines(
    states: Rows, columns: list[int], colours: _Colours | None, quantity: str
) -> tuple[Figure, NDArray[Any]]:
    figure = style.new_figure(0.9 + (1.6 if colours is None else 1.1) * len(states))
    axes = style.grid(figure, len(states), len(columns), sharey=True)
    # One scale of length for all sizes: a wave must look as long before and after upsampling.
    longest = max(s.shape[1] for line in states for s in line if s is not None)
    for row, line in enumerate(states):
        for place, column in enumerate(columns):
            panel, state = axes[row, place], line[column]
            if state is None:
                panel.set_xticks([])
                panel.tick_params(left=False)
                panel.grid(False)
                continue
            if colours is not None:
                _strips(panel, state, colours)
            else:
                for k, values in enumerate(state):
                    panel.plot(values, lw=1.1, color=style.PALETTE[k % len(style.PALETTE)])
            panel.set_xlim(0, longest - 1)
            if row == len(states) - 1:
                panel.set_xlabel("site")
        size = _size(line)
        axes[row, 0].set_ylabel(size if colours is not None else f"{quantity}\n{size}")
    return figure, axes


def _strips(panel: Axes, state: NDArray[Any], colours: _Colours) -> None:
    """Draw each channel of a line as a strip of coloured sites."""
    panel.imshow(
        state, interpolation="nearest", aspect="auto",
        extent=(-0.5, state.shape[1] - 0.5, 0, 1), **colours.options(),
    )  # fmt: skip
    # Beyond the end of a shorter line there is nothing, which no colour of a site must look like.
    panel.set(ylim=(0, 1), yticks=[], facecolor="0.9")
    panel.grid(False)
    for spine in panel.spines.values():
        spine.set_visible(True)


def _plane(state: NDArray[Any]) -> NDArray[Any]:
    plane: NDArray[Any] = state[0]
    return plane if plane.ndim == 2 else plane[len(plane) // 2]


def _ratio(state: NDArray[Any]) -> float:
    return float(state.shape[-2] / state.shape[-1])


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
