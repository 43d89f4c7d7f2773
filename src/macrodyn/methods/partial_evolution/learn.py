"""The learning stages: closure, encoding, dynamics, prediction."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from macrodyn.closure.feature_values import Features
from macrodyn.closure.model import PatchAutoencoder, load_autoencoder, save_autoencoder
from macrodyn.closure.settings import ClosureSettings
from macrodyn.closure.snapshots import encode_states, origin_share
from macrodyn.closure.train import train_closure
from macrodyn.dynamics.compensation import compensate, control_variates
from macrodyn.dynamics.constraints import LinearConstraint
from macrodyn.dynamics.data import TransitionData
from macrodyn.dynamics.domain import Domain
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.dynamics.factor import (
    covariance_factor,
    estimate_covariance_factor,
    within_factor,
)
from macrodyn.dynamics.latents import LatentArrays, latents_dataset
from macrodyn.dynamics.mean_model import WithMean
from macrodyn.dynamics.members import drift_distances
from macrodyn.dynamics.polynomial_fit import fit_polynomials
from macrodyn.dynamics.settings import DynamicsSettings
from macrodyn.dynamics.train import train_ensemble
from macrodyn.dynamics.trajectories import integrate, substep_count
from macrodyn.lattice import Shape, Tiling, gather_each
from macrodyn.methods.partial_evolution.config import HorizonConfig
from macrodyn.methods.partial_evolution.encoding import (
    Encoding,
    candidate_values,
    check_independent,
    variable_names,
)
from macrodyn.methods.partial_evolution.sample import horizon_times
from macrodyn.methods.partial_evolution.samples import condition_names, snapshots
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.stage_system import stage_system
from macrodyn.sampling.groups import initial_values
from macrodyn.storage.netcdf import read_dataset
from macrodyn.storage.provenance import provenance
from macrodyn.storage.sealed import write_sealed_json
from macrodyn.streams import generator, seeds, stream_key
from macrodyn.systems import PatchSystem

# Patches that the closure is trained on: a bound on memory and time, not on what is simulated.
CLOSURE_PATCHES = 65536
# Patches of a snapshot whose mean stands for the whole while a decoder of the whole is trained.
WHOLE_PATCHES = 32
# Snapshots of the equilibrium that show how much the origin of the tiling matters.
SHARE_SNAPSHOTS = 256
_CHUNK = 1024
# Share of a prediction outside of the training data's range from which on it is warned of.
WARN_OUTSIDE = 0.01


def _torch_seed(seed: int, *path: int | str) -> int:
    return int(stream_key(seed, *path) >> np.uint64(1))


def closure(job: Job) -> None:
    """Train the patch autoencoder on patches of the large snapshots.

    Args:
        job: The job; input ``data``, outputs ``model``, ``training``; its configuration holds
            ``patch`` and ``closure``.
    """
    config = job.config
    system = stage_system(job)
    source = read_dataset(job.input("data"))
    states = source.states.values
    patch: Shape = tuple(config["patch"])
    origins = Tiling(states.shape[2:], patch).origins()
    settings = ClosureSettings(**config["closure"])
    kept, each = _closure_patches(settings, len(states), len(origins))
    rng = generator(config["seed"], "closure-patches")
    chosen = rng.permuted(np.tile(np.arange(len(origins)), (len(kept), 1)), axis=1)[:, :each]
    patches = gather_each(states[kept], origins[chosen], patch)
    patches = patches.reshape(-1, system.channels, *patch)
    if settings.decoder == "whole":
        observables = system.observe(states[kept]).repeat(each, axis=0)
    else:
        observables = system.observe_patch(patches)
    model, history = train_closure(
        patches,
        observables,
        settings,
        kind=system.kind,
        species=system.species,
        groups=np.repeat(source.group.values[kept], each),
        snapshots=np.repeat(kept, each),
        seed=_torch_seed(config["seed"], "closure"),
        device=job.device,
        checkpoints=job.checkpoints,
        progress=lambda step, steps, loss: job.step("closure", step, steps, f"loss {loss:.5f}"),
    )
    if model.architecture.closure_dim:
        # It is trained on patches; its scale is that of whole snapshots.
        model.fit_normalisation(encode_states(model, states, periodic=system.periodic))
    save_autoencoder(job.outputs["model"], model, provenance("closure", config))
    report = {
        "history": history.as_dict(),
        "origin_share": _origin_share(model, system, source, config["seed"]),
        "cost": {"core_seconds": job.core_seconds},
    }
    write_sealed_json(job.outputs["training"], report)


def _closure_patches(
    settings: ClosureSettings, snapshots: int, patches: int
) -> tuple[NDArray[np.int64], int]:
    """Which snapshots a closure is trained on, and how many patches of each.

    Of every snapshot some; where the whole is decoded, of fewer snapshots more, so that their mean
    is that of the whole.
    """
    if settings.decoder == "patch":
        each = max(1, min(patches, CLOSURE_PATCHES // snapshots))
        return np.arange(snapshots), each
    each = min(patches, WHOLE_PATCHES)
    most = min(snapshots, CLOSURE_PATCHES // each)
    return np.linspace(0, snapshots - 1, most).astype(np.int64), each


def _origin_share(
    model: PatchAutoencoder, system: PatchSystem, source: xr.Dataset, seed: int
) -> list[float] | None:
    """Share of the tiling's origin in the closure variables of the oldest snapshots."""
    oldest = np.flatnonzero(source.time.values == source.time.values.max())
    rows = oldest[np.unique(np.linspace(0, len(oldest) - 1, SHARE_SNAPSHOTS).astype(int))]
    return origin_share(
        model,
        source.states.values[rows],
        periodic=system.periodic,
        rng=generator(seed, "origin-share"),
    )


