"""What the figure of trajectories that readers choose from holds of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.evaluation import style
from macrodyn.evaluation.explorer import Curves, ExplorerCase, pooled_curves, trajectory_data
from macrodyn.methods.partial_forces.figures import NAMES
from macrodyn.systems import ForceSystem

Array = NDArray[np.float64]


def explored(
    system: ForceSystem,
    made: xr.Dataset,
    true: xr.Dataset,
    used: NDArray[np.bool_],
    without: Mapping[str, Array],
) -> dict[str, Any]:
    """Return the data of the figure: held-out trajectories, closure variables included.

    Args:
        system: The system.
        made: The forecast.
        true: The held-out trajectories.
        used: Which of their records count, shape [run, time]; others are not shown.
        without: Predictions without forces by name, [run, time, observable].
    """
    names = [str(name) for name in made.variable.values]
    count = len(system.observables)
    # Of what the encoder says of a trajectory the observables are the trajectory's own.
    simulated = made.encoded.values.astype(np.float64)
    simulated[..., :count] = true.observables.values
    there = used[..., None]
    curves = {"simulated": Curves(mean=np.where(there, simulated, np.nan))}
    members = np.where(there, made.z.values.astype(np.float64), np.nan)
    curves["predicted"] = pooled_curves(members[:, :, None])
    for name, values in without.items():
        curves[name] = Curves(mean=np.where(there, values, np.nan))
    components = [style.label(str(one), system.labels) for one in true.component.values]
    states = [
        f"{number}: {style.state_label(values, components)}"
        for number, values in enumerate(true.initial_values.values, 1)
    ]
    case = ExplorerCase(name="", time=true.time.values, states=states, curves=curves)
    labels = {name: NAMES[name].replace("\n", " ") for name in without}
    return trajectory_data(
        [case],
        [style.label(name, system.labels) for name in names],
        truth="simulated",
        schemes={"simulated": "simulated", "predicted": "predicted", **labels},
        time_unit=system.time_unit,
        state="held-out run",
    )
