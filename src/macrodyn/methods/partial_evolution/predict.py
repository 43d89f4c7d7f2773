"""Predicted trajectories of the large system, and what share of them is a guess."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.closure.model import load_autoencoder
from macrodyn.dynamics.domain import Domain
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.dynamics.trajectories import substep_count
from macrodyn.methods.partial_evolution.config import HorizonConfig
from macrodyn.methods.partial_evolution.sample import horizon_times
from macrodyn.model import MacroModel
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.stage_system import stage_system
from macrodyn.sampling.groups import initial_values
from macrodyn.streams import torch_seed

# Share of a prediction outside of the training data's range from which on it is warned of.
WARN_OUTSIDE = 0.01


def predict(job: Job) -> xr.Dataset:
    """Predict trajectories of the large system from its initial states.

    Only initial states of the large system are made, none is evolved: they give the distribution
    of z at time 0, sampling noise and closure variables included.
    """
    config = job.config
    model = stage_model(job)
    system, domain = model.system, model.ensemble.domain
    replicas = config["replicas"]
    initial = initial_values(system, config["initial"])
    z0 = model.sample_initial(config["initial"], replicas, seed=config["seed"])
    values = model.condition_values(None)
    for name, found in domain.conditions_outside(model.conditions, values).items():
        job.warning(
            f"{name} = {found['value']:g} lies outside of the sampled values, {found['low']:g} to "
            f"{found['high']:g} (conditions.{name}): the model guesses there"
        )
    horizon = HorizonConfig(**config["horizon"])
    times = horizon_times(horizon)
    wanted = config["step"] or model.step
    step = horizon.spacing / substep_count(horizon.spacing, wanted)
    if not math.isclose(step, wanted, rel_tol=1e-3):
        job.info(f"steps of {step:.6g}, as {wanted:g} does not divide the spacing")
    variables = list(model.variables)
    noise = 1.0
    if config.get("noise") == "scaled":
        noise = model.noise_scale(config["large"])
        job.info(f"noise of {model.ensemble.metadata['sites']} sites, scaled by {noise:.4g}")
    records = model.integrate(
        z0,
        times,
        step=wanted,
        noise=noise,
        seed=torch_seed(config["seed"], "predict"),
        device=job.device,
        progress=lambda done, total: job.step("predict", done, total),
        checkpoints=job.checkpoints,
    )
    z, mean = records[:-1], records[-1]
    settled = _stationary(model, config, noise, job) if config.get("stationary") else {}
    described, shares = _range_shares(domain, z, z0, variables, job)
    return xr.Dataset(
        {
            "z": (
                ("member", "initial", "replica", "time", "variable"),
                z.reshape(len(z), len(initial), replicas, len(times), -1),
                {"long_name": "predicted macroscopic state", "units": "1"},
            ),
            "z_mean_model": (
                ("initial", "replica", "time", "variable"),
                mean.reshape(len(initial), replicas, len(times), -1),
                {"long_name": "the same of the mean model of the members kept", "units": "1"},
            ),
            "kept": (
                "member",
                np.isin(np.arange(model.ensemble.members), model.kept).astype(np.int8),
                {"long_name": "whether the mean model counts the member", "units": "1"},
            ),
            "initial_values": (("initial", "component"), initial),
            **described,
            **settled,
        },
        coords={
            "component": list(system.component_names),
            "time": ("time", np.array(times), {"units": system.time_unit}),
            "variable": variables,
        },
        attrs=shares,
    )


def _stationary(
    model: MacroModel, config: dict[str, Any], noise: float, job: Job
) -> dict[str, Any]:
    """The stationary densities of the members kept; nothing, and a warning, if there is none."""
    scaled = tuple(config["large"]) if noise != 1.0 else None
    try:
        found = model.stationary(size=scaled)
    except (ValueError, RuntimeError) as error:
        job.warning(f"no stationary density can be solved for: {error}")
        return {}
    return {
        "stationary_value": (
            ("variable", "point"),
            found.value.values,
            {"long_name": "values at which the stationary density is given", "units": "1"},
        ),
        "stationary_density": (
            ("kept_member", "variable", "point"),
            found.density_of_members.values,
            {"long_name": "stationary density of each variable, of members kept", "units": "1"},
        ),
    }


def _range_shares(
    domain: Domain, z: NDArray, z0: NDArray, variables: Sequence[str], job: Job
) -> tuple[dict[str, Any], dict[str, float]]:
    """What share of a prediction lies outside of the training data's range.

    Args:
        domain: The range.
        z: Predicted states, [..., variable].
        z0: Initial states, [replica, variable].
        variables: Names of the variables.
        job: Where it is said.

    Returns:
        Variables and attributes of the prediction's data set.
    """
    outside, initially = domain.outside(z), domain.outside(z0)
    shares = {
        "outside": float(outside.any(axis=-1).mean()),
        "initial_outside": float(initially.any(axis=-1).mean()),
    }
    by_variable = outside.reshape(-1, len(variables)).mean(axis=0)
    if max(shares.values()) > WARN_OUTSIDE:
        each = ", ".join(
            f"{name} {share:.2%}" for name, share in zip(variables, by_variable, strict=True)
        )
        job.warning(
            f"{shares['outside']:.2%} of the predicted points and {shares['initial_outside']:.2%} "
            f"of the initial states lie outside of the range of the training data ({each}): the "
            "model guesses there. Widen simulate.initial_range, sample more times, or lower "
            "closure.dimension"
        )
    described = {
        "outside": (
            by_variable,
            "share of the predicted points outside of the training data's range",
        ),
        "range_low": (np.array(domain.low), "lowest value in the training data"),
        "range_high": (np.array(domain.high), "highest value in the training data"),
    }
    return {
        name: ("variable", values, {"long_name": long_name, "units": "1"})
        for name, (values, long_name) in described.items()
    }, shares


def stage_model(job: Job) -> MacroModel:
    """The trained model that a stage reads, of the system under the stage's conditions."""
    config = job.config
    return MacroModel(
        ensemble=Ensemble.load(job.input("model")),
        closure=load_autoencoder(job.input("closure"))[0],
        system=stage_system(job),
        large=tuple(config["large"]),
        patch=tuple(config["patch"]),
        features=tuple(config["features"]),
        conditions=tuple(config["conditions"]),
    )
