"""Figure of predicted trajectories, beside directly simulated ones where there are any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from macrodyn.evaluation import style

__all__ = ["trajectories"]

Floats = NDArray[np.float64]

# Observables side by side; of more, labels would cover each other.
_ACROSS = 4
_DASHED = (0, (2, 1.5))
_MOST_ROWS = 4


@style.styled
def trajectories(
    time: ArrayLike,
    initial: ArrayLike,
    reference: ArrayLike | None,
    prediction: ArrayLike,
    names: Sequence[str],
    *,
    components: Sequence[str] | None = None,
    time_unit: str = "1",
    title: str | None = None,
) -> Figure:
    """Draw mean and spread of prediction and direct simulation, and the difference of means.

    Initial macrostates of one component are told apart by colour. Those of two get a row of panels
    for each value of the second (up to four), as they would cover each other in one, and a colour
    for the first. All others have a colour by order, and a legend.

    Without a reference the prediction stands alone, and below are the differences of its members.

    Args:
        time: Shape [time].
        initial: Initial macrostates, shape [initial] or [initial, component].
        reference: Shape [initial, replica, time, observable]; None if there is none.
        prediction: Shape [member, initial, replica, time, variable]; members are pooled.
        names: The observables as axes show them.
        components: The components likewise; the first observable if left out.
        time_unit: Unit of time for the axis.
        title: Title of the figure.

    Returns:
        A figure with a column for each observable, four side by side at most; above the
        trajectories, below the difference prediction - reference with the reference's standard
        error (two of them, grey); without a reference, each member's mean - mean over members with
        a member's standard error.
    """
    data = _Statistics.of(time, reference, prediction, len(names))
    states = np.asarray(initial, np.float64)
    states = states[:, None] if states.ndim == 1 else states
    if components is None:
        components = [names[0], *(f"component {k}" for k in range(1, states.shape[1]))]
    rows = _rows(states)
    blocks = -(-len(names) // _ACROSS)
    across = -(-len(names) // blocks)
    heights = [2.2, 1.0] * (len(rows) * blocks)
    each = 2.3 if blocks == 1 else 3.4
    figure = style.new_figure(5.0 if len(heights) == 2 else 1.1 + each * len(heights) / 2)
    axes = style.grid(
        figure, len(heights), across, sharex=True, gridspec_kw={"height_ratios": heights}
    )
    for last in range(2 * blocks, len(heights) + 1, 2 * blocks):
        for panel in axes[last - 2 : last, len(names) - across * (blocks - 1) :].flat:
            panel.axis("off")
    scalar = states.shape[1] == 1 or len(rows) > 1
    norm = style.initial_norm(states[:, 0] if scalar else np.arange(len(states)))
    places = states[:, 0] if scalar else np.arange(len(states))
    colours: list[Any] = [style.INITIAL_MAP(norm(place)) for place in places]
    for r, members in enumerate(rows):
        for k, name in enumerate(names):
            band = 2 * (r * blocks + k // across)
            upper, lower = axes[band : band + 2, k % across]
            _draw(upper, lower, data, members, k, colours)
            upper.set_ylabel(name if len(rows) == 1 else style.symbol(name))
            lower.set_ylabel(
                f"mean {style.symbol(name)}, difference" if len(rows) == 1 else "difference"
            )
            lower.yaxis.set_major_locator(MaxNLocator(4 if len(rows) == 1 else 3))
            if len(rows) > 1:
                note = f"initial {style.state_label(states[members[0], -1:], components[-1:])}"
                head = f"{name}\n{note}" if r == 0 else note
                upper.set_title(head, fontsize=9)
                upper.yaxis.set_major_locator(MaxNLocator(4))
    for panel in axes[-1]:
        panel.set_xlabel(style.quantity("time", time_unit))
        # A power of ten would stand on the label.
        panel.ticklabel_format(axis="x", scilimits=(-3, 6))
        panel.set_xlim(data.times[0], data.times[-1])
    if scalar and len(np.unique(places)) > 1:
        bar = figure.colorbar(
            ScalarMappable(norm, style.INITIAL_MAP), ax=axes, aspect=35, pad=0.015
        )
        bar.set_label(f"initial {components[0]}")
        values = np.unique(places)
        if len(values) <= 12:
            bar.set_ticks([float(value) for value in values])
    elif not scalar:
        _name_states(figure, states, components, colours)
    direct = [
        Line2D([], [], color="0.3", lw=3.0, label="direct, mean"),
        Patch(color="0.87", lw=0, label="direct, ±1 std (below: ±2 std. errors)"),
    ]
    alone = [Patch(color="0.87", lw=0, label="below: members, ±2 std. errors")]
    handles = [
        *(alone if data.direct_mean is None else direct),
        Line2D([], [], color=colours[0], lw=1.4, label="predicted, mean"),
        Line2D([], [], color=colours[0], lw=0.8, ls=_DASHED, label="predicted, ±1 std"),
    ]
    style.legend(figure, handles, title)
    return figure


@dataclass(frozen=True, kw_only=True)
class _Statistics:
    """Means and standard deviations over replicas, [initial, time, observable].

    Attributes:
        times: Shape [time].
        direct_mean: Of direct simulation; None where there is none.
        direct_std: Likewise.
        our_mean: Of all members together.
        our_std: Likewise.
        off: Differences that are shown, [curve, initial, time, observable].
        error: Standard error that a difference is measured by, [initial, time, observable].
    """

    times: Floats
    direct_mean: Floats | None
    direct_std: Floats | None
    our_mean: Floats
    our_std: Floats
    off: Floats
    error: Floats

    @classmethod
    def of(
        cls, time: ArrayLike, reference: ArrayLike | None, prediction: ArrayLike, observables: int
    ) -> _Statistics:
        """Take them from trajectories; what is not finite is not shown."""
        ours = np.asarray(prediction)[..., :observables].astype(np.float64)
        ours[~np.isfinite(ours)] = np.nan
        mean = ours.mean(axis=(0, 2))
        pooled = ours.transpose(1, 0, 2, 3, 4).reshape(len(mean), -1, *ours.shape[3:])
        direct_mean = direct_std = None
        if reference is None:
            off = ours.mean(axis=2) - mean
            error = ours.std(axis=2, ddof=1).mean(axis=0) / np.sqrt(ours.shape[2])
        else:
            direct = np.array(reference, np.float64)
            direct[~np.isfinite(direct)] = np.nan
            direct_mean, direct_std = direct.mean(axis=1), direct.std(axis=1, ddof=1)
            off = (mean - direct_mean)[None]
            error = direct_std / np.sqrt(direct.shape[1])
        return cls(
            times=np.asarray(time, np.float64),
            direct_mean=direct_mean,
            direct_std=direct_std,
            our_mean=mean,
            our_std=pooled.std(axis=1),
            off=off,
            error=error,
        )


def _draw(
    upper: Axes,
    lower: Axes,
    data: _Statistics,
    members: NDArray[np.int64],
    k: int,
    colours: Sequence[Any],
) -> None:
    times = data.times
    for i in members:
        if data.direct_mean is not None and data.direct_std is not None:
            mean, std = data.direct_mean[i, :, k], data.direct_std[i, :, k]
            # Opaque and at the back: where bands overlap, they must not look darker.
            upper.fill_between(times, mean - std, mean + std, color="0.87", lw=0, zorder=1.1)
            upper.plot(times, mean, color="0.3", lw=3.0, zorder=1.9)
        ours, spread = data.our_mean[i, :, k], data.our_std[i, :, k]
        upper.plot(times, ours, color=colours[i], lw=1.4)
        for sign in (-1, 1):
            upper.plot(times, ours + sign * spread, color=colours[i], lw=0.7, ls=_DASHED, alpha=0.9)
        for off in data.off[:, i, :, k]:
            lower.plot(times, off, color=colours[i], lw=1.0)
    noise = 2 * np.sqrt(np.square(data.error[members, :, k]).mean(axis=0))
    lower.fill_between(times, -noise, noise, color="0.87", lw=0, zorder=1.1)
    lower.axhline(0, color="black", lw=0.6)


def _rows(states: Floats) -> list[NDArray[np.int64]]:
    """Group initial states by their second component; one group if that does not tidy up."""
    everything = [np.arange(len(states))]
    if states.shape[1] != 2:
        return everything
    values, group = np.unique(states[:, 1], return_inverse=True)
    if not 1 < len(values) <= _MOST_ROWS or len(values) == len(states):
        return everything
    return [np.flatnonzero(group.ravel() == number) for number in range(len(values))]


def _name_states(
    figure: Figure, states: Floats, components: Sequence[str], colours: Sequence[Any]
) -> None:
    handles = [
        Line2D([], [], color=colour, lw=2.0, label=style.state_label(state, components))
        for state, colour in zip(states, colours, strict=True)
    ]
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, min(3, int(style.WIDTH / (0.07 * (longest + 7)))))
    figure.set_figheight(figure.get_figheight() + 0.2 * -(-len(handles) // columns))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
