"""Figures of a trained model of partial forces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from macrodyn.evaluation import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from macrodyn.methods.partial_forces.model import ForceModel


class ForcePlots:
    """Figures of one model; save them with ``figure.savefig``."""

    def __init__(self, model: ForceModel) -> None:
        self._model = model

    @style.styled
    def trajectories(self, predicted: xr.Dataset, variables: Sequence[str] | None = None) -> Figure:
        """Draw a prediction, a panel for each variable.

        Of each initial state: the mean of the members' trajectories, and their range, which is what
        the model does not know.

        Args:
            predicted: What `ForceModel.predict` returned.
            variables: Which; the observables if left out.
        """
        names = list(variables or self._model.system.observable_names)
        figure = style.new_figure(2.2 * len(names) + 0.6)
        axes = style.grid(figure, len(names), 1, sharex=True)
        time = predicted.time.values
        for row, name in enumerate(names):
            axis = axes[row, 0]
            members = predicted.z.sel(variable=name).mean("replica").values
            for number in range(members.shape[1]):
                colour = style.PALETTE[number % len(style.PALETTE)]
                own = members[:, number].astype(np.float64)
                axis.fill_between(time, own.min(0), own.max(0), color=colour, alpha=0.3, lw=0)
                axis.plot(time, own.mean(0), color=colour)
            axis.set_ylabel(style.label(name, self._model.system.labels))
        axes[-1, 0].set_xlabel(style.quantity("time", self._model.system.time_unit))
        return figure
