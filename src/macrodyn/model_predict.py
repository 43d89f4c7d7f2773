"""What a trained model predicts: initial states, trajectories, and what is not known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from macrodyn.model import Floats, Initial, MacroModel, ModelError
from macrodyn.model_spread import band_variables, calibration_for, mean_and_spreads, scale_of
from macrodyn.sampling.groups import initial_values
from macrodyn.streams import seeds, torch_seed
from macrodyn.systems import System

Conditions = Mapping[str, float] | None

# Large initial states that are made at once: a bound on memory.
_CHUNK = 1024


def predict(
    model: MacroModel,
    given: Initial,
    times: ArrayLike,
    *,
    replicas: int,
    conditions: Conditions,
    size: Sequence[int] | None,
    step: float | None,
    seed: int,
) -> xr.Dataset:
    """See `MacroModel.predict`."""
    z0 = model.initial(given, replicas, size=size, conditions=conditions, seed=seed)
    times, recorded = prediction_times(times, step)
    values = model.condition_values(conditions)
    records = model.integrate(
        z0,
        recorded,
        step=step,
        noise=model.noise_scale(size),
        seed=torch_seed(seed, "predict"),
        conditions=conditions,
    )[:, :, len(recorded) - len(times) :]
    shape = (-1, len(z0) // replicas, replicas, len(times), len(model.variables))
    z, mean = records[:-1].reshape(shape), records[-1].reshape(shape[1:])
    told, missing = _unknown(model, z, mean, times)
    domain = model.ensemble.domain
    outside = domain.conditions_outside(model.conditions, values)
    return xr.Dataset(
        {
            "z": (
                ("member", "initial", "replica", "time", "variable"),
                z,
                {"long_name": "predicted macroscopic state", "units": "1"},
            ),
            "z_mean_model": (
                ("initial", "replica", "time", "variable"),
                mean,
                {"long_name": "the same of the mean model", "units": "1"},
            ),
            **told,
        },
        coords={
            "time": ("time", times, {"units": model.system.time_unit}),
            "variable": list(model.variables),
            **({} if "band_low" not in told else {"observable": list(_observables(model))}),
        },
        attrs={
            "outside": float(domain.outside(z).any(axis=-1).mean()),
            "initial_outside": float(domain.outside(z0).any(axis=-1).mean()),
            "conditions_outside": ", ".join(outside),
            **missing,
            **{f"condition_{n}": v for n, v in zip(model.conditions, values, strict=True)},
        },
    )


def prediction_times(times: ArrayLike, step: float | None) -> tuple[Floats, Floats]:
    """The times of a prediction, and with 0 before them if they begin later.

    Raises:
        ModelError: If they do not grow, or the step is none.
    """
    found = np.asarray(times, np.float64).reshape(-1)
    if not len(found) or (np.diff(found) <= 0).any() or found[0] < 0:
        raise ModelError("times must grow from entry to entry, and begin at 0 or later")
    if step is not None and not step > 0:
        raise ModelError(f"step is {step:g}: it must be more than 0")
    return found, found if found[0] == 0 else np.concatenate([[0.0], found])


def _observables(model: MacroModel) -> tuple[str, ...]:
    return tuple(model.system.observable_names)


def _unknown(
    model: MacroModel, z: ArrayLike, mean: ArrayLike, times: Floats
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Variables and attributes that say what is not known of a prediction.

    Args:
        model: The model.
        z: Of its members, shape [member, initial, replica, time, variable].
        mean: Of the mean model, shape [initial, replica, time, variable].
        times: When is recorded.
    """
    kept = np.asarray(z)[list(model.kept)]
    centre, noise, members = mean_and_spreads(kept, mean)
    dims = ("initial", "time", "variable")
    told: dict[str, Any] = {
        name: (dims, values, {"long_name": meaning, "units": "1"})
        for name, values, meaning in (
            ("mean", centre, "mean of the mean model's trajectories"),
            ("noise_std", noise, "standard deviation of the mean model's trajectories"),
            ("member_std", members, "standard deviation of the members' means"),
        )
    }
    found, why = calibration_for(model.calibrations, float(times[-1]), np.asarray(mean).shape[1])
    if found is None:
        return told, {"band_missing": why}
    bounds = list(model.system.bounds)
    told |= band_variables(centre, scale_of(noise, members), bounds, found)
    attributes = {
        "band_level": found.level,
        "band_coverage": found.coverage,
        "band_factor": found.factor,
        "band_from": found.name,
    }
    return told, attributes


def sample_initial(
    model: MacroModel,
    macrostate: Mapping[str, Any] | Sequence[float],
    replicas: int,
    *,
    size: Sequence[int] | None,
    conditions: Conditions,
    seed: int,
) -> Floats:
    """See `MacroModel.sample_initial`."""
    given = macrostate_values(model.system, macrostate).repeat(replicas, axis=0)
    keys = seeds(seed, "predict-initial", index=len(given))
    lattice = model.large if size is None else tuple(size)
    there, parts = model.at(conditions), []
    for begin in range(0, len(given), _CHUNK):
        rows = slice(begin, begin + _CHUNK)
        states = there.system.initial_states(given[rows], lattice, keys[rows])
        parts.append(there.encode(states))
    return np.concatenate(parts)


def macrostate_values(system: System, given: Mapping[str, Any] | Sequence[float]) -> Floats:
    """Initial macrostates as a user gives them: every combination, shape [initial, component].

    Raises:
        ModelError: If a component is missing or unknown.
    """
    try:
        if isinstance(given, Mapping):
            values = {k: np.atleast_1d(np.asarray(v, float)).tolist() for k, v in given.items()}
            return initial_values(system, values)
        return initial_values(system, np.atleast_1d(np.asarray(given, float)).tolist())
    except ValueError as error:
        raise ModelError(f"the initial macrostate {error}") from None


def initial(
    model: MacroModel,
    given: Initial,
    replicas: int,
    *,
    size: Sequence[int] | None,
    conditions: Conditions,
    seed: int,
) -> Floats:
    """See `MacroModel.initial`."""
    if replicas < 1:
        raise ModelError(f"replicas is {replicas}: give 1 or more")
    if isinstance(given, Mapping):
        return model.sample_initial(given, replicas, size=size, conditions=conditions, seed=seed)
    array = np.asarray(given)
    if array.ndim == 2 + model.system.dimension:
        z = model.at(conditions).encode(array)
    else:
        z = model.states(array)[0].double().numpy()
    return z.repeat(replicas, axis=0)
