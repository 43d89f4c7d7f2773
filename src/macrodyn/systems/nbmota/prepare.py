"""The work of the alloy's own stages."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.pipeline.job import Job
from macrodyn.storage.models import save_model
from macrodyn.storage.netcdf import read_dataset
from macrodyn.storage.provenance import provenance
from macrodyn.storage.sealed import write_sealed_json
from macrodyn.streams import torch_seed
from macrodyn.systems.nbmota.configurations import configuration
from macrodyn.systems.nbmota.crystal import DIRECTIONS, VACANCY
from macrodyn.systems.shared.lammps.process import LammpsProcess

# Of the bands: images, tried one after the other; force in eV/A; steps of each.
IMAGES, FORCE, STEPS = (5, 7, 9), 0.03, 150
# Side of a cell from which the volume is relaxed, in angstrom.
_SIDE = 3.24
# Share of the configurations that tell how good the model is, and are not learned from.
_TESTED = 0.2
_RESULTS = ("initial", "final", "saddle", "force", "converged")


def barrier_data(job: Job) -> xr.Dataset:
    """Compute the barriers of the eight jumps of one vacancy in some cells.

    Args:
        job: The job; its configuration holds ``configurations``, ``cells``, ``swaps``,
            ``potential`` and ``seed``.

    Returns:
        ``species`` [configuration, channel, x, y, z] and ``energies`` [configuration, jump, result]
        of each cell.
    """
    config = job.config
    cells = config["cells"]
    numbers = np.arange(config["configurations"])[job.shard :: job.shards]
    process = LammpsProcess("macrodyn.systems.nbmota.neb")
    arrays: dict[str, NDArray] = {}
    work = job.work("barriers", numbers)
    for _, block in work.blocks([len(numbers)], arrays, most=1):
        parts = [_jumps(process, int(n), cells, config) for n in numbers[block]]
        made = {name: np.array([part[name] for part in parts]) for name in parts[0]}
        work.fill(arrays, made, block, len(numbers))
    process.close()
    return xr.Dataset(
        {
            "species": (
                ("configuration", "channel", "x", "y", "z"),
                arrays["species"],
                {"long_name": "species, 0 of the vacancy", "units": "1"},
            ),
            "energies": (
                ("configuration", "jump", "result"),
                arrays["energies"],
                {
                    "long_name": "energies before, after and at the saddle in eV, largest force "
                    "left in eV/A, and whether the band has converged",
                },
            ),
            "side": (
                "configuration",
                arrays["side"],
                {"long_name": "side of a cell", "units": "angstrom"},
            ),
            "temperature": (
                "configuration",
                arrays["temperature"],
                {"long_name": "temperature of the annealing, NaN for none", "units": "K"},
            ),
            "number": ("configuration", numbers),
        },
        coords={"result": list(_RESULTS)},
    )


def _jumps(process: LammpsProcess, number: int, cells: int, config: dict[str, Any]) -> dict:
    drawn = configuration(number, cells, config["seed"])
    asked: dict[str, Any] = {"potential": config["potential"]}
    species = drawn.species
    if math.isfinite(drawn.temperature):
        ((species, _),) = process.ask(
            "anneal",
            [species],
            side=_SIDE,
            temperature=drawn.temperature,
            swaps=config["swaps"],
            seed=drawn.seed,
            **asked,
        )
    ((side,),) = process.ask("fit_side", [species], side=_SIDE, **asked)
    species = species.copy()
    species.reshape(-1)[drawn.vacancy] = VACANCY
    energies = [
        part
        for (part,) in process.ask(
            "jumps",
            [species],
            side=float(side[0]),
            images=IMAGES,
            force=FORCE,
            steps=STEPS,
            **asked,
        )
    ]
    return {
        "species": species,
        "energies": np.array(energies),
        "side": float(side[0]),
        "temperature": drawn.temperature,
    }


def barrier_model(job: Job) -> None:
    """Train a model of barriers, and test it on configurations that it has not seen.

    Args:
        job: The job; input ``barriers``, outputs ``model`` and ``training``; its configuration
            holds ``source``, ``steps`` and ``seed``.

    Raises:
        ValueError: If hardly any band has converged.
    """
    # Sampling jobs have an environment without torch.
    import torch

    from macrodyn.systems.nbmota.barrier_fit import BarrierFitSettings, describe, fit_barriers, join

    data = read_dataset(job.input("barriers"))
    rows = zip(data.species.values, data.energies.values, data.number.values, strict=True)
    jumps = join([describe(species, energies, int(n)) for species, energies, n in rows])
    bands = data.sizes["configuration"] * len(DIRECTIONS)
    job.info(f"{len(jumps)} of {bands} bands have converged")
    if len(jumps) < 0.5 * bands:
        raise ValueError(
            f"only {len(jumps)} of {bands} bands have converged: look at "
            "system.parameters.potential"
        )
    tested = jumps.configuration % round(1 / _TESTED) == 0
    settings = BarrierFitSettings(steps=job.config["steps"])
    model, history = fit_barriers(
        jumps[~tested],
        settings,
        source=job.config["source"],
        seed=torch_seed(job.config["seed"], "barriers"),
        checkpoints=job.checkpoints,
        progress=lambda step, steps, loss: job.step("barriers", step, steps, f"loss {loss:.4g}"),
    )
    errors = model_errors(model, data, tested_every=round(1 / _TESTED))
    said = ", ".join(f"{name} {1e3 * value:.0f} meV" for name, value in errors["rmse"].items())
    job.info(f"on configurations that were not learned from: {said}")
    tensors = {name: torch.as_tensor(values) for name, values in model.arrays().items()}
    description = {"kind": "barriers", "source": model.source, **provenance(job.stage, job.config)}
    save_model(job.outputs["model"], tensors, description)
    report = {
        "history": history.as_dict(),
        "converged": len(jumps),
        "bands": bands,
        **errors,
        "cost": {"core_seconds": job.core_seconds},
    }
    write_sealed_json(job.outputs["training"], report)


def model_errors(model: Any, data: xr.Dataset, *, tested_every: int) -> dict[str, Any]:
    """Compare a model with barriers of configurations that it has not learned from.

    Args:
        model: The barriers' model.
        data: What `barrier_data` made.
        tested_every: Every so manieth configuration was left out.

    Returns:
        ``rmse`` of barriers and of changes of the energy in eV; and for a figure ``computed`` and
        ``predicted`` barriers and ``unlike`` neighbours of the atoms that jump.
    """
    from macrodyn.systems.nbmota.crystal import half_units, site_number

    held = data.isel(configuration=data.number.values % tested_every == 0)
    shape = held.species.shape[2:]
    computed, predicted, risen, foretold, unlike = [], [], [], [], []
    for species, energies in zip(held.species.values, held.energies.values, strict=True):
        flat = species.reshape(-1)
        position = half_units(shape)[np.flatnonzero(flat == VACANCY)[0]]
        around = flat[site_number(position + model.offsets, shape)]
        barriers, changes = model.evaluate(around[None])
        fine = energies[:, 4] == 1.0
        computed.append((energies[:, 2] - energies[:, 0])[fine])
        risen.append((energies[:, 1] - energies[:, 0])[fine])
        predicted.append(barriers[0, fine])
        foretold.append(changes[0, fine])
        ends = site_number(position + DIRECTIONS, shape)
        beside = flat[site_number(position + DIRECTIONS[:, None] + DIRECTIONS, shape)]
        others = (beside != flat[ends][:, None]) & (beside != VACANCY)
        unlike.append(others.sum(axis=1)[fine])

    def rmse(a: list[NDArray], b: list[NDArray]) -> float:
        return float(np.sqrt(np.mean(np.square(np.concatenate(a) - np.concatenate(b)))))

    return {
        "rmse": {"barriers": rmse(computed, predicted), "changes": rmse(risen, foretold)},
        "computed": np.concatenate(computed).tolist(),
        "predicted": np.concatenate(predicted).tolist(),
        "unlike": np.concatenate(unlike).tolist(),
    }
