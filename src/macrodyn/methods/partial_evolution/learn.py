"""What is trained: the closure, and the dynamics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.closure.forecast import left_by, train_forecast
from macrodyn.closure.model import PatchAutoencoder, save_autoencoder
from macrodyn.closure.settings import ClosureSettings
from macrodyn.closure.snapshots import encode_states, origin_share
from macrodyn.closure.train import train_closure
from macrodyn.dynamics.constraints import LinearConstraint
from macrodyn.dynamics.data import TransitionData
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.dynamics.members import drift_distances
from macrodyn.dynamics.polynomial_fit import fit_polynomials
from macrodyn.dynamics.settings import DynamicsSettings
from macrodyn.dynamics.train import train_ensemble
from macrodyn.lattice import Shape, Tiling, gather_each
from macrodyn.learning.history import History
from macrodyn.methods.partial_evolution.pairs import observable_rates
from macrodyn.methods.partial_evolution.transitions import read_transitions
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.stage_system import stage_system
from macrodyn.storage.netcdf import read_dataset
from macrodyn.storage.provenance import provenance
from macrodyn.storage.sealed import write_sealed_json
from macrodyn.streams import generator, torch_seed
from macrodyn.systems import PatchSystem

# Patches that the closure is trained on: a bound on memory and time, not on what is simulated.
CLOSURE_PATCHES = 65536
# Patches of a snapshot whose mean stands for the whole while a decoder of the whole is trained.
WHOLE_PATCHES = 32
# Snapshots of the equilibrium that show how much the origin of the tiling matters.
SHARE_SNAPSHOTS = 256


def closure(job: Job) -> None:
    """Train the patch autoencoder on patches of the large snapshots.

    Args:
        job: The job; input ``data``, and ``pairs`` where the objective is prediction; outputs
            ``model``, ``training``; its configuration holds ``patch`` and ``closure``.
    """
    config = job.config
    system = stage_system(job)
    source = read_dataset(job.input("data"))
    states = source.states.values
    settings = ClosureSettings(**config["closure"])
    by_prediction = settings.objective == "prediction"
    train = _by_prediction if by_prediction else _by_reconstruction
    model, history = train(job, system, source, settings)
    if model.architecture.closure_dim:
        # It is trained on patches; its scale is that of whole snapshots.
        model.fit_normalisation(encode_states(model, states, periodic=system.periodic))
    save_autoencoder(job.outputs["model"], model, provenance("closure", config))
    report = {
        "history": history.as_dict(),
        "objective": settings.objective,
        "origin_share": _origin_share(model, system, source, config["seed"]),
        "cost": {"core_seconds": job.core_seconds},
    }
    write_sealed_json(job.outputs["training"], report)


def _by_reconstruction(
    job: Job, system: PatchSystem, source: xr.Dataset, settings: ClosureSettings
) -> tuple[PatchAutoencoder, History]:
    kept, patches = _some_patches(job, system, source, settings)
    each = patches.shape[1]
    patches = patches.reshape(-1, *patches.shape[2:])
    if settings.decoder == "whole":
        observables = system.observe(source.states.values[kept]).repeat(each, axis=0)
    else:
        observables = system.observe_patch(patches)
    return train_closure(
        patches,
        observables,
        settings,
        groups=np.repeat(source.group.values[kept], each),
        snapshots=np.repeat(kept, each),
        **_training(job, system),
    )


def _by_prediction(
    job: Job, system: PatchSystem, source: xr.Dataset, settings: ClosureSettings
) -> tuple[PatchAutoencoder, History]:
    """Train on what the observables leave open of their rates of change over each lag."""
    pairs = read_dataset(job.input("pairs"))
    rates = observable_rates(pairs, seed=job.config["seed"])
    given = np.concatenate([pairs.z_observables.values, pairs.condition_values.values], axis=1)
    left = left_by(given, rates.reshape(len(rates), -1))
    patch = None
    if settings.encoder == "pooled" and system.periodic:
        patch = tuple(job.config["patch"])
        tiling = Tiling(source.states.shape[2:], patch)
        kept, _ = _closure_patches(settings, source.sizes["sample"], tiling.number)
        patches = source.states.values[kept][:, None]
    else:
        kept, patches = _some_patches(job, system, source, settings)
    return train_forecast(
        patches,
        given[kept],
        left[kept],
        settings,
        groups=source.group.values[kept],
        patch=patch,
        **_training(job, system),
    )


def _training(job: Job, system: PatchSystem) -> dict[str, Any]:
    """What every training of a closure is told."""
    return {
        "kind": system.kind,
        "species": system.species,
        "seed": torch_seed(job.config["seed"], "closure"),
        "device": job.device,
        "checkpoints": job.checkpoints,
        "progress": lambda step, steps, loss: job.step("closure", step, steps, f"loss {loss:.5f}"),
    }


def _some_patches(
    job: Job, system: PatchSystem, source: xr.Dataset, settings: ClosureSettings
) -> tuple[NDArray[np.int64], NDArray]:
    """Snapshots that a closure is trained on, and patches of each, [kept, m, channel, *patch]."""
    states = source.states.values
    patch: Shape = tuple(job.config["patch"])
    origins = Tiling(states.shape[2:], patch).origins()
    kept, each = _closure_patches(settings, len(states), len(origins))
    rng = generator(job.config["seed"], "closure-patches")
    chosen = rng.permuted(np.tile(np.arange(len(origins)), (len(kept), 1)), axis=1)[:, :each]
    patches = gather_each(states[kept], origins[chosen], patch)
    return kept, patches.reshape(len(kept), each, system.channels, *patch)


def _closure_patches(
    settings: ClosureSettings, snapshots: int, patches: int
) -> tuple[NDArray[np.int64], int]:
    """Which snapshots a closure is trained on, and how many patches of each.

    Of every snapshot some; where z is that of the whole, of fewer snapshots more, so that their
    mean is that of the whole.
    """
    if settings.objective == "reconstruction" and settings.decoder == "patch":
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


def dynamics(job: Job) -> None:
    """Train the ensemble of drift and diffusion: networks, or polynomials.

    Args:
        job: The job; input ``latents``, and those of other sizes (`read_transitions`), outputs
            ``model`` and ``training``; its configuration holds ``dynamics``.
    """
    config = DynamicsSettings(**job.config["dynamics"])
    seed = job.config["seed"]
    found = read_transitions(job, config)
    source = found.main.source
    train, validation = found.split(config.validation_fraction, seed=seed)
    report: dict[str, Any] = {}
    if config.model == "polynomial":
        ensemble, history, selection = fit_polynomials(
            train,
            validation,
            config,
            seed=torch_seed(seed, "dynamics"),
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
            seed=torch_seed(seed, "dynamics"),
            device=job.device,
            constraint=_constraint(source),
            checkpoints=job.checkpoints,
            progress=lambda step, steps, loss: job.step("dynamics", step, steps, f"NLL {loss:.4f}"),
        )
    origin = provenance("dynamics", job.config)
    names = [str(n) for n in source.variable.values]
    conditions = [str(n) for n in source.condition.values]
    description = {"variables": names, "conditions": conditions, "dt": source.attrs["dt"]}
    description["sites"] = found.sites
    if len(found.parts) > 1:
        description["trained_sites"] = [part.sites for part in found.parts]
    members = compare_members(job, ensemble, found.data, names)
    description["members"] = report["members"] = members
    ensemble.save(job.outputs["model"], {**description, **origin})
    report |= {
        "history": history.as_dict(),
        **found.report(),
        "cost": {"core_seconds": job.core_seconds},
    }
    write_sealed_json(job.outputs["training"], report)


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
