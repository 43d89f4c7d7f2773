"""Predicted trajectories of the large system, and what share of them is a guess."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from macrodyn.closure.feature_values import Features
from macrodyn.closure.model import PatchAutoencoder, load_autoencoder
from macrodyn.closure.snapshots import encode_states
from macrodyn.dynamics.domain import Domain
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.dynamics.mean_model import WithMean
from macrodyn.dynamics.trajectories import integrate, substep_count
from macrodyn.methods.partial_evolution.config import HorizonConfig
from macrodyn.methods.partial_evolution.encoding import variable_names
from macrodyn.methods.partial_evolution.sample import horizon_times
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.stage_system import stage_system
from macrodyn.sampling.groups import initial_values
from macrodyn.streams import seeds, torch_seed
from macrodyn.systems import PatchSystem

# Large initial states that are made at once: a bound on memory.
_CHUNK = 1024
# Share of a prediction outside of the training data's range from which on it is warned of.
WARN_OUTSIDE = 0.01


def predict(job: Job) -> xr.Dataset:
    """Predict trajectories of the large system from its initial states.

    Only initial states of the large system are made, none is evolved: they give the distribution
    of z at time 0, sampling noise and closure variables included.
    """
    config = job.config
    system = stage_system(job)
    ensemble = Ensemble.load(job.input("model"))
    closure, _ = load_autoencoder(job.input("closure"))
    initial = initial_values(system, config["initial"])
    replicas = config["replicas"]
    z0 = initial_latents(system, closure, config)
    domain = ensemble.domain
    names = config["conditions"]
    values = [float(getattr(system.parameters, name)) for name in names]
    for name, found in domain.conditions_outside(names, values).items():
        job.warning(
            f"{name} = {found['value']:g} lies outside of the sampled values, {found['low']:g} to "
            f"{found['high']:g} (conditions.{name}): the model guesses there"
        )
    horizon = HorizonConfig(**config["horizon"])
    times = horizon_times(horizon)
    wanted = config["step"] or float(ensemble.metadata["dt"])
    step = horizon.spacing / substep_count(horizon.spacing, wanted)
    if not math.isclose(step, wanted, rel_tol=1e-3):
        job.info(f"steps of {step:.6g}, as {wanted:g} does not divide the spacing")
    features = Features(system, config["features"], tuple(config["patch"]))
    hidden = closure.architecture.closure_dim
    variables = variable_names(system.observable_names, hidden, features.variables)
    open_sides = [(-math.inf, math.inf)] * hidden
    bounds = domain.limits([*system.bounds, *features.bounds, *open_sides], z0)
    noise = 1.0
    if config.get("noise") == "scaled":
        noise = ensemble.noise_scale(math.prod(config["large"]))
        job.info(f"noise of {ensemble.metadata['sites']} sites, scaled by {noise:.4g}")
    left = ensemble.metadata.get("members", {}).get("outliers", [])
    kept = [member for member in range(ensemble.members) if member not in left]
    records = integrate(
        WithMean(ensemble, kept),
        torch.as_tensor(z0, dtype=torch.float32),
        times,
        step=wanted,
        bounds=bounds,
        noise=noise,
        seed=torch_seed(config["seed"], "predict"),
        conditions=torch.tensor([values]) if names else None,
        device=job.device,
        on_divergence="nan",
        progress=lambda done, total: job.step("predict", done, total),
        checkpoints=job.checkpoints,
    ).numpy()
    z, mean = records[:-1], records[-1]
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
                np.isin(np.arange(ensemble.members), kept).astype(np.int8),
                {"long_name": "whether the mean model counts the member", "units": "1"},
            ),
            "initial_values": (("initial", "component"), initial),
            **described,
        },
        coords={
            "component": list(system.component_names),
            "time": ("time", np.array(times), {"units": system.time_unit}),
            "variable": variables,
        },
        attrs=shares,
    )


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


def initial_latents(
    system: PatchSystem, closure: PatchAutoencoder, config: dict[str, Any]
) -> NDArray[np.float64]:
    """Macroscopic states of freshly drawn large initial states, [initial * replica, variable]."""
    initial = initial_values(system, config["initial"]).repeat(config["replicas"], axis=0)
    keys = seeds(config["seed"], "predict-initial", index=len(initial))
    features = Features(system, config["features"], tuple(config["patch"]))
    parts = []
    for begin in range(0, len(initial), _CHUNK):
        rows = slice(begin, begin + _CHUNK)
        states = system.initial_states(initial[rows], tuple(config["large"]), keys[rows])
        zhat = encode_states(closure, states, periodic=system.periodic)
        known = (system.observe(states), features.values(states))
        parts.append(np.concatenate([*known, zhat], axis=1))
    return np.concatenate(parts)
