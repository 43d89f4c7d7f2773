"""Figures of a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from macrodyn.evaluation import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from macrodyn.model import MacroModel

# Arrows along each axis of a phase portrait.
_ARROWS = 21


class Plots:
    """Figures of one model; save them with ``figure.savefig``."""

    def __init__(self, model: MacroModel) -> None:
        self._model = model

    @style.styled
    def trajectories(self, predicted: xr.Dataset) -> Figure:
        """Draw mean and spread of a prediction, a panel for each variable.

        Of each initial state: the mean of the mean model's trajectories; darker, the range of the
        members' means, which is what the model does not know; lighter, a standard deviation of the
        trajectories to both sides, which is the noise; dashed, the band that holds whole
        trajectories, where the prediction has one.

        Args:
            predicted: What `MacroModel.predict` returned.
        """
        names = [str(name) for name in predicted.variable.values]
        figure = style.new_figure(2.2 * len(names) + 0.6)
        axes = style.grid(figure, len(names), 1, sharex=True)
        kept = list(self._model.kept)
        time = predicted.time.values
        for row, name in enumerate(names):
            axis = axes[row, 0]
            mean = predicted.z_mean_model.isel(variable=row).values
            members = predicted.z.isel(variable=row).values[kept].mean(axis=2)
            for number, one in enumerate(mean):
                colour = style.PALETTE[number % len(style.PALETTE)]
                centre, spread = one.mean(axis=0), one.std(axis=0)
                bands = (
                    (centre - spread, centre + spread, 0.15),
                    (members[:, number].min(0), members[:, number].max(0), 0.4),
                )
                for low, high, alpha in bands:
                    axis.fill_between(time, low, high, color=colour, alpha=alpha, linewidth=0)
                axis.plot(time, centre, color=colour)
                if "band_low" in predicted and name in predicted.observable.values:
                    for side in ("band_low", "band_high"):
                        band = predicted[side].isel(initial=number).sel(observable=name)
                        axis.plot(time, band, color=colour, linestyle="--", linewidth=0.8)
            axis.set_ylabel(style.label(name, self._model.system.labels))
        unit = self._model.system.time_unit
        axes[-1, 0].set_xlabel(style.quantity("time", unit))
        return figure

    @style.styled
    def phase_portrait(
        self,
        x: str | None = None,
        y: str | None = None,
        *,
        at: Mapping[str, float] | None = None,
        conditions: Mapping[str, float] | None = None,
    ) -> Figure:
        """Draw the drift over two variables, in the range of the training data; of one, its curve.

        Args:
            x: Variable along the horizontal axis; the first if left out.
            y: Along the vertical axis; the second if left out.
            at: Values of the others; the middle of their range where left out.
            conditions: Value of each condition; the system's own where left out.
        """
        from macrodyn.model import ModelError

        model, domain = self._model, self._model.ensemble.domain
        names = list(model.variables)
        chosen = [x or names[0], *([y or names[1]] if len(names) > 1 else [])]
        if unknown := [name for name in (*chosen, *(at or {})) if name not in names]:
            raise ModelError(f"{', '.join(unknown)}: the variables are {', '.join(names)}")
        middle = (np.array(domain.low) + np.array(domain.high)) / 2
        for name, value in (at or {}).items():
            middle[names.index(name)] = value
        places = [names.index(name) for name in chosen]
        count = 201 if len(places) == 1 else _ARROWS
        axes = [np.linspace(domain.low[k], domain.high[k], count) for k in places]
        mesh = np.meshgrid(*axes, indexing="ij")
        z = np.tile(middle, (*mesh[0].shape, 1))
        for place, values in zip(places, mesh, strict=True):
            z[..., place] = values
        drift = model.drift(z, conditions)
        figure = style.new_figure(4.6, 5.6)
        axis: Any = style.grid(figure, 1, 1)[0, 0]
        labels = [style.label(name, model.system.labels) for name in chosen]
        axis.set_xlabel(labels[0])
        if len(places) == 1:
            axis.plot(mesh[0], drift[..., places[0]], color=style.PALETTE[0])
            axis.axhline(0.0, color=style.QUIET, linewidth=0.8)
            axis.set_ylabel(style.rate("drift", model.system.time_unit))
            return figure
        arrows = [drift[..., k] / (domain.high[k] - domain.low[k]) for k in places]
        speed = np.hypot(*arrows)
        length = np.where(speed > 0, speed, 1.0)
        drawn = axis.quiver(
            *mesh, arrows[0] / length, arrows[1] / length, speed, cmap="viridis", pivot="mid"
        )
        figure.colorbar(drawn, ax=axis, label="speed, in ranges of the data per unit time")
        axis.set_ylabel(labels[1])
        return figure

    @style.styled
    def stationary(self, found: xr.Dataset | None = None, **asked: Any) -> Figure:
        """Draw the stationary density of each variable, with the members' scatter.

        Args:
            found: What `MacroModel.stationary` returned; asked for with ``asked`` if left out.
            asked: As of `MacroModel.stationary`.
        """
        model = self._model
        found = model.stationary(**asked) if found is None else found
        names = list(model.variables)
        figure = style.new_figure(2.4 * len(names) + 0.4)
        axes = style.grid(figure, len(names), 1)
        for row, name in enumerate(names):
            axis, one = axes[row, 0], found.isel(variable=row)
            value, density, error = (one[k].values for k in ("value", "density", "density_error"))
            axis.fill_between(
                value,
                np.maximum(density - error, 0),
                density + error,
                color=style.PALETTE[0],
                alpha=0.3,
                linewidth=0,
            )
            axis.plot(value, density, color=style.PALETTE[0])
            axis.set_xlabel(style.label(name, model.system.labels))
            axis.set_ylabel("density")
        return figure
