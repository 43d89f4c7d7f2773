"""Snapshots of a system with forces: fields on their grid, particles in space."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from macrodyn.evaluation import style
from macrodyn.methods.partial_forces.figures import panels
from macrodyn.systems import ForceSystem

Array = NDArray[np.float64]
# Particles of a snapshot that are drawn.
_PARTICLES = 1500


@style.styled
def states(system: ForceSystem, source: xr.Dataset, size: tuple[int, ...], title: str) -> Figure:
    """Snapshots of the first held-out run: fields on their grid, particles in space."""
    run = source.states.values[0]
    moments = [0, (len(run) - 1) // 2, len(run) - 1]
    names = system.space.components
    particles = len(names) > 2
    number = 1 if particles else len(names)
    if not particles and len(size) == 1:
        figure, axes = panels(1, number, height=2.6)
        for c, axis in enumerate(axes):
            for place, t in enumerate(moments):
                axis.plot(run[t, :, c], color=style.PALETTE[place], label=_at(source, t))
            axis.set_xlabel("site")
            axis.set_ylabel(names[c])
        axes[0].legend(loc="best")
    else:
        figure, axes = panels(number, len(moments), height=2.5 * number)
        for c in range(number):
            for place, t in enumerate(moments):
                axis = axes[c * len(moments) + place]
                axis.set_title(_at(source, t))
                if particles:
                    _draw_particles(axis, run[t])
                else:
                    axis.imshow(run[t, :, c].reshape(size).T, origin="lower", cmap="RdBu_r")
                axis.set_xticks([])
                axis.set_yticks([])
                axis.grid(False)
    figure.suptitle(f"{title}: snapshots of a held-out trajectory")
    return figure


def _draw_particles(axis: Any, state: Array) -> None:
    """Positions in the plane of the first two coordinates; colours show the speed."""
    shown = state[:_PARTICLES]
    half = shown.shape[1] // 2
    speed = np.linalg.norm(shown[:, half:], axis=1)
    axis.scatter(shown[:, 0], shown[:, 1], c=speed, s=4, cmap="viridis", linewidths=0)
    axis.set_aspect("equal")


def _at(source: xr.Dataset, record: int) -> str:
    return f"t = {float(source.time.values[record]):.4g}"