def encode(job: Job) -> xr.Dataset:
    """Turn pairs of states into pairs of macroscopic states z = (z*, zhat) (eq. 3).

    Args:
        job: The job; inputs ``closure``, ``pairs``, and ``states``, the snapshots that the pairs
            began from; its configuration holds ``scope``, ``patch``, ``features`` and
            ``candidates``.
    """
    config = job.config
    system = stage_system(job)
    model, _ = load_autoencoder(job.input("closure"))
    source = read_dataset(job.input("pairs"))
    # Of small systems, only as many were evolved as that stage's configuration says.
    evolved = json.loads(source.attrs["stage_config"])
    whole = snapshots(job.input("states"), config["scope"], evolved).states.values
    patch = tuple(config["patch"])
    encoding = Encoding(system, model, config["features"], patch, source, whole)
    changes = encoding.increments(lambda done, total: job.step("encode", done, total))
    names = [str(n) for n in source.observable.values]
    variables = variable_names(names, encoding.z_closure.shape[1], encoding.features.variables)
    z = np.concatenate([source.z_observables.values, encoding.z], axis=1)
    increment = np.concatenate([source.increments.values, changes], axis=-1)
    if encoding.features.all:
        check_independent(z, increment, variables, first=len(names))
    latents = latents_dataset(
        z=z,
        increment=increment,
        elapsed=source.elapsed.values,
        condition_values=source.condition_values.values,
        group=source.group.values,
        time=source.time.values,
        variables=variables,
        lags=source.lag.values.tolist(),
        conditions=condition_names(source),
        n_observables=len(names),
        patches_total=source.attrs["patches_total"],
        sites=math.prod(whole.shape[2:]),
        dt=source.attrs["dt"],
        time_unit=source.elapsed.attrs["units"],
        **_controls(source),
    )
    if config["candidates"]:
        found, measured = candidate_values(system, config["candidates"], patch, source, whole)
        text = {"long_name": "features of the snapshot that are no variables", "units": "1"}
        latents["candidates"] = (("sample", "candidate"), measured, text)
        latents = latents.assign_coords(candidate=found)
    relations = system.relations()
    if relations is None:
        return latents
    matrix, values = (json.dumps(np.asarray(part).tolist()) for part in relations)
    return latents.assign_attrs(constraint_matrix=matrix, constraint_values=values)


def _controls(pairs: xr.Dataset) -> dict[str, Any]:
    """Control variates of the increments and their names."""
    names, parts = [], {}
    for word, name in (("martingale", "compensators"), ("excess", "rate_excess")):
        parts[name] = pairs[name].values if name in pairs else None
        if name in pairs:
            names += [f"{word}_{observable}" for observable in pairs.observable.values]
    controls = control_variates(pairs.increments.values, pairs.elapsed.values, **parts)
    return {"controls": controls, "control_names": names}


