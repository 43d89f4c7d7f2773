"""What is learned: closure variables, and the macroscopic drift."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.closure.coordinates import CoordinateClosureSettings, find_closure
from macrodyn.closure.encoders import (
    Encoder,
    Modes,
    load_encoder,
    macrostates,
    variable_names,
)
from macrodyn.dynamics.force_fit import ForceFitSettings, fit_forces
from macrodyn.dynamics.force_forms import ForceProducts
from macrodyn.methods.partial_forces.displaced import configurations_at
from macrodyn.methods.partial_forces.products import Products
from macrodyn.methods.partial_forces.sample import NUMBERS, known_coordinates, used_records
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.stage_system import stage_system
from macrodyn.storage.netcdf import read_dataset
from macrodyn.storage.provenance import provenance
from macrodyn.storage.sealed import write_sealed_json
from macrodyn.streams import torch_seed
from macrodyn.systems import ForceSystem

_PRODUCTS = ("gram", "chosen", "known")
_PUSHES = ("push", "known_push")
_SIZES = ("size", "known_size")
_MEANINGS = {
    "gram": "phi' phi'^T, lower triangle",
    "chosen": "phi'_S phi'_S^T, lower triangle",
    "known": "phi'_K phi'_K^T of known rates, lower triangle",
    "push": "phi'_S f_S",
    "known_push": "phi'_K x'_K of known rates",
    "size": "squared norm of the forces that were drawn",
    "known_size": "squared norm of the known rates",
}


def encoder(job: Job) -> None:
    """Find the closure variables of trajectories.

    Args:
        job: The job; input ``trajectories``, outputs ``model`` and ``training``; its configuration
            holds ``closure`` and ``while_above``.
    """
    config = job.config
    system: ForceSystem = stage_system(job)
    settings = CoordinateClosureSettings.model_validate(config["closure"])
    source = read_dataset(job.input("trajectories"))
    runs, records = np.nonzero(used_records(source, config["while_above"]))
    kept = np.unique(np.linspace(0, len(runs) - 1, min(settings.snapshots, len(runs))).astype(int))
    states = source.states.values[runs[kept], records[kept]].astype(np.float64)
    # What a system says of its coordinates decides whether observables count beside the closure.
    apart = type(system).complement is not ForceSystem.complement
    dense = settings.encoder == "dense" and not apart
    found, history = find_closure(
        system.complement(states),
        system.gradient(states) if dense else None,
        system.observe(states),
        settings,
        groups=runs[kept],
        seed=torch_seed(config["seed"], "encoder"),
        device=job.device,
        checkpoints=job.checkpoints,
        progress=lambda step, steps, loss: job.step("encoder", step, steps, f"loss {loss:.5f}"),
        system=system,
    )
    found.save(job.outputs["model"], provenance("encoder", config))
    report = {
        "history": history.as_dict(),
        "snapshots": len(kept),
        "reconstruction": _left_over(found, system.complement(states)),
        "cost": {"core_seconds": job.core_seconds},
    }
    write_sealed_json(job.outputs["training"], report)


def _left_over(encoder: Encoder, complement: NDArray[np.float64]) -> float | None:
    """Share of the variance of y that modes leave over; None of a network."""
    if not isinstance(encoder, Modes):
        return None
    centred = complement - encoder.mean
    kept = np.square(encoder.encode(complement)).sum()
    return float(1.0 - kept / np.square(centred).sum())


def products(job: Job) -> xr.Dataset:
    """Encode one shard's configurations, and multiply their forces into the Jacobian.

    Args:
        job: The job; inputs ``forces``, ``encoder`` and ``trajectories``.

    Returns:
        ``z`` [sample, variable] and the parts of `ForceProducts`, of symmetric ones the lower
        triangle.
    """
    system: ForceSystem = stage_system(job)
    found = load_encoder(job.input("encoder"), system)
    given = read_dataset(job.input("forces"))
    given = given.isel(sample=slice(job.shard, None, job.shards))
    states = read_dataset(job.input("trajectories"), ["states"]).states.values
    products_of = Products(system, found, states.shape[2])
    d = len(system.observables) + found.dimension
    triangle = np.tril_indices(d)
    arrays: dict[str, NDArray] = {}
    total = given.sizes["sample"]
    work = job.work("products", given.number.values)
    for _, block in work.blocks([total], arrays, most=max(1, NUMBERS // (d * states[0, 0].size))):
        part = given.isel(sample=block)
        here = configurations_at(states, part)
        drawn = part.coordinates.values.astype(np.int64)
        made = products_of(here, drawn, part.forces.values)
        parts: dict[str, NDArray] = {"z": macrostates(system, found, here)}
        parts |= {name: getattr(made, name)[:, *triangle] for name in _PRODUCTS}
        parts |= {name: getattr(made, name) for name in (*_PUSHES, *_SIZES)}
        work.fill(arrays, parts, block, total)
    known = known_coordinates(system, states.shape[2])
    share = given.sizes["coordinate"] / int((~known).sum())
    dims: dict[str, tuple[str, ...]] = {"z": ("sample", "variable")}
    dims |= dict.fromkeys(_PRODUCTS, ("sample", "pair"))
    dims |= dict.fromkeys(_PUSHES, ("sample", "variable"))
    dims |= dict.fromkeys(_SIZES, ("sample",))
    meanings = {"z": "macroscopic state"} | _MEANINGS
    return xr.Dataset(
        {
            **{
                name: (dims[name], values, {"long_name": meanings[name], "units": "1"})
                for name, values in arrays.items()
            },
            "run": given.run,
            "number": given.number,
        },
        coords={"variable": variable_names(system, found)},
        attrs={
            "share": share,
            "observables": len(system.observables),
            "evaluations_each": given.attrs["evaluations_each"],
        },
    )


def read_products(data: xr.Dataset) -> ForceProducts:
    """Put `ForceProducts` together again from a data set of `products`."""
    d = data.sizes["variable"]
    rows, columns = np.tril_indices(d)

    def whole(name: str) -> NDArray[np.float64]:
        values = data[name].values
        found = np.empty((len(values), d, d))
        found[:, rows, columns] = values
        found[:, columns, rows] = values
        return found

    flat: dict[str, Any] = {name: data[name].values for name in (*_PUSHES, *_SIZES)}
    return ForceProducts(
        **{name: whole(name) for name in _PRODUCTS}, **flat, share=float(data.attrs["share"])
    )


def drift(job: Job) -> None:
    """Train the ensemble dz/dt = g(z).

    Args:
        job: The job; input ``products``, outputs ``model`` and ``training``; its configuration
            holds ``dynamics``.
    """
    settings = ForceFitSettings(**job.config["dynamics"])
    data = read_dataset(job.input("products"))
    forces = read_products(data)
    observables = int(data.attrs["observables"])
    ensemble, history = fit_forces(
        data.z.values,
        forces,
        settings,
        observables=observables,
        groups=data.run.values,
        seed=torch_seed(job.config["seed"], "drift"),
        device=job.device,
        checkpoints=job.checkpoints,
        progress=lambda step, steps, loss: job.step("drift", step, steps, f"loss {loss:.6g}"),
    )
    names = [str(name) for name in data.variable.values]
    description = {"variables": names, "observables": observables, "conditions": []}
    ensemble.save(job.outputs["model"], {**description, **provenance("drift", job.config)})
    scale = np.ones(len(names))
    typical = np.sqrt(np.diagonal(forces.gram, axis1=1, axis2=2).mean(0))
    scale[:observables] = typical[observables:].mean() / typical[:observables]
    condition = forces.condition_numbers(scale)
    report = {
        "history": history.as_dict(),
        "condition_number": _quantiles(condition),
        "configurations": len(forces),
        "evaluations": len(forces) * int(data.attrs["evaluations_each"]),
        "cost": {"core_seconds": job.core_seconds},
    }
    write_sealed_json(job.outputs["training"], report)


def _quantiles(values: NDArray[np.float64]) -> dict[str, float]:
    named = {"median": 0.5, "low": 0.05, "high": 0.95}
    return {name: float(np.quantile(values, level)) for name, level in named.items()}
