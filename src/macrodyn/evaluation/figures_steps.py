"""Figure of the estimated errors of the drift by dt and buffer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from macrodyn.evaluation import style
from macrodyn.evaluation.step_choice import StepError

__all__ = ["step_errors"]

_PARTS = {"noise": ":", "memory": "--", "boundary": "-."}


@style.styled
def step_errors(
    errors: Sequence[StepError],
    used: StepError,
    *,
    time_unit: str = "1",
    title: str | None = None,
) -> Figure:
    """Draw the total error against dt for each buffer, and the parts of the buffer used.

    Args:
        errors: All of them.
        used: Those of the dt and the buffer that were used.
        time_unit: Unit of time for the axes.
        title: Title of the figure.

    Returns:
        The figure.
    """
    figure = style.new_figure(3.6, 5.6)
    panel = style.grid(figure, 1, 1).flat[0]
    handles = []
    buffers = sorted({error.buffer for error in errors})
    for n, buffer in enumerate(buffers):
        rows = sorted((e for e in errors if e.buffer == buffer), key=lambda e: e.dt)
        colour = style.PALETTE[n % len(style.PALETTE)]
        steps = [e.dt for e in rows]
        panel.plot(steps, [e.total for e in rows], "o-", color=colour, ms=4)
        handles.append(Line2D([], [], color=colour, marker="o", ms=4, label=f"buffer {buffer}"))
        if buffer != used.buffer:
            continue
        for name, dashes in _PARTS.items():
            values = np.array([getattr(e, name) for e in rows])
            if np.isfinite(values).any():
                panel.plot(steps, values, dashes, color=colour, lw=1.0)
                handles.append(Line2D([], [], color=colour, ls=dashes, lw=1.0, label=name))
    panel.plot(used.dt, used.total, "s", ms=9, mfc="none", color="black")
    handles.append(Line2D([], [], marker="s", ls="", mfc="none", color="black", label="used"))
    panel.set_xscale("log")
    steps = sorted({e.dt for e in errors})
    panel.set_xticks(steps, [f"{step:g}" for step in steps])
    panel.minorticks_off()
    panel.set_ylim(bottom=0)
    panel.set_xlabel(style.quantity("dt", time_unit))
    panel.set_ylabel("estimated error of the drift / its spread")
    style.legend(figure, handles, title)
    return figure