def dynamics(job: Job) -> None:
    """Train the ensemble of drift and diffusion: networks, or polynomials.

    Args:
        job: The job; input ``latents``, outputs ``model`` and ``training``; its configuration
            holds ``dynamics``.
    """
    config = DynamicsSettings(**job.config["dynamics"])
    seed = job.config["seed"]
    source = read_dataset(job.input("latents"))
    arrays = LatentArrays.from_dataset(source)
    estimate = estimate_covariance_factor(arrays, seed=seed)
    factor = covariance_factor(config.covariance_factor, estimate)
    job.info(f"covariance factor {factor:.4g}, {estimate.theory:.4g} by theory")
    within = None
    if config.likelihood == "patches" and arrays.averaged_patches > 1:
        within = within_factor(config.covariance_factor, estimate, arrays)
        job.info(f"factor within snapshots {within:.4g}, {arrays.patches_total} by theory")
    compensation = compensate(arrays, seed=seed) if config.increments == "compensated" else None
    data = TransitionData.from_latents(
        source,
        factor=factor,
        likelihood=config.likelihood,
        within=within,
        compensation=compensation,
    )
    train, validation = data.split(config.validation_fraction, seed=seed)
    report: dict[str, Any] = {}
    if config.model == "polynomial":
        ensemble, history, selection = fit_polynomials(
            train,
            validation,
            config,
            seed=_torch_seed(seed, "dynamics"),
            constraint=_constraint(source),
        )
        report["selection"] = selection.as_dict()
        job.info(
            f"polynomials of degree {selection.degree}, ridge {selection.ridge:.0e}, "
            f"noise of degree {selection.noise_degree}"
        )
    else:
        ensemble, history = train_ensemble(
            train,
            validation,
            config,
            seed=_torch_seed(seed, "dynamics"),
            device=job.device,
            constraint=_constraint(source),
            checkpoints=job.checkpoints,
            progress=lambda step, steps, loss: job.step("dynamics", step, steps, f"NLL {loss:.4f}"),
        )
    origin = provenance("dynamics", job.config)
    names = [str(n) for n in source.variable.values]
    conditions = [str(n) for n in source.condition.values]
    description = {"variables": names, "conditions": conditions, "dt": source.attrs["dt"]}
    description["sites"] = int(source.attrs["sites"])
    members = compare_members(job, ensemble, data, names)
    description["members"] = report["members"] = members
    ensemble.save(job.outputs["model"], {**description, **origin})
    report |= {
        "history": history.as_dict(),
        "factor": estimate.as_dict(),
        "factor_used": factor,
        "cost": {"core_seconds": job.core_seconds},
    }
    if compensation is not None:
        job.info(f"variance of the increments reduced by {_listed(compensation.gain)}")
        report["compensation"] = {
            "gain": compensation.gain.tolist(),
            "coefficients": compensation.coefficients.tolist(),
            "controls": [str(name) for name in source.control.values],
        }
    if data.scatter is not None:
        report["within_used"] = data.within
    write_sealed_json(job.outputs["training"], report)


def _listed(values: NDArray[np.float64]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


def compare_members(
    job: Job, ensemble: Ensemble, data: TransitionData, names: Sequence[str]
) -> dict[str, Any]:
    """Find members whose drift leaves the others, and say so in the log.

    Args:
        job: The job.
        ensemble: The ensemble.
        data: All transitions that trained and validated it.
        names: Names of the variables.

    Returns:
        Of each member its ``distance`` and the state ``at`` which it is largest; the
        ``threshold``, if there are members enough to tell; the ``outliers`` beyond it.
    """
    found, places = drift_distances(ensemble, data)
    at = [dict(zip(names, places[cell].tolist(), strict=True)) for cell in found.place]
    for member in found.outliers:
        where = ", ".join(f"{name} = {value:.3g}" for name, value in at[member].items())
        job.warning(
            f"member {member} leaves the others: its drift near {where} is "
            f"{found.distance[member]:.3g} times their scatter and standard error from their "
            f"median (at most {found.threshold:.3g} by chance). The mean model does not count it"
        )
    return {**found.as_dict(), "at": at}


def _constraint(latents: xr.Dataset) -> LinearConstraint | None:
    """Read the exact relations that the system declares; closure variables have none."""
    if "constraint_matrix" not in latents.attrs:
        return None
    matrix = np.array(json.loads(latents.attrs["constraint_matrix"]))
    free = np.zeros((len(matrix), latents.sizes["variable"] - matrix.shape[1]))
    values = json.loads(latents.attrs["constraint_values"])
    return LinearConstraint.of(np.concatenate([matrix, free], axis=1), values)


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
        seed=_torch_seed(config["seed"], "predict"),
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
